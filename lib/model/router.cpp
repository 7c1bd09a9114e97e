#include "model/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace baleen {
namespace {

constexpr float never = -std::numeric_limits<float>::infinity();

// Indices of the k largest values, equal ones in ascending order. NaN counts as the largest, as in PyTorch's
// topk: a broken weight is to be seen in the result.
std::vector<std::uint32_t> top_k(std::span<const float> values, std::size_t k) {
  std::vector<std::uint32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto better = [&](std::uint32_t a, std::uint32_t b) {
    if (values[a] > values[b]) return true;
    if (values[a] < values[b]) return false;
    return std::isnan(values[a]) != std::isnan(values[b]) ? std::isnan(values[a]) : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(), better);
  order.resize(k);
  return order;
}

// How good a group of experts is: DeepSeek-V2 looks at its best expert, DeepSeek-V3 at the sum of its two
// best (DeepSeek-V3 report, section 2.1.2).
float group_score(TopkMethod method, std::span<const float> group) {
  const std::size_t counted = method == TopkMethod::noaux_tc ? 2 : 1;
  float sum = 0;
  for (const std::uint32_t i : top_k(group, std::min(counted, group.size()))) sum += group[i];
  return sum;
}

// Lowers every score outside the topk_group best groups to `floor`.
void limit_groups(const Config& config, std::span<float> scores, float floor) {
  const std::size_t size = scores.size() / config.n_group;
  std::vector<float> groups(config.n_group);
  for (std::size_t g = 0; g < config.n_group; ++g)
    groups[g] = group_score(config.topk_method, scores.subspan(g * size, size));
  std::vector<bool> kept(config.n_group, false);
  for (const std::uint32_t g : top_k(groups, config.topk_group)) kept[g] = true;
  for (std::size_t e = 0; e < scores.size(); ++e)
    if (!kept[e / size]) scores[e] = floor;
}

}  // namespace

void score_experts(const Config& config, std::span<float> logits) {
  if (config.scoring_func == ScoringFunc::sigmoid) {
    for (float& x : logits) x = 1.0f / (1.0f + std::exp(-x));
    return;
  }
  const float maximum = *std::max_element(logits.begin(), logits.end());
  float sum = 0;
  for (float& x : logits) sum += x = std::exp(x - maximum);
  for (float& x : logits) x /= sum;
}

void choose_experts(const Config& config, std::span<const float> scores, std::span<const float> bias,
                    std::span<Choice> chosen) {
  // DeepSeek-V3 eq. (16): the bias chooses, the unbiased score weighs.
  std::vector<float> for_choice(scores.begin(), scores.end());
  for (std::size_t e = 0; e < bias.size(); ++e) for_choice[e] += bias[e];
  if (config.topk_method == TopkMethod::noaux_tc) limit_groups(config, for_choice, never);
  if (config.topk_method == TopkMethod::group_limited_greedy) {
    // DeepSeek-V2 sets what it may not choose to 0; an expert taken from there for want of others weighs 0.
    limit_groups(config, for_choice, 0.0f);
    scores = for_choice;
  }

  std::vector<std::uint32_t> experts = top_k(for_choice, chosen.size());
  std::sort(experts.begin(), experts.end());
  // Of a bias of NaN no weight would tell, and the logits are where it is reported.
  const auto score = [&](std::uint32_t e) { return std::isnan(for_choice[e]) ? for_choice[e] : scores[e]; };
  float sum = 0;
  for (const std::uint32_t e : experts) sum += score(e);
  const float divisor = config.norm_topk_prob ? sum + static_cast<float>(config.topk_norm_eps) : 1.0f;
  const auto factor = static_cast<float>(config.routed_scaling_factor);
  for (std::size_t i = 0; i < experts.size(); ++i)
    chosen[i] = {experts[i], score(experts[i]) / divisor * factor};
}

void route(const Config& config, std::span<float> logits, std::span<const float> bias,
           std::span<Choice> chosen) {
  score_experts(config, logits);
  choose_experts(config, logits, bias, chosen);
}

}  // namespace baleen
