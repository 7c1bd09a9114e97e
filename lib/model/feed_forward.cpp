// The second half of a layer: an MLP, or routed and shared experts (DeepSeekMoE, arXiv:2401.06066;
// DeepSeek-V3 eqs. 12-16). Tokens are gathered by expert, so that every expert's weights are read once a
// pass, by the threads together; the shared experts and a dense layer's MLP are one more expert that all
// tokens go to.
#include <algorithm>
#include <array>
#include <numeric>

#include "model/pass.h"

namespace baleen {
namespace {

using kernels::Matrix;

// Output rows of one task of the down projections; all experts' rows of a task are read one after another.
constexpr std::size_t down_rows_per_task = 64;

// An MLP and the tokens it works on.
struct ExpertWork {
  const Matrix* gate_proj;
  const Matrix* up_proj;
  const Matrix* down_proj;
  const std::uint32_t* tokens = nullptr;  // [count] ascending: so prefill ones come first; null: every token
  const float* weights = nullptr;         // [count] combine weights; null: 1
  std::size_t prefill = 0;
  std::size_t count = 0;
  std::size_t inner_begin = 0;  // where its activations [count, intermediate] begin
};

// Tokens and combine weights by expert, and the room for both.
struct Assignment {
  std::vector<std::uint32_t> begin;   // [experts + 1]
  std::vector<std::uint32_t> tokens;  // [T * k]
  std::vector<float> weights;         // [T * k]
};

// Router logits to choices [T, num_experts_per_tok].
const Choice* choose(const Pass& pass, const Layer& layer, std::size_t layer_index, const float* normed) {
  const Config& c = pass.config;
  const std::size_t experts = c.n_routed_experts;
  const std::size_t k = c.num_experts_per_tok;
  float* logits = pass.workspace.router_logits.get(pass.count() * experts);
  Choice* choices = pass.workspace.choices.get(pass.count() * k);
  multiply(pass, std::array{Product{&layer.weights[Role::router], normed, logits}});

  std::vector<float> bias;
  if (const Matrix& stored = layer.weights[Role::e_score_correction_bias]; stored.values) {
    bias.resize(experts);
    pass.kernels.widen_row[static_cast<std::size_t>(stored.format)](stored, 0, bias.data());
  }
  pass.pool.parallel_for(pass.count(), [&](std::size_t t, std::size_t) {
    route(c, {logits + t * experts, experts}, bias, {choices + t * k, k});
  });
  if (pass.observer && pass.observer->route)
    pass.observer->route(layer_index, pass.tokens, {choices, pass.count() * k});
  return choices;
}

// Counting sort of the choices by expert; within an expert tokens ascend.
Assignment assign(const Choice* choices, std::size_t tokens, std::size_t k, std::size_t experts) {
  Assignment a;
  a.begin.assign(experts + 1, 0);
  for (std::size_t i = 0; i < tokens * k; ++i) ++a.begin[choices[i].expert + 1];
  std::partial_sum(a.begin.begin(), a.begin.end(), a.begin.begin());
  a.tokens.resize(tokens * k);
  a.weights.resize(tokens * k);
  std::vector<std::uint32_t> next(a.begin.begin(), a.begin.end() - 1);
  for (std::size_t i = 0; i < tokens * k; ++i) {
    const std::uint32_t at = next[choices[i].expert]++;
    a.tokens[at] = static_cast<std::uint32_t>(i / k);
    a.weights[at] = choices[i].weight;
  }
  return a;
}

// Rows [begin, end) of one MLP's intermediate layer: inner = silu(gate x) * up x.
void gate_and_up(const Pass& pass, const ExpertWork& work, std::size_t begin, std::size_t end, const float* x,
                 float* inner, std::size_t thread) {
  const std::size_t width = work.gate_proj->rows;
  const std::size_t rows = end - begin;
  const std::size_t kernel_scratch = kernels::matmul_scratch(work.gate_proj->cols);
  float* scratch = pass.workspace.thread_scratch[thread].get(kernel_scratch + work.count * rows);
  float* up = scratch + kernel_scratch;  // [count, rows]
  float* gate = inner + work.inner_begin + begin;
  const Rows gathered{x, work.gate_proj->cols, work.tokens};
  multiply_rows(pass, *work.gate_proj, begin, end, gathered, work.prefill, work.count, gate, width, scratch);
  multiply_rows(pass, *work.up_proj, begin, end, gathered, work.prefill, work.count, up, rows, scratch);
  for (std::size_t i = 0; i < work.count; ++i) pass.kernels.silu_mul(gate + i * width, up + i * rows, rows);
}

// Rows [begin, end) of the block's output: the experts' outputs, weighted, in ascending expert order and the
// shared ones last, so that a token's sum does not depend on its neighbours.
void down(const Pass& pass, std::span<const ExpertWork> works, std::size_t begin, std::size_t end,
          const float* inner, float* out, std::size_t thread) {
  const std::size_t hidden = pass.config.hidden_size;
  const std::size_t rows = end - begin;
  for (std::size_t t = 0; t < pass.count(); ++t) std::fill_n(out + t * hidden + begin, rows, 0.0f);
  for (const ExpertWork& work : works) {
    const std::size_t kernel_scratch = kernels::matmul_scratch(work.down_proj->cols);
    float* scratch = pass.workspace.thread_scratch[thread].get(kernel_scratch + work.count * rows);
    float* product = scratch + kernel_scratch;  // [count, rows]
    multiply_rows(pass, *work.down_proj, begin, end, {inner + work.inner_begin, work.down_proj->cols}, work.prefill,
                  work.count, product, rows, scratch);
    for (std::size_t i = 0; i < work.count; ++i) {
      const std::size_t token = work.tokens ? work.tokens[i] : i;
      pass.kernels.axpy(work.weights ? work.weights[i] : 1.0f, product + i * rows, out + token * hidden + begin, rows);
    }
  }
}

void run_experts(const Pass& pass, std::span<ExpertWork> works, const float* x, float* out) {
  struct Task {
    std::size_t work, begin, end;
  };
  std::vector<Task> tasks;
  std::size_t inner_size = 0;
  for (std::size_t w = 0; w < works.size(); ++w) {
    const Matrix& gate = *works[w].gate_proj;
    works[w].inner_begin = inner_size;
    inner_size += works[w].count * gate.rows;
    const std::size_t step = rows_per_task(gate, works[w].count);
    for (std::size_t row = 0; row < gate.rows; row += step) tasks.push_back({w, row, std::min(gate.rows, row + step)});
  }
  float* inner = pass.workspace.inner.get(inner_size);
  pass.pool.parallel_for(tasks.size(), [&](std::size_t i, std::size_t thread) {
    gate_and_up(pass, works[tasks[i].work], tasks[i].begin, tasks[i].end, x, inner, thread);
  });

  const std::size_t hidden = pass.config.hidden_size;
  const std::size_t step = down_rows_per_task;
  pass.pool.parallel_for((hidden + step - 1) / step, [&](std::size_t i, std::size_t thread) {
    down(pass, works, i * step, std::min(hidden, (i + 1) * step), inner, out, thread);
  });
}

}  // namespace

void feed_forward(const Pass& pass, const Layer& layer, std::size_t layer_index, const float* normed,
                  float* block_out) {
  const Weights& w = layer.weights;
  std::vector<ExpertWork> works;
  Assignment assignment;
  const auto for_every_token = [&](Role gate, Role up, Role down_role) {
    works.push_back({&w[gate], &w[up], &w[down_role], nullptr, nullptr, pass.prefill, pass.count(), 0});
  };

  if (layer.experts.empty()) {
    for_every_token(Role::gate_proj, Role::up_proj, Role::down_proj);
  } else {
    const Config& c = pass.config;
    const Choice* choices = choose(pass, layer, layer_index, normed);
    assignment = assign(choices, pass.count(), c.num_experts_per_tok, c.n_routed_experts);
    for (std::size_t e = 0; e < layer.experts.size(); ++e) {
      const std::uint32_t begin = assignment.begin[e];
      const std::uint32_t count = assignment.begin[e + 1] - begin;
      if (count == 0) continue;
      const std::uint32_t* tokens = assignment.tokens.data() + begin;
      const auto prefill = static_cast<std::size_t>(
          std::lower_bound(tokens, tokens + count, static_cast<std::uint32_t>(pass.prefill)) - tokens);
      const Mlp& mlp = layer.experts[e];
      works.push_back({&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj, tokens, assignment.weights.data() + begin,
                       prefill, count, 0});
    }
    if (w.has(Role::shared_gate_proj))
      for_every_token(Role::shared_gate_proj, Role::shared_up_proj, Role::shared_down_proj);
  }
  run_experts(pass, works, normed, block_out);
}

}  // namespace baleen
