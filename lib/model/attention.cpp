// Attention of a pass: multi-head latent attention (DeepSeek-V2 report, arXiv:2405.04434, eqs. 9-19;
// DeepSeek-V3 eqs. 1-11) and grouped-query attention.
//
// Both come down to the same core: queries that share a key head, over rows of the KV cache. For MLA there
// is one key head, the latent, and W_UK and W_UV are folded into query and output (absorbed): a query is
// [kv_lora_rank + qk_rope_head_dim] wide, and so is a row of the cache, whose first kv_lora_rank numbers are
// also the value.
#include <algorithm>
#include <array>
#include <cmath>

#include "model/products.h"
#include "model/rope.h"

namespace baleen {
namespace {

using kernels::Matrix;
using kernels::SoftmaxState;

// The norms inside MLA keep this epsilon whatever rms_norm_eps says (transformers and the authors' code).
constexpr double latent_norm_eps = 1e-6;
// Tokens whose queries are made, attended and folded back together: enough to make use of a matrix that is
// widened for them, within a bound on the room that they need, in floats.
constexpr std::size_t most_block_tokens = 256;
constexpr std::size_t block_floats = std::size_t{8} << 20;
// Queries of a task are a multiple of these, at most so many.
constexpr std::size_t tile = 16;
constexpr std::size_t most_queries = 512;
// Queries that one task merges the segments of.
constexpr std::size_t merge_block = 8;
// Floats for the results of segments that wait to be merged.
constexpr std::size_t partial_floats = std::size_t{8} << 20;

// exp(x) for x <= 0, and 0 where it would be subnormal, as in the kernels: products with such numbers are slow.
float share_of(float x) { return x < -87.0f ? 0.0f : std::exp(x); }

// Queries of a block of tokens in the order [key head][token][head of the group][k_dim]; results likewise,
// v_dim wide. A query's index is (head * tokens + token) * group + member.
struct Queries {
  std::size_t key_heads = 1;
  std::size_t group = 1;  // query heads that share a key head
  std::size_t k_dim = 0;
  std::size_t v_dim = 0;
  float scale = 1;
  std::size_t first_token = 0;  // of the pass
  std::size_t tokens = 0;
  const float* q = nullptr;
  float* out = nullptr;

  std::size_t count() const { return key_heads * tokens * group; }
};

// Queries [begin, end) of one key head over one segment of one sequence.
struct Task {
  std::size_t head, begin, end, segment;
  const KvCache* cache;
  kernels::Path path;
};

// A run of neighbouring tokens of one sequence and path.
struct Run {
  const KvCache* cache;
  kernels::Path path;
  std::size_t begin, end;  // tokens of the block
};

class Attend {
 public:
  Attend(const Pass& pass, std::size_t layer_index, std::size_t window, const Queries& queries)
      : pass_(pass), layer_(layer_index), queries_(queries) {
    const std::size_t n = queries.count();
    first_ = pass.workspace.first.get(n);
    last_ = pass.workspace.last.get(n);
    state_ = pass.workspace.state.get(n);
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t token = i / queries.group % queries.tokens;
      const std::uint32_t position = pass.tokens[queries.first_token + token].position;
      first_[i] = window && position + 1 > window ? static_cast<std::uint32_t>(position + 1 - window) : 0;
      last_[i] = position + 1;
    }
    find_runs();
    const std::size_t fitting = pass.kernels.attention_floats / (queries.k_dim + queries.v_dim);
    query_block_ = std::clamp(fitting / tile * tile, tile, most_queries);
  }

  // Where queries are many, a task takes some of them through all segments. Otherwise segments are shared among
  // the threads, in ascending groups whose results fit the room for them. Either way a query's segments are
  // merged in ascending order, so its sums are the same.
  void run() {
    std::size_t segments = 0;
    for (std::size_t i = 0; i < queries_.count(); ++i)
      segments = std::max<std::size_t>(segments, (last_[i] - 1) / kernels::attention_segment + 1);
    if (queries_.count() >= 2 * pass_.pool.size() * query_block_) {
      attend_whole(segments);
      return;
    }
    const std::size_t together =
        std::clamp<std::size_t>(partial_floats / (queries_.count() * queries_.v_dim), 1, segments);
    for (std::size_t begin = 0; begin < segments; begin += together)
      attend_segments(begin, std::min(segments, begin + together));
    pass_.pool.parallel_for(blocks(merge_block), [&](std::size_t block, std::size_t) {
      for_queries(block, merge_block, [&](std::size_t query) { normalize(query); });
    });
  }

 private:
  void find_runs() {
    for (std::size_t t = 0; t < queries_.tokens; ++t) {
      const KvCache* cache = pass_.tokens[queries_.first_token + t].cache;
      const kernels::Path path = pass_.tokens[queries_.first_token + t].path;
      if (runs_.empty() || runs_.back().cache != cache || runs_.back().path != path)
        runs_.push_back({cache, path, t, t});
      runs_.back().end = t + 1;
    }
  }

  std::size_t blocks(std::size_t size) const { return (queries_.count() + size - 1) / size; }

  template <typename Body>
  void for_queries(std::size_t block, std::size_t size, const Body& body) const {
    for (std::size_t query = block * size; query < std::min(queries_.count(), (block + 1) * size); ++query)
      body(query);
  }

  // Tasks of one segment. step(queries) says how many of a run's queries a task takes.
  template <typename Step>
  std::vector<Task> tasks(std::size_t segment, const Step& step) const {
    std::vector<Task> tasks;
    for (const Run& run : runs_)
      for (std::size_t head = 0; head < queries_.key_heads; ++head) {
        const std::size_t begin = (head * queries_.tokens + run.begin) * queries_.group;
        const std::size_t end = (head * queries_.tokens + run.end) * queries_.group;
        const std::size_t queries = step(end - begin);
        for (std::size_t q = begin; q < end; q += queries)
          tasks.push_back({head, q, std::min(end, q + queries), segment, run.cache, run.path});
      }
    return tasks;
  }

  // Queries of a task: few enough that two tasks a thread come out, but a tile of them at least, since each
  // task reads the segment anew; half a tile where a thread would have none.
  std::size_t block(std::size_t queries, std::size_t segments) const {
    const std::size_t all = queries * queries_.key_heads * runs_.size() * segments;
    const std::size_t least = all < tile * pass_.pool.size() ? tile / 2 : tile;
    const std::size_t share = all / (2 * pass_.pool.size());
    return std::clamp<std::size_t>((share + least - 1) / least * least, least, query_block_);
  }

  // Results of a task's later segments are merged while they are in its thread's cache. The last tokens see most
  // positions and come first, so that the threads end together.
  void attend_whole(std::size_t segments) {
    std::vector<Task> work = tasks(0, [&](std::size_t) { return query_block_; });
    std::reverse(work.begin(), work.end());
    const std::size_t results = query_block_ * queries_.v_dim;
    float* partial = pass_.workspace.partial.get(pass_.pool.size() * results);
    SoftmaxState* partial_state = pass_.workspace.partial_state.get(pass_.pool.size() * query_block_);
    pass_.pool.parallel_for(work.size(), [&](std::size_t i, std::size_t thread) {
      Task task = work[i];
      float* part = partial + thread * results;
      SoftmaxState* part_state = partial_state + thread * query_block_;
      attend(task, state_ + task.begin, queries_.out + task.begin * queries_.v_dim, thread);
      const std::size_t seen = *std::max_element(last_ + task.begin, last_ + task.end);
      for (task.segment = 1; task.segment < segments && task.segment * kernels::attention_segment < seen;
           ++task.segment) {
        attend(task, part_state, part, thread);
        for (std::size_t query = task.begin; query < task.end; ++query)
          merge(query, part_state[query - task.begin], part + (query - task.begin) * queries_.v_dim);
      }
      for (std::size_t query = task.begin; query < task.end; ++query) normalize(query);
    });
  }

  // The first segment is attended in place.
  void attend_segments(std::size_t segment_begin, std::size_t segment_end) {
    const std::size_t n = queries_.count();
    const std::size_t in_place = segment_begin == 0 ? 1 : 0;
    const std::size_t segments = segment_end - segment_begin - in_place;
    float* partial = pass_.workspace.partial.get(segments * n * queries_.v_dim);
    SoftmaxState* partial_state = pass_.workspace.partial_state.get(segments * n);
    std::vector<Task> work;
    for (std::size_t segment = segment_begin; segment < segment_end; ++segment) {
      const std::vector<Task> more =
          tasks(segment, [&](std::size_t queries) { return block(queries, segment_end - segment_begin); });
      work.insert(work.end(), more.begin(), more.end());
    }
    pass_.pool.parallel_for(work.size(), [&](std::size_t i, std::size_t thread) {
      const std::size_t query = work[i].begin;
      if (work[i].segment == 0) {
        attend(work[i], state_ + query, queries_.out + query * queries_.v_dim, thread);
      } else {
        const std::size_t slot = (work[i].segment - segment_begin - in_place) * n + query;
        attend(work[i], partial_state + slot, partial + slot * queries_.v_dim, thread);
      }
    });
    if (segments == 0) return;
    pass_.pool.parallel_for(blocks(merge_block), [&](std::size_t block, std::size_t) {
      for_queries(block, merge_block, [&](std::size_t query) {
        for (std::size_t s = 0; s < segments; ++s)
          merge(query, partial_state[s * n + query], partial + (s * n + query) * queries_.v_dim);
      });
    });
  }

  void attend(const Task& task, SoftmaxState* state, float* out, std::size_t thread) const {
    const KvLayout& layout = task.cache->layout();
    kernels::AttentionArgs args;
    args.q = queries_.q + task.begin * queries_.k_dim;
    args.q_stride = queries_.k_dim;
    args.queries = task.end - task.begin;
    args.first = first_ + task.begin;
    args.last = last_ + task.begin;
    args.kv_format = layout.format;
    args.keys = task.cache->keys(layer_, task.head);
    args.key_row_bytes = task.cache->key_stride();
    args.k_dim = queries_.k_dim;
    args.values = task.cache->values(layer_, task.head);
    args.value_row_bytes = task.cache->value_stride();
    args.v_dim = queries_.v_dim;
    // What none of the queries sees is not even read.
    const std::size_t begin = task.segment * kernels::attention_segment;
    const std::size_t end = begin + kernels::attention_segment;
    args.begin = std::clamp<std::size_t>(*std::min_element(args.first, args.first + args.queries), begin, end);
    args.end = std::clamp<std::size_t>(*std::max_element(args.last, args.last + args.queries), args.begin, end);
    args.scale = queries_.scale;
    args.state = state;
    args.out = out;
    args.out_stride = queries_.v_dim;
    args.scratch = pass_.workspace.thread_scratch[thread].get(
        kernels::attention_scratch(args.queries, args.k_dim, args.v_dim));
    pass_.kernels.attention[static_cast<std::size_t>(task.path)](args);
  }

  // Joins two softmax sums over different positions (FlashAttention, arXiv:2205.14135, section 3.1).
  void merge(std::size_t query, const SoftmaxState& part, const float* values) const {
    if (part.sum == 0) return;  // no position of the segment is visible
    SoftmaxState& state = state_[query];
    const float maximum = std::max(state.maximum, part.maximum);
    const float keep = share_of(state.maximum - maximum);
    const float take = share_of(part.maximum - maximum);
    float* out = queries_.out + query * queries_.v_dim;
    if (keep != 1) multiply_by(keep, out);
    pass_.kernels.axpy(take, values, out, queries_.v_dim);
    state = {maximum, state.sum * keep + part.sum * take};
  }

  void normalize(std::size_t query) const {
    multiply_by(1.0f / state_[query].sum, queries_.out + query * queries_.v_dim);
  }

  // Chunks of a known length are what the compiler makes vectors of.
  void multiply_by(float factor, float* out) const {
    constexpr std::size_t chunk = 16;
    std::size_t d = 0;
    for (; d + chunk <= queries_.v_dim; d += chunk)
      for (std::size_t i = 0; i < chunk; ++i) out[d + i] *= factor;
    for (; d < queries_.v_dim; ++d) out[d] *= factor;
  }

  const Pass& pass_;
  std::size_t layer_;
  const Queries& queries_;
  std::uint32_t* first_;
  std::uint32_t* last_;
  SoftmaxState* state_;
  std::vector<Run> runs_;
  std::size_t query_block_ = 0;  // of one task, at most
};

// What of each path lies in tokens [first, first + tokens) of the pass.
std::array<Part, 2> parts_within(const Pass& pass, std::size_t first, std::size_t tokens) {
  auto parts = parts_of(pass);
  for (Part& part : parts) {
    const std::size_t begin = std::clamp(part.begin, first, first + tokens);
    const std::size_t end = std::clamp(part.begin + part.count, first, first + tokens);
    part = {part.path, begin, end - begin};
  }
  return parts;
}

// Calls body(first token, tokens) for each block of tokens whose queries and results, `floats` each, fit.
template <typename Body>
void for_token_blocks(const Pass& pass, std::size_t floats, const Body& body) {
  constexpr std::size_t multiple = 16;  // a tile's
  const std::size_t fitting = std::max<std::size_t>(1, block_floats / floats / multiple) * multiple;
  const std::size_t block = std::min(fitting, most_block_tokens);
  for (std::size_t first = 0; first < pass.count(); first += block)
    body(first, std::min(block, pass.count() - first));
}

// MLA's queries [T, heads, qk_nope_head_dim + qk_rope_head_dim], rotated, and the latent rows in the cache.
float* mla_queries_and_latents(const Pass& pass, const Layer& layer, std::size_t layer_index,
                               const float* normed) {
  const Config& c = pass.config;
  const Weights& w = layer.weights;
  const std::size_t head_width = c.qk_head_dim();
  const std::size_t latent_width = c.kv_lora_rank + c.qk_rope_head_dim;
  float* q = pass.workspace.q.get(pass.count() * c.num_attention_heads * head_width);
  float* kv_a = pass.workspace.kv_a.get(pass.count() * latent_width);  // [T, latent | rope key]

  const Product kv_product{&w[Role::kv_a_proj_with_mqa], normed, kv_a, &w[Role::kv_a_proj_bias]};
  if (c.q_lora_rank > 0) {
    float* q_a = pass.workspace.q_a.get(pass.count() * c.q_lora_rank);
    multiply(pass, std::array{Product{&w[Role::q_a_proj], normed, q_a, &w[Role::q_a_proj_bias]}, kv_product});
    rms_norm(pass, w[Role::q_a_layernorm], latent_norm_eps, q_a, q_a);
    multiply(pass, std::array{Product{&w[Role::q_b_proj], q_a, q}});
  } else {
    multiply(pass, std::array{Product{&w[Role::q_proj], normed, q}, kv_product});
  }

  pass.pool.parallel_for(pass.count(), [&](std::size_t t, std::size_t) {
    const float* cos = pass.cos + t * pass.rope_pairs;
    const float* sin = pass.sin + t * pass.rope_pairs;
    for (std::size_t h = 0; h < c.num_attention_heads; ++h)
      rotate(c.rope.layout, q + (t * c.num_attention_heads + h) * head_width + c.qk_nope_head_dim, pass.rope_pairs,
             cos, sin);
    float* latent = kv_a + t * latent_width;
    const Matrix& gain = w[Role::kv_a_layernorm];
    pass.kernels.rms_norm(latent, gain.values, gain.format, c.kv_lora_rank, static_cast<float>(latent_norm_eps),
                          latent);
    rotate(c.rope.layout, latent + c.kv_lora_rank, pass.rope_pairs, cos, sin);
    const KvCache& cache = *pass.tokens[t].cache;
    std::byte* row = cache.keys(layer_index, 0) + pass.tokens[t].position * cache.key_stride();
    pass.kernels.kv_store(cache.layout().format, latent, latent_width, row);
  });
  return q;
}

// attended [T, heads, v_head_dim] of multi-head latent attention, absorbed.
void mla(const Pass& pass, const Layer& layer, std::size_t layer_index, const float* normed, float* attended) {
  const Config& c = pass.config;
  const std::size_t heads = c.num_attention_heads;
  const std::size_t head_width = c.qk_head_dim();
  const std::size_t kv_b_rows = c.qk_nope_head_dim + c.v_head_dim;  // of one head: W_UK above W_UV
  const std::size_t latent_width = c.kv_lora_rank + c.qk_rope_head_dim;
  const Matrix& kv_b = layer.weights[Role::kv_b_proj];
  const float* q = mla_queries_and_latents(pass, layer, layer_index, normed);
  const float scale =
      static_cast<float>(c.rope.softmax_mscale / std::sqrt(static_cast<double>(head_width)));

  for_token_blocks(pass, heads * (latent_width + c.kv_lora_rank), [&](std::size_t first, std::size_t tokens) {
    float* queries = pass.workspace.queries.get(tokens * heads * latent_width);
    float* context = pass.workspace.context.get(tokens * heads * c.kv_lora_rank);
    // q_nope becomes q_nope W_UK: then it multiplies the latent itself.
    pass.pool.parallel_for(heads, [&](std::size_t h, std::size_t thread) {
      const float* q_head = q + first * heads * head_width + h * head_width;
      for (const Part& part : parts_within(pass, first, tokens)) {
        if (part.count == 0) continue;
        kernels::TransposedArgs args;
        args.matrix = &kv_b;
        args.row_begin = h * kv_b_rows;
        args.row_end = h * kv_b_rows + c.qk_nope_head_dim;
        args.x = q_head + (part.begin - first) * heads * head_width;
        args.x_stride = heads * head_width;
        args.tokens = part.count;
        args.out = queries + ((part.begin - first) * heads + h) * latent_width;
        args.out_stride = heads * latent_width;
        args.scratch =
            pass.workspace.thread_scratch[thread].get(kernels::transposed_scratch(c.qk_nope_head_dim, kv_b.cols));
        pass.kernels.matmul_transposed[static_cast<std::size_t>(part.path)][static_cast<std::size_t>(kv_b.format)](args);
      }
      for (std::size_t t = 0; t < tokens; ++t)
        std::copy_n(q_head + t * heads * head_width + c.qk_nope_head_dim, c.qk_rope_head_dim,
                    queries + (t * heads + h) * latent_width + c.kv_lora_rank);
    });

    const Queries block{1, heads, latent_width, c.kv_lora_rank, scale, first, tokens, queries, context};
    Attend(pass, layer_index, layer.sliding_window, block).run();

    // The attended latent times W_UV is the head's output.
    pass.pool.parallel_for(heads, [&](std::size_t h, std::size_t thread) {
      for (const Part& part : parts_within(pass, first, tokens)) {
        LocalProduct product;
        product.matrix = &kv_b;
        product.row_begin = h * kv_b_rows + c.qk_nope_head_dim;
        product.row_end = product.row_begin + c.v_head_dim;
        product.path = part.path;
        product.tokens = part.count;
        product.x = context + ((part.begin - first) * heads + h) * c.kv_lora_rank;
        product.x_stride = heads * c.kv_lora_rank;
        product.out = attended + (part.begin * heads + h) * c.v_head_dim;
        product.out_stride = heads * c.v_head_dim;
        multiply_here(pass, product, thread);
      }
    });
  });
}

// Norms, clips and rotates `heads` heads of one token's queries or keys.
void finish_heads(const Pass& pass, std::size_t token, const Matrix& norm, float* x, std::size_t heads) {
  const Config& c = pass.config;
  const std::size_t width = heads * c.head_dim;
  const std::size_t norm_width = norm.cols;
  if (c.qk_norm != QkNorm::none)
    for (std::size_t begin = 0; begin < width; begin += norm_width)
      pass.kernels.rms_norm(x + begin, norm.values, norm.format, norm_width, static_cast<float>(c.rms_norm_eps),
                            x + begin);
  if (c.clip_qkv > 0) {
    const auto limit = static_cast<float>(c.clip_qkv);
    for (std::size_t i = 0; i < width; ++i) x[i] = std::clamp(x[i], -limit, limit);
  }
  for (std::size_t h = 0; h < heads; ++h)
    rotate(c.rope.layout, x + h * c.head_dim, pass.rope_pairs, pass.cos + token * pass.rope_pairs,
           pass.sin + token * pass.rope_pairs);
}

// One token's keys and values [num_key_value_heads, head_dim] into its cache.
void store_keys_and_values(const Pass& pass, std::size_t token, std::size_t layer_index, const float* k,
                           const float* v) {
  const Config& c = pass.config;
  const KvCache& cache = *pass.tokens[token].cache;
  const std::size_t position = pass.tokens[token].position;
  for (std::size_t h = 0; h < c.num_key_value_heads; ++h) {
    pass.kernels.kv_store(cache.layout().format, k + h * c.head_dim, c.head_dim,
                          cache.keys(layer_index, h) + position * cache.key_stride());
    pass.kernels.kv_store(cache.layout().format, v + h * c.head_dim, c.head_dim,
                          cache.values(layer_index, h) + position * cache.value_stride());
  }
}

// attended [T, heads, head_dim] of grouped-query attention (arXiv:2305.13245).
void grouped_query(const Pass& pass, const Layer& layer, std::size_t layer_index, const float* normed,
                   float* attended) {
  const Config& c = pass.config;
  const Weights& w = layer.weights;
  const std::size_t heads = c.num_attention_heads;
  const std::size_t kv_heads = c.num_key_value_heads;
  const std::size_t group = heads / kv_heads;
  float* q = pass.workspace.q.get(pass.count() * heads * c.head_dim);
  float* k = pass.workspace.k.get(pass.count() * kv_heads * c.head_dim);
  float* v = pass.workspace.v.get(pass.count() * kv_heads * c.head_dim);
  multiply(pass, std::array{Product{&w[Role::q_proj], normed, q, &w[Role::q_proj_bias]},
                            Product{&w[Role::k_proj], normed, k, &w[Role::k_proj_bias]},
                            Product{&w[Role::v_proj], normed, v, &w[Role::v_proj_bias]}});

  pass.pool.parallel_for(pass.count(), [&](std::size_t t, std::size_t) {
    float* k_token = k + t * kv_heads * c.head_dim;
    float* v_token = v + t * kv_heads * c.head_dim;
    finish_heads(pass, t, w[Role::q_norm], q + t * heads * c.head_dim, heads);
    finish_heads(pass, t, w[Role::k_norm], k_token, kv_heads);
    if (c.clip_qkv > 0) {
      const auto limit = static_cast<float>(c.clip_qkv);
      for (std::size_t i = 0; i < kv_heads * c.head_dim; ++i) v_token[i] = std::clamp(v_token[i], -limit, limit);
    }
    store_keys_and_values(pass, t, layer_index, k_token, v_token);
  });

  const float scale = static_cast<float>(c.rope.softmax_mscale / std::sqrt(static_cast<double>(c.head_dim)));
  for_token_blocks(pass, 2 * heads * c.head_dim, [&](std::size_t first, std::size_t tokens) {
    const std::size_t size = tokens * heads * c.head_dim;
    float* queries = pass.workspace.queries.get(size);
    float* context = pass.workspace.context.get(size);
    // [token][key head][member] as the projection gives it, [key head][token][member] as attention wants it.
    const auto arranged = [&](std::size_t t, std::size_t h) { return (h * tokens + t) * group * c.head_dim; };
    const auto natural = [&](std::size_t t, std::size_t h) { return ((first + t) * heads + h * group) * c.head_dim; };
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t h = 0; h < kv_heads; ++h)
        std::copy_n(q + natural(t, h), group * c.head_dim, queries + arranged(t, h));
    const Queries block{kv_heads, group, c.head_dim, c.head_dim, scale, first, tokens, queries, context};
    Attend(pass, layer_index, layer.sliding_window, block).run();
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t h = 0; h < kv_heads; ++h)
        std::copy_n(context + arranged(t, h), group * c.head_dim, attended + natural(t, h));
  });
}

}  // namespace

void attention(const Pass& pass, const Layer& layer, std::size_t layer_index, const float* normed,
               float* residual) {
  const Matrix& o_proj = layer.weights[Role::o_proj];
  float* attended = pass.workspace.attended.get(pass.count() * o_proj.cols);
  if (pass.config.attention == AttentionKind::mla)
    mla(pass, layer, layer_index, normed, attended);
  else
    grouped_query(pass, layer, layer_index, normed, attended);
  multiply(pass, std::array{Product{&o_proj, attended, residual, &layer.weights[Role::o_proj_bias], true}});
}

}  // namespace baleen
