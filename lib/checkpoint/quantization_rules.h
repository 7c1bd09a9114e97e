// What a parsed quantization_config says. Internal to the reading of quantized weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
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
};

struct Quantization::Rules {
  QuantMethod method = QuantMethod::none;
  std::string file;

  std::size_t block_rows = 128;  // fp8; 0: one scale a tensor
  std::size_t block_cols = 128;
  std::string_view fp8_label;

  std::vector<PackedScheme> schemes;  // pack_quantized, in the order of the file
  struct Target {
    std::size_t scheme = 0;
    std::optional<NamePattern> pattern;  // of "re:..."
  };
  std::map<std::string, Target, std::less<>> targets;  // those of all groups, in the order of their bytes
  NameList ignore;

  // Lets a scheme have what `text` names: a module, "re:" and a pattern, "Linear". It has the target alone,
  // whoever had it before. Throws Error for what is no pattern.
  void add_target(const std::string& text, std::size_t scheme);
  // The scheme that applies to a module, as compressed-tensors 0.20 chooses (utils/match.py, match_targets):
  // of the target that is its name, else of the first pattern for it in the order of their bytes, whatever
  // the order of the groups, else of every linear layer. nullptr if there is none.
  const PackedScheme* scheme_of(std::string_view module) const;
};

}  // namespace baleen
