// Which experts the next layers will ask for. A layer adds little to the residual stream beside what is
// there, so the next layers' routers, applied to it as it is now, mostly choose what they will choose. A
// guess costs a router's product and may be wrong: nothing but reading ahead follows from it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "model/pass.h"
#include "runtime/expert_cache.h"

namespace baleen {
namespace {

// Of a prompt's tokens so many are looked at: they stand for the others.
constexpr std::size_t most_looked_at = 32;

// Experts by how much of the tokens' weight they get, the most first.
std::vector<std::uint32_t> ranked(std::span<const Choice> choices, std::size_t experts) {
  std::vector<float> weight(experts, 0);
  std::vector<bool> chosen(experts, false);
  for (const Choice& choice : choices) {
    weight[choice.expert] += choice.weight;
    chosen[choice.expert] = true;
  }
  std::vector<std::uint32_t> order;
  for (std::uint32_t e = 0; e < experts; ++e)
    if (chosen[e]) order.push_back(e);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return weight[a] > weight[b]; });
  return order;
}

}  // namespace

void look_ahead(const Pass& pass, std::size_t layer_index, const float* residual) {
  const Config& c = pass.config;
  const std::size_t step = (pass.count() + most_looked_at - 1) / most_looked_at;
  std::vector<TokenInput> tokens;
  for (std::size_t t = 0; t < pass.count(); t += step) tokens.push_back(pass.tokens[t]);
  Pass glance = pass;
  glance.tokens = tokens;
  glance.observer = nullptr;
  float* normed = pass.workspace.glance.get(tokens.size() * c.hidden_size);
  for (std::size_t distance = 1; distance <= pass.experts->lookahead(); ++distance) {
    const std::size_t next = layer_index + distance;
    if (next >= c.num_hidden_layers) break;
    const Layer& layer = pass.model.layers()[next];
    if (layer.experts.empty()) continue;
    const kernels::Matrix& gain = layer.weights[Role::post_attention_layernorm];
    for (std::size_t i = 0; i < tokens.size(); ++i)
      pass.kernels.rms_norm(residual + i * step * c.hidden_size, gain.values, gain.format, c.hidden_size,
                            static_cast<float>(c.rms_norm_eps), normed + i * c.hidden_size);
    const Choice* choices = choose(glance, layer, next, normed);
    pass.experts->guess(next, distance,
                        ranked({choices, tokens.size() * c.num_experts_per_tok}, c.n_routed_experts));
  }
}

}  // namespace baleen
