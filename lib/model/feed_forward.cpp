// The second half of a layer: an MLP, or routed and shared experts (DeepSeekMoE, arXiv:2401.06066;
// DeepSeek-V3 eqs. 12-16). Tokens are gathered by expert, so that every expert's weights are read once a
// pass, by the threads together; the shared experts and a dense layer's MLP are one more expert that all
// tokens go to.
#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

#include "model/products.h"
#include "runtime/expert_cache.h"

namespace baleen {
namespace {

using kernels::Matmul;
using kernels::Matrix;
using kernels::Path;

// Output rows of a task of the down projections are a multiple of this.
constexpr std::size_t down_rows = 64;
// Results of one call of the down projection's kernel, in floats: they stay in a near cache.
constexpr std::size_t down_results = 32 * 1024;
// At most: a task reads every expert's inner activations.
constexpr std::size_t most_down_rows = 512;

// One matrix of an expert and the kernel that multiplies by it.
struct Projection {
  const Matrix* matrix;
  const Matmul* kernel;
};

// An MLP and the tokens of one path that it works on.
struct Work {
  Projection gate, up, down;
  Part part;                              // of the pass; count: how many of its tokens come here
  const std::uint32_t* tokens = nullptr;  // [count] ascending, of the pass; null: the whole part
  const std::uint32_t* slots = nullptr;   // [count] the same, counted from the part's first
  const float* weights = nullptr;         // [count] combine weights; null: 1
  std::size_t gate_input = 0;             // operands
  std::size_t up_input = 0;
  std::size_t inner_begin = 0;            // where its inner activations begin, packed for the down projection
  std::optional<std::size_t> place;       // among the experts that were asked for; none: a weight always there

  std::size_t token(std::size_t i) const { return tokens ? tokens[i] : part.begin + i; }
};

// Tokens and combine weights by expert.
struct Assignment {
  std::vector<std::uint32_t> begin;   // [experts + 1]
  std::vector<std::uint32_t> tokens;  // [T * k]
  std::vector<std::uint32_t> slots;   // [T * k] the tokens, counted from the first of their path
  std::vector<float> weights;         // [T * k]
};

// Counting sort of the choices by expert; within an expert tokens ascend. Tokens from `prefill` on are counted
// anew.
Assignment assign(const Choice* choices, std::size_t tokens, std::size_t prefill, std::size_t k,
                  std::size_t experts) {
  Assignment a;
  a.begin.assign(experts + 1, 0);
  for (std::size_t i = 0; i < tokens * k; ++i) ++a.begin[choices[i].expert + 1];
  std::partial_sum(a.begin.begin(), a.begin.end(), a.begin.begin());
  a.tokens.resize(tokens * k);
  a.slots.resize(tokens * k);
  a.weights.resize(tokens * k);
  std::vector<std::uint32_t> next(a.begin.begin(), a.begin.end() - 1);
  for (std::size_t i = 0; i < tokens * k; ++i) {
    const std::uint32_t at = next[choices[i].expert]++;
    const std::size_t token = i / k;
    a.tokens[at] = static_cast<std::uint32_t>(token);
    a.slots[at] = static_cast<std::uint32_t>(token < prefill ? token : token - prefill);
    a.weights[at] = choices[i].weight;
  }
  return a;
}

// The experts of a pass at work: their inner activations first, then the block's output.
class Experts {
 public:
  // x [T, hidden_size] is what the experts read.
  Experts(const Pass& pass, const float* x) : pass_(pass), x_(x), operands_(pass) {}

  // Lets an MLP work on all tokens of a part.
  void add(const Matrix& gate, const Matrix& up, const Matrix& down, const Part& part) {
    if (part.count > 0) finish(start(gate, up, down, part), part);
  }

  // Lets a routed expert, the place-th that was asked for, work on entries [begin, end) of the assignment,
  // tokens of the part. Its weights are looked at when they have arrived.
  void add(const Mlp& mlp, std::size_t place, const Part& part, const Assignment& assignment, std::size_t begin,
           std::size_t end) {
    if (begin == end) return;
    Work work = start(mlp.gate_proj, mlp.up_proj, mlp.down_proj, part);
    work.place = place;
    work.part.count = end - begin;
    work.tokens = assignment.tokens.data() + begin;
    work.slots = assignment.slots.data() + begin;
    work.weights = assignment.weights.data() + begin;
    finish(work, part);
  }

  // residual [T, hidden_size] += the weighted sum of what the MLPs make of x. `visit`: where routed experts
  // come from; nullptr: all weights are in memory.
  void run(float* residual, ExpertCache::Visit* visit) {
    operands_.pack();
    inner_ = pass_.workspace.inner.get(inner_bytes_);
    sums_ = pass_.workspace.sums.get(pass_.count() * pass_.config.hidden_size);
    if (visit) return run_as_they_arrive(residual, *visit);
    std::vector<std::size_t> all(works_.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    gate_and_up(all);
    down(0, works_.size(), residual);
  }

 private:
  Work start(const Matrix& gate, const Matrix& up, const Matrix& down, const Part& part) const {
    const auto projection = [&](const Matrix& matrix) {
      return Projection{&matrix, &pass_.kernels.matmul(part.path, matrix)};
    };
    Work work;
    work.gate = projection(gate);
    work.up = projection(up);
    work.down = projection(down);
    work.part = part;
    return work;
  }

  void finish(Work work, const Part& part) {
    work.gate_input = add_input(work, part, work.gate);
    work.up_input = add_input(work, part, work.up);
    work.inner_begin = inner_bytes_;
    inner_bytes_ += packed_bytes(*work.down.kernel->packing, work.down.matrix->cols, work.part.count);
    works_.push_back(work);
  }

  // Where a slot holds one token, all experts read the part's slots; else each has its tokens gathered.
  std::size_t add_input(const Work& work, const Part& part, const Projection& projection) {
    const std::size_t width = projection.matrix->cols;
    const kernels::Packing* packing = projection.kernel->packing;
    if (!work.tokens || packing->slot_tokens == 1)
      return operands_.add({packing, x_ + part.begin * width, width, nullptr, part.count, width});
    return operands_.add({packing, x_, width, work.tokens, work.part.count, width});
  }

  // Inner activations in whatever order the weights come, the sums in the order of the experts. Those that
  // others wait for in want of memory are summed, and let go, as soon as they can be.
  void run_as_they_arrive(float* residual, ExpertCache::Visit& visit) {
    std::vector<std::size_t> ready, places;
    for (std::size_t w = 0; w < works_.size(); ++w)
      if (!works_[w].place) ready.push_back(w);
    std::vector<bool> has_inner(works_.size(), false);
    std::size_t next = 0;  // works before are summed
    while (next < works_.size()) {
      check_cancelled(pass_.cancel);
      places.clear();
      visit.arrived(places, ready.empty());
      for (const std::size_t place : places) take_weights(place, visit[place], ready);
      if (!ready.empty()) gate_and_up(ready);
      for (const std::size_t w : ready) has_inner[w] = true;
      ready.clear();
      const auto gap = std::find(has_inner.begin() + static_cast<std::ptrdiff_t>(next), has_inner.end(), false);
      const auto end = static_cast<std::size_t>(gap - has_inner.begin());
      if (end == next || (end < works_.size() && !visit.crowded())) continue;
      down(next, end, residual);
      next = end;
      visit.release(next < works_.size() && works_[next].place ? *works_[next].place : visit.size());
    }
  }

  // Appends the works of an expert that has arrived.
  void take_weights(std::size_t place, const Mlp& mlp, std::vector<std::size_t>& ready) {
    const auto from = std::partition_point(works_.begin(), works_.end(),
                                           [&](const Work& work) { return work.place && *work.place < place; });
    for (auto work = from; work != works_.end() && work->place == place; ++work) {
      work->gate.matrix = &mlp.gate_proj;
      work->up.matrix = &mlp.up_proj;
      work->down.matrix = &mlp.down_proj;
      ready.push_back(static_cast<std::size_t>(work - works_.begin()));
    }
  }

  void gate_and_up(std::span<const std::size_t> works) {
    struct Task {
      std::size_t work;
      Block block;
    };
    std::vector<Task> tasks;
    for (const std::size_t w : works) {
      const Projection& gate = works_[w].gate;
      for_each_block(pass_, *gate.matrix, *gate.kernel->packing, works_[w].part,
                     [&](const Block& block) { tasks.push_back({w, block}); });
    }
    // Experts with the most tokens first: what is left for the end is short, and threads end together.
    std::stable_sort(tasks.begin(), tasks.end(), [&](const Task& a, const Task& b) {
      return works_[a.work].part.count > works_[b.work].part.count;
    });
    pass_.pool.parallel_for(tasks.size(), [&](std::size_t i, std::size_t thread) {
      gate_and_up(works_[tasks[i].work], tasks[i].block, thread);
    });
  }

  // inner = silu(gate x) * up x for a block of a work's tokens and rows.
  void gate_and_up(const Work& work, const Block& block, std::size_t thread) const {
    const auto [token_begin, token_end, row_begin, row_end] = block;
    const std::size_t tokens = token_end - token_begin;
    const std::size_t rows = row_end - row_begin;
    const std::size_t kernel_scratch = kernels::matmul_scratch(work.gate.matrix->cols);
    const kernels::Packing& packing = *work.down.kernel->packing;
    std::byte* inner = inner_ + work.inner_begin + slot_offset(packing, work.down.matrix->cols, token_begin);
    const Matmul& kernel = *work.gate.kernel;
    if (kernel.multiply_gated && work.up.kernel == &kernel && &packing == kernel.packing) {
      kernels::GatedArgs args;
      args.gate = work.gate.matrix;
      args.up = work.up.matrix;
      args.row_begin = row_begin;
      args.row_end = row_end;
      args.packed = operands_[work.gate_input] + slot_offset(packing, work.gate.matrix->cols, token_begin);
      args.tokens = tokens;
      args.inner = inner;
      args.scratch = pass_.workspace.thread_scratch[thread].get(kernel_scratch);
      kernel.multiply_gated(args);
      return;
    }
    float* scratch = pass_.workspace.thread_scratch[thread].get(kernel_scratch + 2 * tokens * rows);
    float* gate = scratch + kernel_scratch;  // [tokens, rows]
    float* up = gate + tokens * rows;
    const auto project = [&](const Projection& projection, std::size_t input, float* out) {
      const kernels::Packing& read = *projection.kernel->packing;
      kernels::MatmulArgs args;
      args.matrix = projection.matrix;
      args.row_begin = row_begin;
      args.row_end = row_end;
      args.packed = operands_[input];
      if (work.slots && read.slot_tokens == 1) args.slots = work.slots + token_begin;
      else args.packed += slot_offset(read, projection.matrix->cols, token_begin);
      args.tokens = tokens;
      args.out = out;
      args.out_stride = rows;
      args.scratch = scratch;
      projection.kernel->multiply(args);
    };
    project(work.gate, work.gate_input, gate);
    project(work.up, work.up_input, up);
    pass_.kernels.silu_mul(gate, up, tokens * rows);

    kernels::PackArgs args;
    args.x = gate;
    args.x_stride = rows;
    args.tokens = tokens;
    args.cols = work.down.matrix->cols;
    args.col_begin = row_begin;
    args.col_end = row_end;
    args.packed = inner;
    packing.pack(args);
  }

  // Adds works [first, last) to the sums, and the sums to the residual with the last of all works.
  void down(std::size_t first, std::size_t last, float* residual) {
    const std::size_t hidden = pass_.config.hidden_size;
    const std::size_t share = hidden / (8 * pass_.pool.size()) / down_rows * down_rows;
    const std::size_t step = std::clamp(share, down_rows, most_down_rows);
    pass_.pool.parallel_for((hidden + step - 1) / step, [&](std::size_t i, std::size_t thread) {
      const std::size_t begin = i * step;
      const std::size_t end = std::min(hidden, begin + step);
      const std::size_t rows = end - begin;
      float* const sums = sums_ + pass_.count() * begin;  // [T, rows]
      if (first == 0) std::fill_n(sums, pass_.count() * rows, 0.0f);
      down(std::span(works_).subspan(first, last - first), begin, end, sums, thread);
      if (last < works_.size()) return;
      for (std::size_t t = 0; t < pass_.count(); ++t)
        pass_.kernels.axpy(1.0f, sums + t * rows, residual + t * hidden + begin, rows);
    });
  }

  // sums [T, end - begin] += rows [begin, end) of the works' outputs, weighted: in ascending expert order, the
  // shared ones last, so that a token's sum does not depend on its neighbours.
  void down(std::span<const Work> works, std::size_t begin, std::size_t end, float* sums,
            std::size_t thread) const {
    const std::size_t rows = end - begin;
    std::size_t kernel_scratch = 0;
    std::size_t most_tokens = 0;
    for (const Work& work : works) {
      const std::size_t block = tokens_per_block(*work.down.kernel->packing, work.down.matrix->cols);
      kernel_scratch = std::max(kernel_scratch, kernels::matmul_scratch(work.down.matrix->cols));
      most_tokens = std::max(most_tokens, std::min(work.part.count, block));
    }
    // Whole tiles of rows, and all rows at once for few tokens.
    const std::size_t most_rows = std::min(rows, std::max(down_rows, down_results / most_tokens / down_rows * down_rows));
    float* scratch = pass_.workspace.thread_scratch[thread].get(kernel_scratch + most_tokens * most_rows);
    float* product = scratch + kernel_scratch;  // [tokens of a block, most_rows]
    for (const Work& work : works) {
      const kernels::Packing& packing = *work.down.kernel->packing;
      const std::size_t width = work.down.matrix->cols;
      const std::size_t block = tokens_per_block(packing, width);
      for (std::size_t t = 0; t < work.part.count; t += block) {
        kernels::MatmulArgs args;
        args.matrix = work.down.matrix;
        args.packed = inner_ + work.inner_begin + slot_offset(packing, width, t);
        args.tokens = std::min(block, work.part.count - t);
        args.out = product;
        args.scratch = scratch;
        for (std::size_t row = begin; row < end; row += most_rows) {
          args.row_begin = row;
          args.row_end = std::min(end, row + most_rows);
          args.out_stride = args.row_end - args.row_begin;
          work.down.kernel->multiply(args);
          for (std::size_t i = 0; i < args.tokens; ++i)
            pass_.kernels.axpy(work.weights ? work.weights[t + i] : 1.0f, product + i * args.out_stride,
                               sums + work.token(t + i) * rows + row - begin, args.out_stride);
        }
      }
    }
  }

  const Pass& pass_;
  const float* x_;
  Operands operands_;
  std::vector<Work> works_;
  std::size_t inner_bytes_ = 0;
  std::byte* inner_ = nullptr;
  float* sums_ = nullptr;  // [T, hidden_size], by blocks of columns
};

}  // namespace

const Choice* choose(const Pass& pass, const Layer& layer, std::size_t layer_index, const float* normed) {
  const Config& c = pass.config;
  const std::size_t experts = c.n_routed_experts;
  const std::size_t k = c.num_experts_per_tok;
  float* logits = pass.workspace.router_logits.get(pass.count() * experts);
  Choice* choices = pass.workspace.choices.get(pass.count() * k);
  multiply(pass, std::array{Product{.matrix = &layer.weights[Role::router], .x = normed, .out = logits, .exact = true}});

  std::vector<float> bias;
  if (const Matrix& stored = layer.weights[Role::e_score_correction_bias]; stored.values) {
    bias.resize(experts);
    pass.kernels.widen_row[static_cast<std::size_t>(stored.format)](stored, 0, bias.data());
  }
  pass.pool.parallel_for(pass.count(), [&](std::size_t t, std::size_t) {
    route(c, {logits + t * experts, experts}, bias, {choices + t * k, k});
  });
  if (pass.observer && pass.observer->scores)
    pass.observer->scores(layer_index, pass.tokens, {logits, pass.count() * experts});  // route made them scores
  if (pass.observer && pass.observer->route)
    pass.observer->route(layer_index, pass.tokens, {choices, pass.count() * k});
  return choices;
}

namespace {

// The experts that some tokens of a layer go to.
std::vector<ExpertTokens> asked_for(const Assignment& assignment) {
  std::vector<ExpertTokens> asked;
  for (std::uint32_t e = 0; e + 1 < assignment.begin.size(); ++e)
    if (const std::uint32_t tokens = assignment.begin[e + 1] - assignment.begin[e]) asked.push_back({e, tokens});
  return asked;
}

}  // namespace

void feed_forward(const Pass& pass, const Layer& layer, std::size_t layer_index, const float* normed,
                  float* residual) {
  const Config& c = pass.config;
  const Weights& w = layer.weights;
  Experts experts(pass, normed);
  Assignment assignment;
  std::unique_ptr<ExpertCache::Visit> visit;
  const auto parts = parts_of(pass);
  const auto for_every_token = [&](Role gate, Role up, Role down) {
    for (const Part& part : parts) experts.add(w[gate], w[up], w[down], part);
  };

  if (layer.experts.empty()) {
    for_every_token(Role::gate_proj, Role::up_proj, Role::down_proj);
  } else {
    const Choice* choices = choose(pass, layer, layer_index, normed);
    assignment = assign(choices, pass.count(), pass.prefill, c.num_experts_per_tok, c.n_routed_experts);
    const std::vector<ExpertTokens> asked = asked_for(assignment);
    if (pass.experts) visit = pass.experts->visit(layer_index, asked, pass.count());
    for (std::size_t place = 0; place < asked.size(); ++place) {
      const std::uint32_t e = asked[place].expert;
      const auto begin = assignment.tokens.begin() + assignment.begin[e];
      const auto end = assignment.tokens.begin() + assignment.begin[e + 1];
      const auto streamed = std::lower_bound(begin, end, pass.prefill);
      const auto entry = [&](auto it) { return static_cast<std::size_t>(it - assignment.tokens.begin()); };
      experts.add(layer.experts[e], place, parts[0], assignment, entry(begin), entry(streamed));
      experts.add(layer.experts[e], place, parts[1], assignment, entry(streamed), entry(end));
    }
    if (w.has(Role::shared_gate_proj))
      for_every_token(Role::shared_gate_proj, Role::shared_up_proj, Role::shared_down_proj);
  }
  if (pass.experts) look_ahead(pass, layer_index, residual);
  experts.run(residual, visit.get());
}

}  // namespace baleen
