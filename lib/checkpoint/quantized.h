// How a checkpoint stores its linear layers: quantization_config, and the tensors that make up one weight.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"

namespace baleen {

// Reads config.json's quantization_config (absent: plain weights). Throws FormatError naming what is not
// supported: another quant_method, compression format, activation quantization that changes results, ...
class Quantization;  // parsed rules: which modules are quantized and how

struct Weight {
  kernels::Matrix matrix;
  std::uint64_t bytes = 0;         // stored, with scales, zero points and indices
  std::string_view format_name;    // "bf16", "fp8 128x128", "int4 group 32": for --inspect and -v
};

// Finds the tensors of the linear layer `module` (its name without ".weight"): `.weight` plain, or with
// `.weight_scale_inv`, or `.weight_packed`, `.weight_scale`, `.weight_shape`, `.weight_zero_point`,
// `.weight_g_idx`, and checks type and shape of each against [rows, cols]. What is wrong is appended to
// `problems`, one line each with file, tensor, found and expected; then an empty value is returned.
std::optional<Weight> find_weight(const Checkpoint&, const Quantization&, std::string_view module,
                                  std::size_t rows, std::size_t cols, std::vector<std::string>& problems);

}  // namespace baleen
