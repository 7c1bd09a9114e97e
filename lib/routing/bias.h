// Load balance without an auxiliary loss (DeepSeek-V3 report, arXiv:2412.19437, section 2.1.2): a bias on
// each expert's score, used for the choice alone, that training moves a step down where an expert had too
// much load and a step up where it had too little. Here: the next step from a log's load, and what other
// biases would have made of the scores that a log holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/config.h"
#include "model/router.h"
#include "routing/expert_load.h"

namespace baleen {

// The e_score_correction_bias [experts] that follows `bias` [experts]: down by gamma for an expert with more
// than the mean load of its layer, up by gamma for one with less, unchanged for one with exactly the mean
// (compared in whole numbers). An empty bias is one of zeros. The report: gamma is 0.001 for most of
// training, 0 at its end. Throws UsageError if the sizes differ.
std::vector<float> suggest_bias(std::span<const std::uint64_t> load, std::span<const float> bias,
                                float gamma);

// Replays one layer's choice with another bias, token by token, by the model's own code.
//
// Exact: which experts of this layer the logged tokens would have got, ties included, if the scores are the
// floats that the router computed (9 significant digits bring them back; fewer can turn a near tie).
// Not exact, for what the log cannot tell: later layers would have seen the output of other experts and
// scored differently, and so would every layer once a generated token differs. Biases of several layers
// simulated at once are therefore each judged on the inputs of the run that was logged.
class BiasSimulation {
 public:
  // Of the configuration counts what choosing needs: n_routed_experts, num_experts_per_tok, topk_method,
  // n_group and topk_group. `bias` [n_routed_experts], or empty for none. A model of topk_method greedy has
  // no bias of its own, but is chosen from with one all the same. Throws UsageError if the sizes differ and
  // for group_limited_greedy: there a masked score is 0, which a biased one may fall below.
  BiasSimulation(const Config&, std::size_t layer, std::vector<float> bias);

  // One token's scores [n_routed_experts], as score_experts() makes them: sigmoid or softmax done, without
  // bias. Returns the experts chosen [num_experts_per_tok], ascending; valid until the next call. Throws
  // UsageError if there are not that many.
  std::span<const Choice> add(std::span<const float> scores);

  // What the experts would have got of the tokens so far.
  const LayerLoad& load() const { return load_; }

 private:
  Config config_;
  std::vector<float> bias_;
  std::vector<Choice> chosen_;
  LayerLoad load_;
};

}  // namespace baleen
