// Matrix products over the tokens of a pass: activations are packed once, then rows of the matrices and
// blocks of tokens are spread over the threads. Private to lib/model.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/pass.h"

namespace baleen {

// Tokens [begin, begin + count) of a pass, which take one path.
struct Part {
  kernels::Path path;
  std::size_t begin;
  std::size_t count;
};
// Prompt tokens and generated ones; either may be empty.
std::array<Part, 2> parts_of(const Pass&);

// Rows of activations that wait to be packed, or are.
struct Operand {
  const kernels::Packing* packing = nullptr;
  const float* x = nullptr;  // [*, cols]
  std::size_t stride = 0;
  const std::uint32_t* rows = nullptr;  // of x; null: the first `tokens` ones
  std::size_t tokens = 0;
  std::size_t cols = 0;
};

// Where the slots of `tokens` tokens from `first` on begin, counted from the operand's first; `first` is a
// multiple of slot_tokens.
std::size_t slot_offset(const kernels::Packing&, std::size_t cols, std::size_t first);
// Bytes of all slots of `tokens` tokens.
std::size_t packed_bytes(const kernels::Packing&, std::size_t cols, std::size_t tokens);

// The operands of some products. What is wanted twice is packed once.
class Operands {
 public:
  explicit Operands(const Pass& pass) : pass_(pass) {}

  std::size_t add(const Operand&);
  // Packs all of them, by all threads. Their memory is the workspace's: valid until the next call for
  // whatever object.
  void pack();
  const std::byte* operator[](std::size_t operand) const { return memory_ + begin_[operand]; }

 private:
  const Pass& pass_;
  std::vector<Operand> operands_;
  std::vector<std::size_t> begin_;
  std::size_t bytes_ = 0;
  const std::byte* memory_ = nullptr;
};

// Tokens of a block that stays in the second-level cache while rows of weights pass by; a multiple of the
// packing's slots.
std::size_t tokens_per_block(const kernels::Packing&, std::size_t cols);

// Rows of a matrix that make a task for one thread, with a part's tokens, at least one: enough to stream, few
// enough to share.
std::size_t rows_per_task(const Pass&, const kernels::Matrix&, const Part&);

// Tokens [token_begin, token_end) of a part and rows [row_begin, row_end) of a matrix.
struct Block {
  std::size_t token_begin, token_end, row_begin, row_end;
};

// use(block) for all blocks, a task each, that a product of the matrix and the part is cut into.
template <typename Use>
void for_each_block(const Pass& pass, const kernels::Matrix& matrix, const kernels::Packing& packing, const Part& part,
                    const Use& use) {
  const std::size_t tokens = tokens_per_block(packing, matrix.cols);
  const std::size_t rows = rows_per_task(pass, matrix, part);
  for (std::size_t t = 0; t < part.count; t += tokens)
    for (std::size_t row = 0; row < matrix.rows; row += rows)
      use(Block{t, std::min(part.count, t + tokens), row, std::min(matrix.rows, row + rows)});
}

// One matrix product over all tokens of the pass: out [T, matrix.rows] = x [T, matrix.cols] W^T + bias.
struct Product {
  const kernels::Matrix* matrix = nullptr;
  const float* x = nullptr;
  float* out = nullptr;
  const kernels::Matrix* bias = nullptr;  // without values: none
  bool add = false;                       // to what is in out, instead of overwriting it
  bool exact = false;                     // Path::exact for every token
};
// All products, spread over the threads.
void multiply(const Pass&, std::span<const Product> products);

// One thread's product of `part` of some tokens: out [part.count, row_end - row_begin] = x W^T for rows
// [row_begin, row_end); x and out begin with the part's first token.
struct LocalProduct {
  const kernels::Matrix* matrix = nullptr;
  std::size_t row_begin = 0;
  std::size_t row_end = 0;
  kernels::Path path = kernels::Path::exact;
  std::size_t tokens = 0;
  const float* x = nullptr;
  std::size_t x_stride = 0;
  float* out = nullptr;
  std::size_t out_stride = 0;
};
void multiply_here(const Pass&, const LocalProduct&, std::size_t thread);

}  // namespace baleen
