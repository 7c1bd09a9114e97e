// How a checkpoint stores its linear layers: quantization_config, and the tensors that make up one weight.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"

namespace baleen {

// Parsed rules: which modules are quantized and how. As made: plain weights. Cheap to copy.
class Quantization {
 public:
  struct Rules;

  Quantization();
  explicit Quantization(std::shared_ptr<const Rules> rules);

  const Rules& rules() const { return *rules_; }
  // "fp8 128x128", "int4 group 32", "mxfp4", ... of every group, comma separated; "" for plain weights.
  std::string description() const;

 private:
  std::shared_ptr<const Rules> rules_;
};

// Reads the bytes of a config.json for its quantization_config (absent: plain weights). Throws FormatError
// naming what is not supported: another quant_method, compression format, activation quantization that
// changes results, ...
Quantization parse_quantization(std::string_view config_json, std::string_view file);

// How kernels read a float type; only asked for f32, f16 and bf16.
kernels::Format float_format(DType);

struct Weight {
  kernels::Matrix matrix;
  std::uint64_t bytes = 0;  // stored, with scales, zero points and indices
  std::size_t tensors = 0;  // stored, likewise
  std::string_view
      format_name;  // "bf16", "fp8 128x128", "int4 group 32", "mxfp4": for --inspect and -v; never dangles
};

// Finds the tensors of the linear layer `module` (its name without ".weight"): `.weight` plain, or with
// `.weight_scale_inv`, or `.weight_packed`, `.weight_scale`, `.weight_shape`, `.weight_zero_point`,
// `.weight_g_idx`, and checks type and shape of each against [rows, cols]. What is wrong is appended to
// `problems`, one line each with file, tensor, found and expected; then an empty value is returned.
//
// The tensors that are there decide, not the lists of quantization_config: a plain weight among packed ones
// was left out on purpose. But what contradicts the config (packed without a group for it, packed though on
// the ignore list, fp8 without scales) is a problem. Of the tensors' contents only `.weight_shape` and
// `.weight_g_idx` are read: indices out of range would make a kernel read outside the file.
std::optional<Weight> find_weight(const Checkpoint&, const Quantization&, std::string_view module,
                                  std::size_t rows, std::size_t cols, std::vector<std::string>& problems);

// Whether find_weight reads the content of a tensor of that name.
bool content_is_read(std::string_view tensor);

}  // namespace baleen
