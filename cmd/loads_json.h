// Loads of experts as JSON: what `baleen route-stats --json` prints first, and all that run's --route-stats
// writes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include "routing/expert_load.h"

namespace baleen::cmd {

struct LoadSummary {
  struct Source {
    std::string model;
    std::size_t experts = 0;
    std::size_t top_k = 0;
    std::uint64_t tokens = 0;
    std::uint64_t prompt_tokens = 0;
    std::uint64_t generated_tokens = 0;
  };
  std::optional<Source> source;  // none: loads that somebody wrote down
  std::uint64_t lines_left_out = 0;
};

nlohmann::ordered_json layer_json(const LayerLoad&);

// The members of an object, without its braces: the summary on one line and each layer on one of its own, so
// that what is long stays readable and can be grepped.
std::string loads_json(const LoadSummary&, std::span<const LayerLoad>);

}  // namespace baleen::cmd
