// Weights into their stored form: pure functions on numbers, the same bits on every machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "quant/target.h"

namespace baleen {

// How the scale of a group is found.
//   minmax  the largest magnitude becomes the largest code, as compressed-tensors' own observer does
//   mse     of that and some 20 others, from half of it to a little above, the one that leaves the least
//           squared error: it is never worse
enum class ScaleRule : std::uint8_t { minmax, mse };

// Sums over weights; sqrt(error / norm) is the relative RMS error.
struct EncodeError {
  double error = 0;    // (stored - weight)^2, times the column's importance if there is one
  double norm = 0;     // weight^2, likewise
  bool finite = true;  // false: a weight is NaN or infinite; its group holds zeros, neither sum counts it
  EncodeError& operator+=(const EncodeError& other) {
    error += other.error;
    norm += other.norm;
    finite = finite && other.finite;
    return *this;
  }
};

struct EncodeArgs {
  const kernels::Kernels* kernels = nullptr;
  Target target;
  ScaleRule rule = ScaleRule::mse;
  DType plain = DType::bf16;       // of the weights before, in which integers' scales are stored
  const float* weights = nullptr;  // [rows, cols], what `plain` can hold
  std::size_t rows = 0;  // fp8: from a multiple of 128 on, and whole blocks unless they are the last
  std::size_t cols = 0;  // that the target fits
  // [cols], finite and at least 0: weighs squared errors; null: all alike. Columns that share a scale and
  // have no importance among them are weighed alike when the scale is chosen.
  const float* importance = nullptr;
  std::byte* values = nullptr;  // where stored_parts' values of these rows go
  std::byte* scales = nullptr;  // likewise
};

// Encodes rows; a row of int4, int8 and mxfp4 depends on itself alone, rows of fp8 on their block.
EncodeError encode(const EncodeArgs&);

}  // namespace baleen
