// How well a model predicts a text, and how far its predictions are from another's. Memory is bounded,
// whatever the text's length: logits are compared chunk by chunk.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/model.h"
#include "runtime/thread_pool.h"
#include "tokenizer/token_id.h"

namespace baleen {

class ExpertCache;

// One position of a text.
struct Prediction {
  double nats = 0;  // -log of the probability that the model gave the token that came
  // With a reference:
  double reference_nats = 0;
  double kl = 0;          // of the model from the reference, nats: sum of p_ref (log p_ref - log p)
  bool same_top = false;  // both find the same token likeliest
  bool rerouted = false;  // this token went to other experts in some layer
};

// From the logits of a position and the token that came; `reference` may be empty.
Prediction predict(std::span<const float> logits, std::span<const float> reference, TokenId next);

// A group of positions.
struct Divergence {
  std::size_t positions = 0;
  double mean_kl = 0;
  double median_kl = 0;
  double kl_99 = 0;  // 99 of 100 positions diverge less
  double max_kl = 0;
  double top1_agreement = 0;  // share of positions
};
Divergence divergence(std::span<const Prediction> predictions);

struct QualityOptions {
  const kernels::Kernels* kernels = nullptr;
  kernels::KvFormat kv_format = kernels::KvFormat::f32;
  std::size_t window = 0;  // tokens; the text is cut into windows that know nothing of each other
  const std::atomic<bool>* cancel = nullptr;
  // Where routed experts come from, those of the model and of the reference; null: they are in memory.
  ExpertCache* experts = nullptr;
  ExpertCache* reference_experts = nullptr;
};

// Every token's prediction but of the first one of each window. `reference` may be null. `on_progress` is
// told the tokens done. Throws Cancelled.
std::vector<Prediction> predict_text(const Model&, const Model* reference, std::span<const TokenId> ids,
                                     ThreadPool&, const QualityOptions&,
                                     const std::function<void(std::size_t)>& on_progress);

double perplexity(double mean_nats);

}  // namespace baleen
