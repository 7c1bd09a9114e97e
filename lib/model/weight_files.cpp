#include "model/weight_files.h"

#include <algorithm>
#include <functional>
#include <iterator>

namespace baleen {
namespace {

using kernels::Matrix;

// What a matrix points to, in the order of its ranges.
constexpr const std::byte* Matrix::*pointers[] = {&Matrix::values, &Matrix::scales, &Matrix::zeros,
                                                  &Matrix::group_index};

}  // namespace

WeightFiles::WeightFiles(const Checkpoint& checkpoint, const std::filesystem::path& dir)
    : checkpoint_(checkpoint) {
  if (checkpoint.files() == 0) return;  // its tensors lie in memory
  for (std::size_t i = 0; i < checkpoint.files(); ++i) {
    const WeightFile file = checkpoint.file(i);
    paths_.push_back(dir / file.name);
    if (!file.bytes.empty()) files_.push_back({file.bytes.data(), i});
  }
  for (const Tensor& tensor : checkpoint.tensors())
    if (tensor.bytes > 0) tensors_.push_back(&tensor);
  std::sort(files_.begin(), files_.end(),
            [](const File& a, const File& b) { return std::less<>()(a.begin, b.begin); });
  std::sort(tensors_.begin(), tensors_.end(),
            [](const Tensor* a, const Tensor* b) { return std::less<>()(a->data, b->data); });
}

// The first tensor that begins behind an address.
std::vector<const Tensor*>::const_iterator WeightFiles::behind(const std::byte* address) const {
  return std::upper_bound(
      tensors_.begin(), tensors_.end(), address,
      [](const std::byte* a, const Tensor* tensor) { return std::less<>()(a, tensor->data); });
}

const Tensor* WeightFiles::tensor_of(const std::byte* address) const {
  const auto next = behind(address);
  if (next == tensors_.begin()) return nullptr;
  const Tensor* const tensor = *std::prev(next);
  return std::less<>()(address, tensor->data + tensor->bytes) ? tensor : nullptr;
}

const Tensor* WeightFiles::tensor_at(std::size_t file, std::uint64_t offset) const {
  const std::span<const std::byte> bytes = checkpoint_.file(file).bytes;
  return offset < bytes.size() ? tensor_of(bytes.data() + offset) : nullptr;
}

// Reads begin where blocks do: an offset before a tensor was read for the one that follows.
Error WeightFiles::explained(const ReadError& error) const {
  const std::span<const std::byte> bytes = checkpoint_.file(error.file()).bytes;
  const Tensor* tensor = tensor_at(error.file(), error.offset());
  if (!tensor && error.offset() < bytes.size()) {
    const auto next = behind(bytes.data() + error.offset());
    if (next != tensors_.end() && range_of(**next).file == error.file()) tensor = *next;
  }
  if (!tensor) return error;
  return Error(paths_[error.file()].string() + ": " + std::string(tensor->name) + ": offset " +
               std::to_string(error.offset()) + ": " + error.reason());
}

FileRange WeightFiles::range_of(const Tensor& tensor) const {
  const auto next =
      std::upper_bound(files_.begin(), files_.end(), tensor.data,
                       [](const std::byte* a, const File& file) { return std::less<>()(a, file.begin); });
  const File& file = *std::prev(next);
  return {file.number, static_cast<std::uint64_t>(tensor.data - file.begin), tensor.bytes};
}

void WeightFiles::add_ranges(const Matrix& matrix, std::vector<FileRange>& ranges) const {
  for (const auto pointer : pointers)
    if (const Tensor* const tensor = tensor_of(matrix.*pointer)) ranges.push_back(range_of(*tensor));
}

Matrix WeightFiles::moved(const Matrix& matrix, std::span<const std::size_t>& begins,
                          const std::byte* memory) const {
  Matrix copy = matrix;
  for (const auto pointer : pointers) {
    const Tensor* const tensor = tensor_of(matrix.*pointer);
    if (!tensor) continue;
    copy.*pointer = memory + begins.front() + (matrix.*pointer - tensor->data);
    begins = begins.subspan(1);
  }
  return copy;
}

void WeightFiles::add_ranges(const Mlp& mlp, std::vector<FileRange>& ranges) const {
  for (const Matrix* const matrix : {&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj})
    add_ranges(*matrix, ranges);
}

Mlp WeightFiles::moved(const Mlp& mlp, std::span<const std::size_t>& begins, const std::byte* memory) const {
  // Braces: one after the other.
  return {moved(mlp.gate_proj, begins, memory), moved(mlp.up_proj, begins, memory),
          moved(mlp.down_proj, begins, memory)};
}

}  // namespace baleen
