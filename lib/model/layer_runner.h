// One layer at a time, over sequences whose activations the caller keeps: the forward pass turned inside out.
// Calibration lets all of its text pass a layer before it goes on to the next, and may change a layer between
// two runs of it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "kernels/kernels.h"
#include "model/model.h"
#include "model/router.h"
#include "runtime/thread_pool.h"
#include "tokenizer/token_id.h"

namespace baleen {

class LayerRunner {
 public:
  // Runs up to most_tokens (a multiple of `window`, at most 2^32) tokens at a time. Each `window` of them are
  // a sequence of their own, as in Forward at positions from 0 on; only the last may be shorter. Results are
  // those of Forward with Path::batch, latents attended to absorbed, and keys and values in f32.
  LayerRunner(const Model&, ThreadPool&, const kernels::Kernels&, std::size_t window,
              std::size_t most_tokens);
  ~LayerRunner();
  LayerRunner(LayerRunner&&) noexcept;

  // Bytes it takes once it has run, about.
  static std::uint64_t memory(const Config&, std::size_t window, std::size_t most_tokens);

  // residual [ids, hidden_size] = the embeddings.
  void embed(std::span<const TokenId> ids, float* residual);

  // What attention's projections read, beside its normed input; valid until the next call.
  struct AttentionInputs {
    const float* q_a = nullptr;     // [T, q_lora_rank], normed: q_b_proj's; null without one
    const float* latent = nullptr;  // [T, latent_stride], the first kv_lora_rank normed: kv_b_proj's
    std::size_t latent_stride = 0;
    const float* attended = nullptr;  // [T, o_proj.cols]: o_proj's
  };
  // residual [T, hidden_size] += attention(norm(residual)).
  AttentionInputs attention(const Layer&, std::size_t tokens, float* residual);

  // The experts that a layer's residual [T, hidden_size] goes to, [T, num_experts_per_tok]; empty in a dense
  // layer. Valid until the next call.
  std::span<const Choice> route(const Layer&, std::size_t tokens, const float* residual);

  // residual [T, hidden_size] += feed_forward(norm(residual)).
  void feed_forward(const Layer&, std::size_t tokens, float* residual);

  // For one thread, beside others: inner [T, gate.rows] = silu(gate x) * up x, x [T, gate.cols]; `room` for
  // as many floats as inner.
  void inner(const kernels::Matrix& gate, const kernels::Matrix& up, const float* x, std::size_t tokens,
             float* inner, float* room, std::size_t thread);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baleen
