// The forward pass: tokens in, logits out. Prefill and decode are this one function with other tokens; how
// each token's row stays independent of its neighbours is told in kernels/kernels.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>

#include "kernels/kernels.h"
#include "model/model.h"
#include "model/router.h"
#include "runtime/kv_cache.h"
#include "runtime/thread_pool.h"
#include "tokenizer/token_id.h"

namespace baleen {

class ExpertCache;

// One token of a pass. Its key and value are written at `position` of `cache`, and it attends to what the
// cache holds up to there.
struct TokenInput {
  TokenId id = 0;
  KvCache* cache = nullptr;
  std::uint32_t position = 0;
  kernels::Path path = kernels::Path::batch;  // batch or stream
  bool wants_logits = false;
  bool generated = false;     // not of the prompt; observers see it
  bool expanded = false;      // the form in which it attends (expansion.h); of Path::batch only
  std::uint64_t request = 0;  // the caller's number for the sequence; observers see it
};

// Looks at what a pass computes, for tests, route logs and statistics; costs nothing when absent.
struct Observer {
  // The residual stream [tokens, hidden_size] that enters `layer`; for layer == num_hidden_layers the rows
  // behind the final norm of the tokens that want logits.
  std::function<void(std::size_t layer, std::span<const float> hidden)> hidden;
  // Every token's choice in MoE layer `layer`: [tokens, num_experts_per_tok], ascending experts.
  std::function<void(std::size_t layer, std::span<const TokenInput> tokens, std::span<const Choice> choices)> route;
  // Before it, the scores that were chosen by: [tokens, n_routed_experts], without the correction bias.
  std::function<void(std::size_t layer, std::span<const TokenInput> tokens, std::span<const float> scores)> scores;
};

// The caller's cancel flag was seen; the tokens of the pass are not in their caches.
class Cancelled : public std::exception {
 public:
  const char* what() const noexcept override { return "cancelled"; }
};

// Throws Cancelled if there is a flag and it is set.
inline void check_cancelled(const std::atomic<bool>* cancel) {
  if (cancel && cancel->load(std::memory_order_relaxed)) throw Cancelled();
}

class Forward {
 public:
  // `cancel`, if given, is looked at before every layer. `experts`, if given, is where routed experts come
  // from: a cache of this model that nobody else uses; without one they are read where they are mapped.
  Forward(const Model&, ThreadPool&, const kernels::Kernels&, const std::atomic<bool>* cancel = nullptr,
          ExpertCache* experts = nullptr);
  ~Forward();
  Forward(Forward&&) noexcept;

  // logits [vocab_size] of tokens[index], for each token that wants them, ascending; valid during the call.
  using OnLogits = std::function<void(std::size_t index, std::span<const float> logits)>;

  // Runs the tokens: those of Path::batch first, positions of one cache ascending and without gaps from
  // cache.length(), all ids and positions in range. Caches' lengths grow. Throws Cancelled.
  void run(std::span<const TokenInput> tokens, const OnLogits& on_logits, const Observer* observer = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baleen
