// Where in the checkpoint's files a matrix lies, and the same matrix at other addresses: what it takes to
// hold weights elsewhere than in the mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "runtime/direct_reader.h"

namespace baleen {

class WeightFiles {
 public:
  // Refers to the checkpoint, whose files lie in `dir`.
  WeightFiles(const Checkpoint&, const std::filesystem::path& dir);

  const std::vector<std::filesystem::path>& paths() const { return paths_; }  // by FileRange::file

  // Appends the tensors that the matrix reads: its values, scales, zeros and group index, those of them that
  // lie in a file.
  void add_ranges(const kernels::Matrix&, std::vector<FileRange>& ranges) const;
  // Those of gate_proj, up_proj and down_proj, in this order.
  void add_ranges(const Mlp&, std::vector<FileRange>& ranges) const;

  // The matrix as it is read from a copy of its tensors: `begins` says where in `memory` each of the ranges
  // that add_ranges() appended begins, and is advanced past them. What lies in no file stays where it is.
  kernels::Matrix moved(const kernels::Matrix&, std::span<const std::size_t>& begins,
                        const std::byte* memory) const;
  Mlp moved(const Mlp&, std::span<const std::size_t>& begins, const std::byte* memory) const;

  // The tensor that a byte of a file belongs to; nullptr for none.
  const Tensor* tensor_at(std::size_t file, std::uint64_t offset) const;
  // The same error with the name of the tensor: "FILE: TENSOR: offset N: why".
  Error explained(const ReadError&) const;

  // The tensor that an address of the mapping belongs to; nullptr for none.
  const Tensor* tensor_of(const std::byte* address) const;

 private:
  struct File {
    const std::byte* begin = nullptr;
    std::size_t number = 0;
  };
  FileRange range_of(const Tensor&) const;

  std::vector<const Tensor*>::const_iterator behind(const std::byte* address) const;

  const Checkpoint& checkpoint_;
  std::vector<std::filesystem::path> paths_;
  std::vector<File> files_;             // ascending addresses
  std::vector<const Tensor*> tensors_;  // ascending addresses
};

}  // namespace baleen
