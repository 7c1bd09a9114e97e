#include "model/layer_runner.h"

#include <algorithm>
#include <vector>

#include "model/memory_plan.h"
#include "model/products.h"

namespace baleen {

using kernels::Matrix;
using kernels::Path;

struct LayerRunner::State {
  const Model& model;
  ThreadPool& pool;
  const kernels::Kernels& kernels;
  Workspace workspace;
  std::vector<KvCache> caches;     // one a window, of one layer: all layers write there in turn
  std::vector<TokenInput> tokens;  // [most_tokens]
  std::size_t rope_pairs = 0;
  std::vector<float> cos, sin;  // [most_tokens, rope_pairs]: positions come again in every run

  Pass pass(std::size_t count) {
    return {model, model.config(), kernels,    pool,       workspace, {tokens.data(), count},
            count, nullptr,        rope_pairs, cos.data(), sin.data()};
  }

  const float* norm(const Pass& p, const Matrix& gain, const float* residual) {
    float* normed = workspace.normed.get(p.count() * gain.cols);
    rms_norm(p, gain, p.config.rms_norm_eps, residual, normed);
    return normed;
  }
};

LayerRunner::LayerRunner(const Model& model, ThreadPool& pool, const kernels::Kernels& kernels,
                         std::size_t window, std::size_t most_tokens)
    : state_(new State{model, pool, kernels, {}, {}, {}, 0, {}, {}}) {
  State& s = *state_;
  s.workspace.thread_scratch.resize(pool.size());
  s.workspace.thread_packed.resize(pool.size());
  const KvLayout layout(model.config(), kernels::KvFormat::f32);
  for (std::size_t begin = 0; begin < most_tokens; begin += window) s.caches.emplace_back(layout, 1, window);
  s.tokens.resize(most_tokens);
  for (std::size_t t = 0; t < most_tokens; ++t) {
    s.tokens[t].cache = &s.caches[t / window];
    s.tokens[t].position = static_cast<std::uint32_t>(t % window);
  }
  const std::vector<float> frequencies = rope_frequencies(model.config());
  s.rope_pairs = frequencies.size();
  s.cos.resize(most_tokens * s.rope_pairs);
  s.sin.resize(most_tokens * s.rope_pairs);
  rotations(s.pass(most_tokens), frequencies, s.cos.data(), s.sin.data());
}

LayerRunner::~LayerRunner() = default;
LayerRunner::LayerRunner(LayerRunner&&) noexcept = default;

void LayerRunner::embed(std::span<const TokenId> ids, float* residual) {
  for (std::size_t t = 0; t < ids.size(); ++t) state_->tokens[t].id = ids[t];
  baleen::embed(state_->pass(ids.size()), residual);
}

LayerRunner::AttentionInputs LayerRunner::attention(const Layer& layer, std::size_t tokens, float* residual) {
  State& s = *state_;
  const Pass pass = s.pass(tokens);
  const float* normed = s.norm(pass, layer.weights[Role::input_layernorm], residual);
  baleen::attention(pass, layer, 0, normed, residual);
  AttentionInputs inputs;
  inputs.attended = s.workspace.attended.get(0);
  if (pass.config.attention == AttentionKind::mla) {
    if (pass.config.q_lora_rank > 0) inputs.q_a = s.workspace.q_a.get(0);
    inputs.latent = s.workspace.kv_a.get(0);
    inputs.latent_stride = pass.config.kv_lora_rank + pass.config.qk_rope_head_dim;
  }
  return inputs;
}

std::span<const Choice> LayerRunner::route(const Layer& layer, std::size_t tokens, const float* residual) {
  if (layer.experts.empty()) return {};
  State& s = *state_;
  const Pass pass = s.pass(tokens);
  const float* normed = s.norm(pass, layer.weights[Role::post_attention_layernorm], residual);
  return {choose(pass, layer, 0, normed), tokens * pass.config.num_experts_per_tok};
}

void LayerRunner::feed_forward(const Layer& layer, std::size_t tokens, float* residual) {
  const Pass pass = state_->pass(tokens);
  const float* normed = state_->norm(pass, layer.weights[Role::post_attention_layernorm], residual);
  baleen::feed_forward(pass, layer, 0, normed, residual);
}

void LayerRunner::inner(const Matrix& gate, const Matrix& up, const float* x, std::size_t tokens,
                        float* inner, float* room, std::size_t thread) {
  const Pass pass = state_->pass(0);
  const auto project = [&](const Matrix& matrix, float* out) {
    LocalProduct product;
    product.matrix = &matrix;
    product.row_end = matrix.rows;
    product.path = Path::batch;
    product.tokens = tokens;
    product.x = x;
    product.x_stride = matrix.cols;
    product.out = out;
    product.out_stride = matrix.rows;
    multiply_here(pass, product, thread);
  };
  project(gate, inner);
  project(up, room);
  pass.kernels.silu_mul(inner, room, tokens * gate.rows);
}

std::uint64_t LayerRunner::memory(const Config& c, std::size_t window, std::size_t most_tokens) {
  const KvLayout layout(c, kernels::KvFormat::f32);
  const std::uint64_t windows = (most_tokens + window - 1) / window;
  return pass_memory(c, most_tokens, 0) + windows * window * layout.position_bytes;
}

}  // namespace baleen
