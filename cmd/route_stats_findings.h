// What `baleen route-stats` gathers from logs or from a model that reads a text, before any of it is printed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cmd/route_stats_options.h"
#include "routing/bias.h"
#include "routing/expert_load.h"
#include "routing/reuse.h"
#include "routing/route_line.h"
#include "routing/tally.h"

namespace baleen::cmd {

// e_score_correction_bias of some layers, as --suggest-bias prints them.
struct LayerBias {
  std::size_t layer = 0;
  std::vector<float> bias;
};
// Throws FormatError.
std::vector<LayerBias> parse_biases(std::string_view json, const std::string& file);

// What a cache of a given size would serve.
struct CacheBudget {
  std::uint64_t expert_bytes = 0;
  PolicyHits hits;
};

// What was asked for of the tokens; of loads without tokens there are `loads` alone.
struct Findings {
  std::optional<RouteHeader> header;     // none: loads as JSON
  std::vector<std::vector<float>> bias;  // [layers][experts] of a scores log; else empty
  Tally loads;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t generated_tokens = 0;
  std::uint64_t counted_tokens = 0;  // of them known by their counts alone
  std::optional<KeyedTally> keyed;   // --by phase, request, token, label
  std::optional<HalvesTally> halves;
  std::optional<PairTally> pairs;
  std::optional<Reuse> reuse;
  std::optional<CacheBudget> budget;  // --cache-budget
  std::vector<LayerLoad> simulated;   // --simulate-bias
  std::uint64_t bytes = 0;
  std::uint64_t problems = 0;  // lines left out
};

// Reads what the options name. Notes about the files go to standard error. Throws Error, and UsageError for
// what the options ask for and the logs do not tell.
Findings gather(const RouteStatsOptions&);
// The loads of another log, for --compare.
Findings gather_loads(const RouteStatsOptions&, const std::string& file);

}  // namespace baleen::cmd
