// The options of `baleen route-stats`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cmd/command.h"
#include "cmd/common_options.h"

namespace baleen::cmd {

struct RouteStatsOptions : CommonOptions {
  std::vector<std::string> logs;
  std::optional<std::string> text;  // a file, to be read by the model
  bool keep_going = false;

  std::optional<std::size_t> layer;
  std::optional<std::size_t> top;
  // prompt and generated look at those tokens alone; the others part the tokens.
  enum class By { all, prompt, generated, phase, request, token, label };
  By by = By::all;
  bool coactivation = false;
  bool stability = false;
  std::optional<std::string> compare;
  bool cache_curve = false;
  std::optional<std::uint64_t> cache_budget, expert_bytes;  // in bytes
  std::optional<std::uint64_t> disk;                        // bytes a second
  std::optional<double> prefill_speed, decode_speed;        // tokens a second with all weights in memory

  bool plan = false;
  std::optional<std::size_t> replicas, groups, nodes, gpus;
  std::optional<double> suggest_bias;        // gamma
  std::optional<std::string> simulate_bias;  // a file

  enum class Format { text, json, csv };
  Format format = Format::text;
  bool json_given = false, csv_given = false;
  bool ascii = false;
  std::optional<std::string> svg;  // a file
  bool force = false;
};

// The definition of `baleen route-stats`; its options set the fields of `target`, which must outlive it.
Command route_stats_definition(RouteStatsOptions& target);

}  // namespace baleen::cmd
