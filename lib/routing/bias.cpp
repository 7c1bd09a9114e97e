#include "routing/bias.h"

#include <numeric>
#include <string>
#include <utility>

#include "error.h"

namespace baleen {
namespace {

void check_size(std::size_t size, std::size_t experts, const std::string& what) {
  if (size != experts)
    throw UsageError(what + ": " + std::to_string(size) + " values, expected one for each of the " +
                     std::to_string(experts) + " experts");
}

}  // namespace

std::vector<float> suggest_bias(std::span<const std::uint64_t> load, std::span<const float> bias,
                                float gamma) {
  std::vector<float> next(bias.begin(), bias.end());
  if (next.empty()) next.assign(load.size(), 0.0f);
  check_size(next.size(), load.size(), "bias");
  if (load.empty()) return next;
  const std::uint64_t sum = std::accumulate(load.begin(), load.end(), std::uint64_t{0});
  const std::uint64_t mean = sum / load.size();  // rounded down
  const bool whole = sum % load.size() == 0;
  for (std::size_t e = 0; e < load.size(); ++e) {
    if (load[e] > mean) next[e] -= gamma;
    if (load[e] < mean || (load[e] == mean && !whole)) next[e] += gamma;
  }
  return next;
}

BiasSimulation::BiasSimulation(const Config& config, std::size_t layer, std::vector<float> bias)
    : config_(config), bias_(std::move(bias)), chosen_(config.num_experts_per_tok) {
  if (config.topk_method == TopkMethod::group_limited_greedy)
    throw UsageError("topk_method group_limited_greedy has no place for a bias, expected noaux_tc or greedy");
  if (!bias_.empty())
    check_size(bias_.size(), config.n_routed_experts, "bias of layer " + std::to_string(layer));
  load_ = {layer, std::vector<std::uint64_t>(config.n_routed_experts, 0), 0, config.num_experts_per_tok};
}

std::span<const Choice> BiasSimulation::add(std::span<const float> scores) {
  check_size(scores.size(), config_.n_routed_experts, "scores of layer " + std::to_string(load_.layer));
  choose_experts(config_, scores, bias_, chosen_);
  for (const Choice& choice : chosen_) ++load_.load[choice.expert];
  ++load_.tokens;
  return chosen_;
}

}  // namespace baleen
