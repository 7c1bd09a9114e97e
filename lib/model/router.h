// Which experts a token goes to, and with what weight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "checkpoint/config.h"

namespace baleen {

// The expert that a token was sent to.
struct Choice {
  std::uint32_t expert = 0;
  float weight = 0;  // combine weight: multiplies the expert's output
};

// Turns the router logits of one token [n_routed_experts] into scores: DeepSeek-V3 eq. (15), s_i =
// sigmoid(u . e_i); DeepSeek-V2 eq. (22) and the others, softmax over all experts.
void score_experts(const Config&, std::span<float> logits);

// Chooses num_experts_per_tok experts for one token from its scores [n_routed_experts]. `bias` is
// e_score_correction_bias [n_routed_experts], empty without one. Equal scores: the lower expert wins. An
// expert whose score or bias is NaN is chosen before all others, with weight NaN. chosen
// [num_experts_per_tok] comes in ascending expert order.
void choose_experts(const Config&, std::span<const float> scores, std::span<const float> bias,
                    std::span<Choice> chosen);

// Both, from router logits, which become the scores.
void route(const Config&, std::span<float> logits, std::span<const float> bias, std::span<Choice> chosen);

}  // namespace baleen
