// What `baleen route-stats` found, as text for a terminal, as JSON and as CSV.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cmd/route_stats_findings.h"
#include "cmd/route_stats_options.h"
#include "cmd/terminal.h"
#include "routing/statistics.h"

namespace baleen::cmd {

// How a load may be looked at beside another one.
struct Comparison {
  std::string name;                      // of the other log, or of the halves
  std::vector<LayerLoad> first, second;  // of the same layers
};

struct RouteReport {
  const RouteStatsOptions& options;
  const Findings& found;
  std::vector<LayerLoad> layers;  // those that are asked for
  std::vector<LabelLoad> parts;   // --by phase, request, token, label: the largest first
  std::vector<Comparison> comparisons;
  std::vector<Pair> pairs;
};

// `width` columns.
std::string route_text(const RouteReport&, const Style&, std::size_t width);
std::string route_json(const RouteReport&);
std::string route_csv(const RouteReport&);

}  // namespace baleen::cmd
