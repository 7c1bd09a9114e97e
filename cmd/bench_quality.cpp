#include "cmd/bench_quality.h"

#include <cstdio>
#include <iterator>
#include <vector>

#include "report/table.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

double mean(std::span<const Prediction> predictions, double Prediction::*nats) {
  double sum = 0;
  for (const Prediction& prediction : predictions) sum += prediction.*nats;
  return predictions.empty() ? 0 : sum / static_cast<double>(predictions.size());
}

// Divergence of all positions, and apart of those that both models sent to the same experts and of the
// others.
struct Group {
  const char* name;
  Divergence divergence;
};
std::vector<Group> groups(std::span<const Prediction> all) {
  std::vector<Prediction> same;
  std::vector<Prediction> rerouted;
  for (const Prediction& prediction : all) (prediction.rerouted ? rerouted : same).push_back(prediction);
  return {{"all", divergence(all)}, {"same_experts", divergence(same)}, {"rerouted", divergence(rerouted)}};
}

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

}  // namespace

std::string quality_text(const QualityReport& r) {
  const auto line = [](std::string key, const std::string& value) {
    key.resize(12, ' ');
    return key + value + "\n";
  };
  const auto describe = [](double nats) {
    return format_fixed(perplexity(nats), 4) + ", " + format_fixed(nats, 6) + " nats per token";
  };
  std::string text = line("model", r.model) + line("kernels", r.kernels + ", KV cache " + r.kv_type) +
                     line("text", r.text + ": " + std::to_string(r.tokens) + " tokens, " +
                                      std::to_string(r.predictions.size()) + " predicted, windows of " +
                                      std::to_string(r.window)) +
                     line("perplexity", describe(mean(r.predictions, &Prediction::nats)));
  if (r.reference.empty()) return text;
  text += line("reference", r.reference) +
          line("perplexity", describe(mean(r.predictions, &Prediction::reference_nats)));
  using enum Table::Align;
  Table table({{"KL, nats"},
               {"positions", right},
               {"mean", right},
               {"median", right},
               {"99 %", right},
               {"largest", right},
               {"same likeliest token", right}});
  for (const Group& group : groups(r.predictions)) {
    const Divergence& d = group.divergence;
    std::string name = group.name;
    if (const std::size_t at = name.find('_'); at != std::string::npos) name[at] = ' ';
    if (d.positions == 0) {
      table.add({name, "0", "-", "-", "-", "-", "-"});
      continue;
    }
    table.add({name, std::to_string(d.positions), scientific(d.mean_kl), scientific(d.median_kl),
               scientific(d.kl_99), scientific(d.max_kl), format_fixed(100 * d.top1_agreement, 2) + " %"});
  }
  return text + "\n" + table.text();
}

Json quality_json(const QualityReport& r) {
  const double nats = mean(r.predictions, &Prediction::nats);
  Json object{{"schema", 1},
              {"model", r.model},
              {"kernels", r.kernels},
              {"kv_type", r.kv_type},
              {"text", r.text},
              {"tokens", r.tokens},
              {"predicted_tokens", r.predictions.size()},
              {"window_tokens", r.window},
              {"nats_per_token", nats},
              {"perplexity", perplexity(nats)}};
  if (r.reference.empty()) return object;
  const double reference_nats = mean(r.predictions, &Prediction::reference_nats);
  object["reference"] = r.reference;
  object["reference_nats_per_token"] = reference_nats;
  object["reference_perplexity"] = perplexity(reference_nats);
  for (const Group& group : groups(r.predictions)) {
    const Divergence& d = group.divergence;
    const auto known = [&](double value) { return d.positions > 0 ? Json(value) : Json(); };
    object["kl_nats"][group.name] = {
        {"positions", d.positions},     {"mean", known(d.mean_kl)},
        {"median", known(d.median_kl)}, {"percentile_99", known(d.kl_99)},
        {"max", known(d.max_kl)},       {"top1_agreement", known(d.top1_agreement)}};
  }
  return object;
}

}  // namespace baleen::cmd
