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

// Chooses num_experts_per_tok experts for one token from its router logits [n_routed_experts], which become
// the scores. `bias` is e_score_correction_bias [n_routed_experts], empty without one. Equal scores: the
// lower expert wins. chosen [num_experts_per_tok] comes in ascending expert order.
void route(const Config&, std::span<float> logits, std::span<const float> bias, std::span<Choice> chosen);

}  // namespace baleen
