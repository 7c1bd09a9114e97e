// The header of a safetensors file, read and checked: which tensors lie where. A pure function on bytes.
// The rules are those of the format's description and of its reference reader
// (github.com/huggingface/safetensors, safetensors/src/tensor.rs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace baleen {

// A file is: 8 bytes, the header's size N (little-endian); N bytes of JSON; the data.
inline constexpr std::size_t safetensors_prefix = 8;
inline constexpr std::uint64_t max_safetensors_header = 100'000'000;  // the reference reader's limit

struct SafetensorsEntry {
  std::string_view name;
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t begin = 0;  // offsets into the data
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their offsets
  std::unique_ptr<char[]> names;          // what the entries' names point into
};

// Size of the header that a file begins with, checked against the file's size. Throws FormatError.
std::uint64_t safetensors_header_size(std::span<const std::byte> file_bytes, std::string_view file);

// Reads the JSON of a header before `data_bytes` bytes of data. Every byte of data belongs to exactly one
// tensor, sizes agree with shapes, names are unique. Throws FormatError naming `file` and the tensor.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> json, std::uint64_t data_bytes,
                                           std::string_view file);

}  // namespace baleen
