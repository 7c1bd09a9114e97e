// What a parsed quantization_config says. Internal to the reading of quantized weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/name_pattern.h"
#include "checkpoint/quantized.h"

namespace baleen {

enum class QuantMethod : std::uint8_t { none, fp8, pack_quantized };
enum class Strategy : std::uint8_t { tensor, channel, group };

// How the modules of one config group of compressed-tensors are packed.
struct PackedScheme {
  bool is_mxfp4 = false;  // mxfp4-pack-quantized: of the rest only group_size matters; else integers
  unsigned bits = 4;
  Strategy strategy = Strategy::group;
  std::size_t group_size = 0;
  bool symmetric = true;
  bool has_group_index = false;  // actorder "group": columns name their group
  std::string_view label;        // "int4 group 32", "mxfp4"
  NameList targets;
  bool targets_linear = false;  // "Linear": every linear layer
};

struct Quantization::Rules {
  QuantMethod method = QuantMethod::none;
  std::string file;

  std::size_t block_rows = 128;  // fp8; 0: one scale a tensor
  std::size_t block_cols = 128;
  std::string_view fp8_label;

  std::vector<PackedScheme> schemes;  // pack_quantized
  NameList ignore;

  // The scheme that applies to a module, as compressed-tensors chooses: one that names it, else one with a
  // pattern for it, else one for every linear layer. nullptr if none does.
  const PackedScheme* scheme_of(std::string_view module) const;
};

}  // namespace baleen
