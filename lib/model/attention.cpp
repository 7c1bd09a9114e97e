// Attention of a pass: multi-head latent attention (DeepSeek-V2 report, arXiv:2405.04434, eqs. 9-19;
// DeepSeek-V3 eqs. 1-11) and grouped-query attention.
//
// Both come down to the same core: queries that share a key head, over rows of the KV cache. For MLA there
// is one key head, the latent, and W_UK and W_UV are folded into query and output (absorbed): a query is
// [kv_lora_rank + qk_rope_head_dim] wide, and so is a row of the cache, whose first kv_lora_rank numbers are
// also the value. Prompts may have each head's keys and values made of the latents instead (expanded): see
// expansion.h.
#include <algorithm>
#include <array>
#include <cmath>

#include "model/attend.h"
#include "model/products.h"
#include "model/rope.h"

namespace baleen {
namespace {

using kernels::Matrix;

// The norms inside MLA keep this epsilon whatever rms_norm_eps says (transformers and the authors' code).
constexpr double latent_norm_eps = 1e-6;
// Tokens whose queries are made, attended and folded back together: enough to make use of a matrix that is
// widened for them, within attention_buffer_floats.
constexpr std::size_t most_block_tokens = 256;
// Positions whose keys and values one task makes of their latents: a multiple of every packing's slots.
constexpr std::size_t latent_block = 256;

// A layer's rows as they lie in the caches.
RowsOf cached_rows(std::size_t layer) {
  return [layer](const KvCache& cache, std::size_t head) {
    return KeyRows{cache.layout().format, cache.keys(layer, head), cache.key_stride(), cache.values(layer, head),
                   cache.value_stride()};
  };
}

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

// Calls body(first token, tokens) for each block of tokens [begin, end) whose queries and results, `floats`
// each, fit.
template <typename Body>
void for_token_blocks(std::size_t begin, std::size_t end, std::size_t floats, const Body& body) {
  constexpr std::size_t multiple = 16;  // a tile's
  const std::size_t fitting = std::max<std::size_t>(1, attention_buffer_floats / floats / multiple) * multiple;
  const std::size_t block = std::min(fitting, most_block_tokens);
  for (std::size_t first = begin; first < end; first += block) body(first, std::min(block, end - first));
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

// Sizes of a layer of multi-head latent attention, and its queries [T, heads, head_width].
struct Mla {
  const Matrix& kv_b;
  const float* q;
  std::size_t layer;
  std::size_t window;
  std::size_t heads;
  std::size_t head_width;    // of a query, and of an expanded key
  std::size_t nope;          // numbers of it that are not rotated
  std::size_t rope;          // and those that are
  std::size_t latent_rank;
  std::size_t v_dim;
  float scale;

  std::size_t latent_width() const { return latent_rank + rope; }
  std::size_t expanded_width() const { return head_width + v_dim; }  // of a head's key and value
  // Rows of kv_b: of a head, W_UK above W_UV.
  std::size_t keys_of(std::size_t head) const { return head * (nope + v_dim); }
  std::size_t values_of(std::size_t head) const { return keys_of(head) + nope; }
};

// attended [T, heads, v_head_dim] of tokens [first, first + tokens) over the latents themselves.
void attend_absorbed(const Pass& pass, const Mla& mla, std::size_t first, std::size_t tokens, float* attended) {
  const std::size_t latent_width = mla.latent_width();
  const std::size_t q_width = mla.heads * mla.head_width;
  float* queries = pass.workspace.queries.get(tokens * mla.heads * latent_width);
  float* context = pass.workspace.context.get(tokens * mla.heads * mla.latent_rank);
  // q_nope becomes q_nope W_UK: then it multiplies the latent itself.
  pass.pool.parallel_for(mla.heads, [&](std::size_t h, std::size_t thread) {
    const float* q_head = mla.q + first * q_width + h * mla.head_width;
    for (const Part& part : parts_within(pass, first, tokens)) {
      if (part.count == 0) continue;
      kernels::TransposedArgs args;
      args.matrix = &mla.kv_b;
      args.row_begin = mla.keys_of(h);
      args.row_end = mla.keys_of(h) + mla.nope;
      args.x = q_head + (part.begin - first) * q_width;
      args.x_stride = q_width;
      args.tokens = part.count;
      args.out = queries + ((part.begin - first) * mla.heads + h) * latent_width;
      args.out_stride = mla.heads * latent_width;
      args.scratch =
          pass.workspace.thread_scratch[thread].get(kernels::transposed_scratch(mla.nope, mla.kv_b.cols));
      pass.kernels.matmul_transposed[static_cast<std::size_t>(part.path)][static_cast<std::size_t>(mla.kv_b.format)](
          args);
    }
    for (std::size_t t = 0; t < tokens; ++t)
      std::copy_n(q_head + t * q_width + mla.nope, mla.rope,
                  queries + (t * mla.heads + h) * latent_width + mla.latent_rank);
  });

  attend(pass, mla.window,
         arranged({.group = mla.heads, .k_dim = latent_width, .v_dim = mla.latent_rank, .scale = mla.scale,
                   .first_token = first, .tokens = tokens, .q = queries, .out = context}),
         cached_rows(mla.layer));

  // The attended latent times W_UV is the head's output.
  pass.pool.parallel_for(mla.heads, [&](std::size_t h, std::size_t thread) {
    for (const Part& part : parts_within(pass, first, tokens)) {
      LocalProduct product;
      product.matrix = &mla.kv_b;
      product.row_begin = mla.values_of(h);
      product.row_end = mla.values_of(h) + mla.v_dim;
      product.path = part.path;
      product.tokens = part.count;
      product.x = context + ((part.begin - first) * mla.heads + h) * mla.latent_rank;
      product.x_stride = mla.heads * mla.latent_rank;
      product.out = attended + (part.begin * mla.heads + h) * mla.v_dim;
      product.out_stride = mla.heads * mla.v_dim;
      multiply_here(pass, product, thread);
    }
  });
}

// The latents [positions, latent_width] that a sequence has in the cache, from position 0 on.
float* cached_latents(const Pass& pass, const Mla& mla, const KvCache& cache, std::size_t positions) {
  const std::size_t width = mla.latent_width();
  float* latents = pass.workspace.latents.get(positions * width);
  pass.pool.parallel_for((positions + latent_block - 1) / latent_block, [&](std::size_t block, std::size_t) {
    const std::size_t end = std::min(positions, (block + 1) * latent_block);
    for (std::size_t p = block * latent_block; p < end; ++p)
      pass.kernels.kv_load(cache.layout().format, cache.keys(mla.layer, 0) + p * cache.key_stride(), width,
                           latents + p * width);
  });
  return latents;
}

// expanded [heads, positions, k_nope | k_rope | v]: keys and values of heads [first, first + heads), made of the
// latents, which are `packed` for kv_b.
void expand(const Pass& pass, const Mla& mla, const float* latents, const std::byte* packed, std::size_t positions,
            std::size_t first, std::size_t heads, float* expanded) {
  const kernels::Matmul& kernel = pass.kernels.matmul(kernels::Path::batch, mla.kv_b);
  const std::size_t width = mla.expanded_width();
  const std::size_t blocks = (positions + latent_block - 1) / latent_block;
  pass.pool.parallel_for(heads * blocks, [&](std::size_t task, std::size_t thread) {
    const std::size_t head = task / blocks;
    const std::size_t begin = task % blocks * latent_block;
    const std::size_t end = std::min(positions, begin + latent_block);
    float* rows = expanded + (head * positions + begin) * width;
    kernels::MatmulArgs args;
    args.matrix = &mla.kv_b;
    args.packed = packed + slot_offset(*kernel.packing, mla.latent_rank, begin);
    args.tokens = end - begin;
    args.out_stride = width;
    args.scratch = pass.workspace.thread_scratch[thread].get(kernels::matmul_scratch(mla.kv_b.cols));
    args.row_begin = mla.keys_of(first + head);
    args.row_end = args.row_begin + mla.nope;
    args.out = rows;
    kernel.multiply(args);
    args.row_begin = mla.values_of(first + head);
    args.row_end = args.row_begin + mla.v_dim;
    args.out = rows + mla.head_width;
    kernel.multiply(args);
    for (std::size_t p = begin; p < end; ++p)
      std::copy_n(latents + p * mla.latent_width() + mla.latent_rank, mla.rope, rows + (p - begin) * width + mla.nope);
  });
}

// The same over keys and values made of the latents; the tokens are neighbours in one sequence. As many heads
// at a time as fit the room of a block, one at least.
void attend_expanded(const Pass& pass, const Mla& mla, std::size_t first, std::size_t tokens, float* attended) {
  const KvCache& cache = *pass.tokens[first].cache;
  const std::size_t positions = pass.tokens[first + tokens - 1].position + 1;
  const float* latents = cached_latents(pass, mla, cache, positions);
  Operands operands(pass);
  const std::size_t packed = operands.add({pass.kernels.matmul(kernels::Path::batch, mla.kv_b).packing, latents,
                                           mla.latent_width(), nullptr, positions, mla.latent_rank});
  operands.pack();

  const std::size_t head_floats = positions * mla.expanded_width();
  const std::size_t most = std::clamp<std::size_t>(attention_buffer_floats / head_floats, 1, mla.heads);
  float* expanded = pass.workspace.expanded.get(most * head_floats);
  const auto expanded_rows = [&](const KvCache&, std::size_t head) {
    const auto* keys = reinterpret_cast<const std::byte*>(expanded + head * head_floats);
    const std::size_t stride = mla.expanded_width() * sizeof(float);
    return KeyRows{kernels::KvFormat::f32, keys, stride, keys + mla.head_width * sizeof(float), stride};
  };
  for (std::size_t head = 0; head < mla.heads; head += most) {
    const std::size_t heads = std::min(most, mla.heads - head);
    expand(pass, mla, latents, operands[packed], positions, head, heads, expanded);
    attend(pass, mla.window,
           {.key_heads = heads, .k_dim = mla.head_width, .v_dim = mla.v_dim, .scale = mla.scale,
            .first_token = first, .tokens = tokens,
            .q = mla.q + (first * mla.heads + head) * mla.head_width,
            .q_stride = mla.heads * mla.head_width, .q_head = mla.head_width,
            .out = attended + (first * mla.heads + head) * mla.v_dim,
            .out_stride = mla.heads * mla.v_dim, .out_head = mla.v_dim},
           expanded_rows);
  }
}

// attended [T, heads, v_head_dim] of multi-head latent attention.
void mla(const Pass& pass, const Layer& layer, std::size_t layer_index, const float* normed, float* attended) {
  const Config& c = pass.config;
  const Mla mla{.kv_b = layer.weights[Role::kv_b_proj],
                .q = mla_queries_and_latents(pass, layer, layer_index, normed),
                .layer = layer_index,
                .window = layer.sliding_window,
                .heads = c.num_attention_heads,
                .head_width = c.qk_head_dim(),
                .nope = c.qk_nope_head_dim,
                .rope = c.qk_rope_head_dim,
                .latent_rank = c.kv_lora_rank,
                .v_dim = c.v_head_dim,
                .scale = static_cast<float>(c.rope.softmax_mscale / std::sqrt(static_cast<double>(c.qk_head_dim())))};
  const auto alike = [](const TokenInput& a, const TokenInput& b) {
    return a.expanded == b.expanded && (!a.expanded || a.cache == b.cache);
  };
  for (std::size_t begin = 0, end; begin < pass.count(); begin = end) {
    for (end = begin + 1; end < pass.count() && alike(pass.tokens[begin], pass.tokens[end]);) ++end;
    if (pass.tokens[begin].expanded)
      attend_expanded(pass, mla, begin, end - begin, attended);
    else
      for_token_blocks(begin, end, mla.heads * (mla.latent_width() + mla.latent_rank),
                       [&](std::size_t first, std::size_t tokens) {
                         attend_absorbed(pass, mla, first, tokens, attended);
                       });
  }
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
  for_token_blocks(0, pass.count(), 2 * heads * c.head_dim, [&](std::size_t first, std::size_t tokens) {
    const std::size_t size = tokens * heads * c.head_dim;
    float* queries = pass.workspace.queries.get(size);
    float* context = pass.workspace.context.get(size);
    // [token][key head][member] as the projection gives it, [key head][token][member] as attention wants it.
    const auto by_head = [&](std::size_t t, std::size_t h) { return (h * tokens + t) * group * c.head_dim; };
    const auto natural = [&](std::size_t t, std::size_t h) { return ((first + t) * heads + h * group) * c.head_dim; };
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t h = 0; h < kv_heads; ++h)
        std::copy_n(q + natural(t, h), group * c.head_dim, queries + by_head(t, h));
    attend(pass, layer.sliding_window,
           arranged({.key_heads = kv_heads, .group = group, .k_dim = c.head_dim, .v_dim = c.head_dim, .scale = scale,
                     .first_token = first, .tokens = tokens, .q = queries, .out = context}),
           cached_rows(layer_index));
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t h = 0; h < kv_heads; ++h)
        std::copy_n(context + by_head(t, h), group * c.head_dim, attended + natural(t, h));
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
