// What a weight can be turned into, and which tensors then stand for it in a checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"

namespace baleen {

// int4, int8: compressed-tensors' pack-quantized, symmetric. fp8: DeepSeek's e4m3 with a scale a block of
// 128 x 128. mxfp4: compressed-tensors' mxfp4-pack-quantized, e2m1 with a power of two for 32 columns.
enum class Encoding : std::uint8_t { int4, int8, fp8, mxfp4 };

inline constexpr std::size_t whole_row = 0;
inline constexpr std::size_t mxfp4_group = 32;
inline constexpr std::size_t fp8_block = 128;

// How one matrix is to be stored.
struct Target {
  Encoding encoding = Encoding::int4;
  std::size_t group = 32;  // int4, int8: columns that share a scale, or whole_row; the others have their own

  bool operator==(const Target&) const = default;
};

// Equal but for the group of those that have their own.
bool same_format(const Target&, const Target&);

// "int4 group 32", "int8 channel", "fp8 128x128", "mxfp4": as find_weight names it once it is stored.
std::string target_name(const Target&);

// Whether rows of `cols` columns can be stored so: the group divides them. fp8 blocks may be partial.
bool fits(const Target&, std::size_t cols);

// Columns of a row that share a scale; the last group may be shorter.
std::size_t group_cols(const Target&, std::size_t cols);

// One of the tensors that stand for a matrix: its name is the module's and `suffix`.
struct StoredPart {
  std::string_view suffix;  // ".weight_packed"
  DType dtype = DType::i32;
  Shape shape;
  std::uint64_t bytes = 0;
};

// Those of a matrix [rows, cols] that fits: values first, then scales, then, for int4 and int8, the shape.
// `plain` is the type of the weights before (bf16, f16 or f32), which scales of int4 and int8 keep; fp8
// scales are f32, mxfp4's are bytes of exponents.
std::vector<StoredPart> stored_parts(const Target&, std::size_t rows, std::size_t cols, DType plain);

// How kernels read the matrix whose values and scales lie there.
kernels::Matrix stored_matrix(const Target&, std::size_t rows, std::size_t cols, DType plain,
                              const std::byte* values, const std::byte* scales);

}  // namespace baleen
