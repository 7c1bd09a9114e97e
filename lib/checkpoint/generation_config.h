// generation_config.json: how a model's authors mean its tokens to be sampled.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace baleen {

// What the file says; what it leaves out is unset.
struct GenerationConfig {
  std::optional<bool> do_sample;  // false: greedy, whatever the rest says
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<int> top_k;  // 0: all
  std::optional<std::int32_t> bos_token_id;
  std::vector<std::int32_t> eos_token_id;
};

// Reads the bytes of a generation_config.json; `file` names it in errors. Throws FormatError naming the keys
// of a wrong type or out of range.
GenerationConfig parse_generation_config(std::string_view json, std::string_view file);

}  // namespace baleen
