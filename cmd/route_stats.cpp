// baleen route-stats: what the experts are doing, out of route logs or of a model that reads a text.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cmd/commands.h"
#include "cmd/distinct_files.h"
#include "cmd/output.h"
#include "cmd/parse.h"
#include "cmd/route_stats_findings.h"
#include "cmd/route_stats_options.h"
#include "cmd/route_stats_report.h"
#include "cmd/signals.h"
#include "error.h"
#include "report/output_file.h"
#include "routing/bias.h"
#include "routing/heat_map.h"
#include "routing/placement.h"

namespace baleen::cmd {
namespace {

using By = RouteStatsOptions::By;
using Format = RouteStatsOptions::Format;
using Json = nlohmann::ordered_json;

constexpr double notable_pair_z = 4;
constexpr std::size_t least_columns = 40;  // of the report

void check_combinations(const RouteStatsOptions& o) {
  if (o.logs.empty() && !o.text)
    throw UsageError(
        "no log\ngive one that baleen run --route-log has written, or a text with -f and a model with -m");
  if (!o.logs.empty() && o.text) throw UsageError("a log and a text (-f) exclude each other");
  if (o.json_given && o.csv_given) throw UsageError("--json and --csv exclude each other");
  if (o.svg == "-" && (o.json_given || o.csv_given))
    throw UsageError("--svg - prints the picture in the report's place: without --json and --csv");
  const int products = (o.plan ? 1 : 0) + (o.suggest_bias ? 1 : 0);
  if (products > 1) throw UsageError("--plan and --suggest-bias exclude each other");
  if (products == 1 && o.svg)
    throw UsageError("--svg is a picture of the load: without --plan and --suggest-bias");
  if (products == 1 && (o.csv_given || o.by > By::generated || o.coactivation || o.stability || o.compare ||
                        o.cache_curve || o.simulate_bias))
    throw UsageError(std::string(o.plan ? "--plan" : "--suggest-bias") +
                     " prints JSON of its own, and no statistics");
  if (!o.plan && (o.replicas || o.groups || o.nodes || o.gpus))
    throw UsageError("--replicas, --groups, --nodes and --gpus belong to --plan");
  if (o.plan && (!o.replicas || !o.gpus)) throw UsageError("--plan needs --replicas and --gpus");
  if (o.csv_given && (o.coactivation || o.stability || o.compare || o.cache_curve || o.simulate_bias))
    throw UsageError("--csv holds loads alone; there is --json");
  if (o.cache_budget && !o.cache_curve) throw UsageError("--cache-budget belongs to --cache-curve");
  if (!o.cache_budget && (o.expert_bytes || o.disk))
    throw UsageError("--expert-bytes and --disk belong to --cache-budget");
  if (!o.disk && (o.prefill_speed || o.decode_speed))
    throw UsageError("--prefill-tps and --decode-tps belong to --disk");
  if (o.cache_budget && !o.expert_bytes && !o.model && !o.text)
    throw UsageError("--cache-budget needs the size of an expert: -m MODEL or --expert-bytes SIZE");
  if (std::count(o.logs.begin(), o.logs.end(), "-") > 1 ||
      (o.compare == "-" && !o.logs.empty() && o.logs[0] == "-"))
    throw UsageError("standard input can be read once only");
  std::vector<NamedFile> read{{"-f", o.text}, {"--compare", o.compare}, {"--simulate-bias", o.simulate_bias}};
  for (const std::string& log : o.logs) read.push_back({"LOG " + log, log});
  if (o.svg != "-") check_distinct({{"--svg", o.svg}}, read);
}

std::vector<LayerLoad> layers_asked_for(const RouteStatsOptions& o, std::vector<LayerLoad> layers) {
  if (!o.layer) return layers;
  std::string numbers;
  for (const LayerLoad& layer : layers) {
    if (layer.layer == *o.layer) return {layer};
    numbers += (numbers.empty() ? "" : ", ") + std::to_string(layer.layer);
  }
  throw UsageError("--layer " + std::to_string(*o.layer) + ": no such layer with experts, there are " +
                   numbers);
}

std::string picture(const RouteReport& r) {
  const std::string model = r.found.header ? r.found.header->model : r.options.logs.front();
  return r.options.layer ? histogram_svg(r.layers.front(), model) : heat_map_svg(r.layers, model);
}

// ---- Products other than a report.

Json balance_json(const LoadBalance& balance) {
  return {{"gpu_max_over_mean", balance.gpu}, {"node_max_over_mean", balance.node}};
}

void print_plan(const RouteStatsOptions& o, const Findings& found, const std::vector<LayerLoad>& layers) {
  const PlacementOptions sizes{.replicas = *o.replicas,
                               .groups = o.groups.value_or(found.header ? found.header->groups : 1),
                               .nodes = o.nodes.value_or(1),
                               .gpus = *o.gpus};
  const Placement placement = place_experts(layers, sizes);
  const Json head = {{"schema", 1},
                     {"replicas", sizes.replicas},
                     {"groups", sizes.groups},
                     {"nodes", sizes.nodes},
                     {"gpus", sizes.gpus},
                     {"hierarchical", placement.hierarchical},
                     {"before", balance_json(placement.before_all)},
                     {"after", balance_json(placement.after_all)}};
  std::string text = head.dump();
  text.pop_back();  // "}"
  text += ",\n\"layers\":[\n";
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const LayerPlacement& layer = placement.layers[l];
    const Json object = {{"layer", layers[l].layer},
                         {"phy2log", layer.phy2log},
                         {"log2phy", layer.log2phy},
                         {"logcnt", layer.logcnt},
                         {"before", balance_json(placement.before[l])},
                         {"after", balance_json(placement.after[l])}};
    text += object.dump() + (l + 1 < layers.size() ? ",\n" : "\n");
  }
  write_output(text + "]}\n");
}

void print_suggested_bias(const RouteStatsOptions& o, const Findings& found,
                          const std::vector<LayerLoad>& layers) {
  if (!found.header || found.header->method != TopkMethod::noaux_tc)
    throw UsageError("--suggest-bias needs a log of a model that chooses with a correction bias (noaux_tc)");
  if (found.bias.empty())
    throw UsageError(
        "--suggest-bias needs the bias there is now\nbaleen run --route-log-detail scores logs it");
  std::string text = "{\"schema\":1,\"gamma\":" + Json(*o.suggest_bias).dump() + ",\"layers\":[\n";
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const auto at = std::find(found.header->layers.begin(), found.header->layers.end(), layers[l].layer);
    const auto& bias = found.bias[static_cast<std::size_t>(at - found.header->layers.begin())];
    const std::vector<float> next = suggest_bias(layers[l].load, bias, static_cast<float>(*o.suggest_bias));
    text += Json{{"layer", layers[l].layer}, {"bias", next}}.dump() + (l + 1 < layers.size() ? ",\n" : "\n");
  }
  write_output(text + "]}\n");
}

// ---- The report.

std::vector<LabelLoad> parts_of(const RouteStatsOptions& o, const Findings& found) {
  std::vector<LabelLoad> parts;
  if (!found.keyed) return parts;
  for (const KeyedTally::Entry& entry : found.keyed->entries())
    parts.push_back({entry.key, layers_asked_for(o, entry.tally.layers())});
  std::stable_sort(parts.begin(), parts.end(), [](const LabelLoad& a, const LabelLoad& b) {
    return a.layers.front().tokens > b.layers.front().tokens;
  });
  return parts;
}

Comparison halves_of(const RouteStatsOptions& o, const Findings& found) {
  return {.name = "First and second half",
          .first = layers_asked_for(o, found.halves->first()),
          .second = layers_asked_for(o, found.halves->second())};
}

Comparison compare_with(const RouteStatsOptions& o, const std::vector<LayerLoad>& layers, Findings& found) {
  const Findings other = gather_loads(o, *o.compare);
  found.problems += other.problems;
  Comparison comparison{
      .name = "Beside " + *o.compare, .first = layers, .second = layers_asked_for(o, other.loads.layers())};
  const auto shape = [](const std::vector<LayerLoad>& loads) {
    std::vector<std::pair<std::size_t, std::size_t>> sizes;
    for (const LayerLoad& layer : loads) sizes.emplace_back(layer.layer, layer.load.size());
    return sizes;
  };
  if (shape(comparison.first) != shape(comparison.second))
    throw Error(*o.compare +
                ": other layers, or another number of experts, than in what it is to be compared with");
  return comparison;
}

void print_report(const RouteStatsOptions& o, Findings& found, std::vector<LayerLoad> layers,
                  std::optional<NewFile>& svg) {
  RouteReport report{.options = o,
                     .found = found,
                     .layers = std::move(layers),
                     .parts = parts_of(o, found),
                     .comparisons = {},
                     .pairs = {}};
  if (found.halves) report.comparisons.push_back(halves_of(o, found));
  if (o.compare) report.comparisons.push_back(compare_with(o, report.layers, found));
  if (found.pairs) report.pairs = found.pairs->above_chance(notable_pair_z);
  if (o.svg == "-") return write_output(picture(report));
  if (svg) {
    svg->write(picture(report));
    svg->commit();
  }
  switch (o.format) {
    case Format::text:
      write_output(route_text(report, Style(1, o.color), std::max(terminal_width(1), least_columns)));
      break;
    case Format::json:
      write_output(route_json(report));
      break;
    case Format::csv:
      write_output(route_csv(report));
      break;
  }
}

// 1 if lines were left out: the figures are not those of the whole log.
int work(const RouteStatsOptions& o) {
  std::optional<NewFile> svg;  // what cannot be written is told before the long work
  if (o.svg && *o.svg != "-") svg.emplace(*o.svg, o.force);
  Findings found = gather(o);
  if (found.loads.layers().empty() || found.loads.tokens() == 0)
    throw Error((o.logs.empty() ? *o.text : o.logs.front()) + ": no token in it, nothing to report");
  std::vector<LayerLoad> layers = layers_asked_for(o, found.loads.layers());
  if (o.plan) {
    print_plan(o, found, layers);
  } else if (o.suggest_bias) {
    print_suggested_bias(o, found, layers);
  } else {
    print_report(o, found, std::move(layers), svg);
  }
  return found.problems > 0 ? 1 : 0;
}

}  // namespace

int route_stats(std::vector<std::string> words) {
  RouteStatsOptions options;
  const Command definition = route_stats_definition(options);
  parse(definition, std::move(words), {"-h", "--help"});
  if (print_help_or_version(options, definition)) return 0;
  check_combinations(options);
  if (!options.text) return work(options);
  return run_until_signal([&] { return work(options); });
}

}  // namespace baleen::cmd
