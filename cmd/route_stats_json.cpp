// The report of `baleen route-stats` for other programs, itself among them.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cmd/loads_json.h"
#include "cmd/route_stats_report.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

using Json = nlohmann::ordered_json;
using By = RouteStatsOptions::By;

std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json layers_json(const std::vector<LayerLoad>& layers) {
  Json list = Json::array();
  for (const LayerLoad& layer : layers) list.push_back(layer_json(layer));
  return list;
}

Json divergence_json(const std::vector<LayerLoad>& numbers,
                     const std::vector<const std::vector<LayerLoad>*>& sides) {
  Json list = Json::array();
  for (std::size_t l = 0; l < numbers.size(); ++l) {
    std::vector<const LayerLoad*> loads;
    for (const std::vector<LayerLoad>* side : sides) loads.push_back(&(*side)[l]);
    const JensenShannon js = jensen_shannon(loads);
    list.push_back({{"layer", numbers[l].layer}, {"bits", js.bits}, {"bits_by_chance", js.noise}});
  }
  return list;
}

Json parts_json(const RouteReport& r) {
  Json list = Json::array();
  for (const LabelLoad& part : r.parts)
    list.push_back({{"key", part.label}, {"layers", layers_json(part.layers)}});
  Json object = {{"parts", list}, {"tokens_left_out", r.found.keyed->left_out()}};
  if (r.parts.size() < 2 || (r.options.by != By::label && r.options.by != By::phase)) return object;
  std::vector<const std::vector<LayerLoad>*> sides;
  for (const LabelLoad& part : r.parts) sides.push_back(&part.layers);
  object["divergence"] = divergence_json(r.layers, sides);
  object["preferences"] = Json::array();
  for (const Preference& p : label_preferences(r.parts, 0.01))
    object["preferences"].push_back({{"layer", p.layer},
                                     {"expert", p.expert},
                                     {"key", r.parts[p.label].label},
                                     {"rate", p.rate},
                                     {"other_rate", p.other_rate},
                                     {"ratio", p.ratio},
                                     {"p_corrected", p.p}});
  return object;
}

Json comparison_json(const RouteReport& r, const Comparison& c) {
  Json movers = Json::array();
  for (const Mover& m : largest_movers(c.first, c.second, r.options.top.value_or(10)))
    movers.push_back(
        {{"layer", m.layer}, {"expert", m.expert}, {"before", m.before}, {"after", m.after}, {"z", m.z}});
  return {{"tokens", {c.first.front().tokens, c.second.front().tokens}},
          {"divergence", divergence_json(c.first, {&c.first, &c.second})},
          {"movers", movers}};
}

Json curve_json(const CacheCurve& curve) {
  return {
      {"reads", curve.reads}, {"lru_hits", curve.lru}, {"lfu_hits", curve.lfu}, {"best_hits", curve.belady}};
}

Json budget_json(const RouteReport& r) {
  const CacheBudget& budget = *r.found.budget;
  Json object = {{"bytes", *r.options.cache_budget},
                 {"expert_bytes", budget.expert_bytes},
                 {"slots", budget.hits.slots}};
  if (r.options.disk) object["disk_bytes_per_second"] = *r.options.disk;
  const auto add = [&](const char* phase, const PassReads& passes, std::uint64_t hits,
                       std::optional<double> in_memory) {
    const DiskForecast forecast =
        disk_forecast(passes, hits, budget.expert_bytes, static_cast<double>(r.options.disk.value_or(0)),
                      in_memory.value_or(0));
    object[phase] = {{"tokens", passes.tokens},
                     {"reads", passes.reads},
                     {"hits", hits},
                     {"bytes_per_token", forecast.bytes_per_token}};
    if (forecast.tokens_per_second > 0)
      object[phase]["tokens_per_second_at_most"] = forecast.tokens_per_second;
    if (forecast.without_overlap > 0)
      object[phase]["tokens_per_second_without_overlap"] = forecast.without_overlap;
  };
  add("prompt", r.found.reuse->prompt, budget.hits.prompt, r.options.prefill_speed);
  add("generated", r.found.reuse->generated, budget.hits.generated, r.options.decode_speed);
  return object;
}

Json reuse_json(const RouteReport& r) {
  const Reuse& reuse = *r.found.reuse;
  Json layers = Json::array();
  for (std::size_t l = 0; l < reuse.layers.size(); ++l) {
    Json layer = curve_json(reuse.layers[l].cache);
    layer["layer"] = r.found.header->layers[l];
    layer["repeated_share"] = reuse.layers[l].repetition.share;
    layer["repeated_share_by_chance"] = reuse.layers[l].repetition.chance;
    layers.push_back(layer);
  }
  Json shared = curve_json(reuse.shared);
  for (const PolicyHits& policy : reuse.policy) {
    shared["baleen_slots"].push_back(policy.slots);
    shared["baleen_hits"].push_back(policy.hits());
  }
  Json object = {
      {"each_layer", curve_json(reuse.each_layer)}, {"all_layers_together", shared}, {"layers", layers}};
  if (r.found.budget) object["budget"] = budget_json(r);
  return object;
}

Json pairs_json(const RouteReport& r) {
  Json list = Json::array();
  for (const Pair& p : r.pairs)
    list.push_back({{"layer", p.layer},
                    {"experts", {p.a, p.b}},
                    {"tokens", p.tokens},
                    {"tokens_by_chance", p.expected},
                    {"lift", p.lift()},
                    {"z", p.z}});
  return list;
}

LoadSummary summary(const RouteReport& r) {
  LoadSummary summary{.source = {}, .lines_left_out = r.found.problems};
  if (const auto& h = r.found.header)
    summary.source = LoadSummary::Source{.model = h->model,
                                         .experts = h->experts,
                                         .top_k = h->top_k,
                                         .tokens = r.found.loads.tokens(),
                                         .prompt_tokens = r.found.prompt_tokens,
                                         .generated_tokens = r.found.generated_tokens};
  return summary;
}

void append_csv(std::string& text, const std::string& key, const std::vector<LayerLoad>& layers) {
  for (const LayerLoad& layer : layers) {
    const std::vector<double> shares = utilization(layer.load);
    for (std::size_t e = 0; e < shares.size(); ++e)
      text += key + std::to_string(layer.layer) + "," + std::to_string(e) + "," +
              std::to_string(layer.load[e]) + "," + format_fixed(layer.tokens > 0 ? shares[e] : 0, 6) + "\n";
  }
}

// RFC 4180.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string cell = "\"";
  for (const char c : text) {
    if (c == '"') cell += '"';
    cell += c;
  }
  return cell + "\"";
}

}  // namespace

// Everything on lines of its own.
std::string route_json(const RouteReport& r) {
  std::string text = "{" + loads_json(summary(r), r.layers);
  const auto add = [&](const char* key, const Json& value) {
    text += ",\n\"" + std::string(key) + "\":" + dump(value);
  };
  if (r.found.keyed) add("by", parts_json(r));
  for (const Comparison& c : r.comparisons)
    add(c.name == "First and second half" ? "stability" : "compare", comparison_json(r, c));
  if (r.found.pairs) add("coactivation", pairs_json(r));
  if (r.found.reuse) add("cache", reuse_json(r));
  if (!r.found.simulated.empty()) add("simulated_layers", layers_json(r.found.simulated));
  return text + "}\n";
}

std::string route_csv(const RouteReport& r) {
  std::string text = r.parts.empty() ? "" : "key,";
  text += "layer,expert,load,utilization\n";
  if (r.parts.empty()) append_csv(text, "", r.layers);
  for (const LabelLoad& part : r.parts) append_csv(text, csv_cell(part.label) + ",", part.layers);
  return text;
}

}  // namespace baleen::cmd
