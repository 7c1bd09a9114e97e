// Activations of all calibration tokens: rows of float32 in memory, or in a file where they need more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "checkpoint/files.h"

namespace baleen {

class Activations {
 public:
  // [rows, width]. With `folder` they lie in a file there that has no name, so that nothing is left behind
  // however the program ends; throws Error if it cannot be had. Without one, in memory.
  Activations(std::size_t rows, std::size_t width, const std::filesystem::path& folder);

  // These may run side by side on different rows; they throw Error if the file cannot be read or written.
  void write(std::size_t row, std::size_t rows, const float* from, std::size_t from_stride);
  void read(std::size_t row, std::size_t rows, float* to) const;
  void gather(std::span<const std::uint32_t> rows, float* to) const;

  std::size_t width() const { return width_; }

 private:
  std::size_t width_;
  std::vector<float> memory_;
  std::filesystem::path folder_;
  FileDescriptor file_;
};

}  // namespace baleen
