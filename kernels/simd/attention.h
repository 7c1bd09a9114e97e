// Attention by blocks of attention_block positions: keys and values of a block are widened once, then every
// query folds the block into its running softmax. Lanes of scores are positions counted from the block's
// start and positions a query does not see have weight 0, so its result does not depend on what else the call
// covers.
#pragma once

#include "kernels/simd/elementwise.h"
#include "kernels/simd/matmul.h"

namespace baleen::kernels {
namespace {

constexpr float minus_infinity = -__builtin_inff();
constexpr std::size_t kv_group_bytes = sizeof(float) + kv_group;

// out[0, padded(width)) = numbers [0, width) of a KV cache row, then zeros.
template <class V>
void widen_kv_row(KvFormat format, const std::byte* row, std::size_t width, float* out) {
  const auto decode = [&]<Format stored>(const std::byte* values, std::size_t begin, std::size_t end,
                                         float scale) {
    const Group<V> group = {V::set1(scale), V::set1(128)};
    for (std::size_t i = begin; i < end; i += V::chunk) {
      const std::byte* at = values + value_bytes(stored, i - begin);
      typename V::F w[2];
      if (end - i >= V::chunk) {
        decode_chunk<V, stored>(at, group, w);
      } else {
        decode_tail<V, stored>(at, end - i, group, w);
      }
      V::store(out + i, w[0]);
      if (padded(width) - i > V::lanes) V::store(out + i + V::lanes, w[1]);
    }
  };
  if (format == KvFormat::f32) {
    decode.template operator()<Format::f32>(row, 0, width, 1);
  } else if (format == KvFormat::bf16) {
    decode.template operator()<Format::bf16>(row, 0, width, 1);
  } else {
    for (std::size_t i = 0; i < width; i += kv_group, row += kv_group_bytes) {
      const float scale = number<V>(Format::f32, row, 0);
      decode.template operator()<Format::int8>(row + sizeof(float), i, smaller(width, i + kv_group), scale);
    }
  }
}

// A block of positions in scratch.
struct KvBlock {
  std::size_t begin;  // the block's first position, whether any query sees it or not
  const float* keys;  // row of position p at keys + (p - begin) * padded(k_dim)
  const float* values;
  std::size_t value_stride;
};

// Positions of a block that a query sees, counted from the block's start.
struct Seen {
  std::size_t first;
  std::size_t last;
  bool operator==(const Seen&) const = default;
};

inline Seen seen(const AttentionArgs& a, std::size_t q, std::size_t block) {
  const std::size_t first = larger(larger(a.begin, a.first[q]), block);
  const std::size_t last = smaller(smaller(a.end, a.last[q]), block + attention_block);
  return first < last ? Seen{first - block, last - block} : Seen{0, 0};
}

// scores[q][p] = q . key for all queries and positions [first, last) of the block.
template <class V>
void score_block(const AttentionArgs& a, const KvBlock& block, Seen all, float* scores, float* sums) {
  const std::size_t stride = padded(a.k_dim);
  for (std::size_t q = 0; q < a.queries; q += V::token_block) {
    const std::size_t count = smaller(V::token_block, a.queries - q);
    for (std::size_t p = all.first; p < all.last; p += scratch_rows) {
      const float* x[V::token_block];
      float* out[V::token_block];
      for (std::size_t i = 0; i < count; ++i) {
        x[i] = a.q + (q + i) * a.q_stride;
        out[i] = scores + (q + i) * attention_block + p;
      }
      dot_rows<V>(block.keys + p * stride, stride, smaller(scratch_rows, all.last - p), a.k_dim, x, count,
                  out, sums);
    }
  }
}

// Turns a query's scores into exp(score - maximum), 0 where it does not see; returns what the sums so far are
// to be multiplied by. With every score at -infinity the shift is 0, so that exp gives 0 and not NaN.
template <class V>
float soften(float scale, Seen range, float* scores, SoftmaxState& state) {
  using F = typename V::F;
  constexpr std::size_t vectors = attention_block / V::lanes;
  F score[vectors];
  F maxima = V::set1(state.maximum);
  for (std::size_t v = 0; v < vectors; ++v) {
    score[v] = V::mul(V::load(scores + v * V::lanes), V::set1(scale));
    score[v] = V::between(score[v], v * V::lanes, range.first, range.last, V::set1(minus_infinity));
    maxima = V::max(score[v], maxima);
  }
  const float maximum = V::maximum(maxima);
  const F shift = V::set1(maximum == minus_infinity ? 0.0f : maximum);
  F sum = V::set1(0);
  for (std::size_t v = 0; v < vectors; ++v) {
    const F share = exp<V>(V::sub(score[v], shift));
    V::store(scores + v * V::lanes, share);
    sum = V::add(sum, share);
  }
  const float rescale = V::first(exp<V>(V::sub(V::set1(state.maximum), shift)));
  state.sum = state.sum * rescale + V::sum(sum);
  state.maximum = maximum;
  return rescale;
}

// Folds a block into the softmax of every query that sees some of it.
template <class V>
void attend_block(const AttentionArgs& a, const KvBlock& block, float* scores) {
  const auto add = [&]<std::size_t T>(std::size_t q, Seen range, const float* rescale) {
    const float* shares[T];
    float* out[T];
    for (std::size_t i = 0; i < T; ++i) {
      shares[i] = scores + (q + i) * attention_block + range.first;
      out[i] = a.out + (q + i) * a.out_stride;
    }
    add_rows<V, T>(block.values + range.first * block.value_stride, block.value_stride,
                   range.last - range.first, a.v_dim, shares, rescale, out);
  };
  // Neighbours that see the same positions (heads of one token) share the loads of the value rows.
  constexpr std::size_t T = V::fused_tokens;
  for (std::size_t q = 0; q < a.queries;) {
    const Seen range = seen(a, q, block.begin);
    std::size_t alike = 1;
    while (alike < T && q + alike < a.queries && seen(a, q + alike, block.begin) == range) ++alike;
    if (range.first < range.last) {
      float rescale[T];
      for (std::size_t i = 0; i < alike; ++i) {
        rescale[i] = soften<V>(a.scale, range, scores + (q + i) * attention_block, a.state[q + i]);
      }
      if (alike == T) {
        add.template operator()<T>(q, range, rescale);
      } else {
        for (std::size_t i = 0; i < alike; ++i) add.template operator()<1>(q + i, range, rescale + i);
      }
    }
    q += alike;
  }
}

// Positions of the block that any query sees.
inline Seen seen_by_any(const AttentionArgs& a, std::size_t block) {
  Seen all = {attention_block, 0};
  for (std::size_t q = 0; q < a.queries; ++q) {
    const Seen range = seen(a, q, block);
    if (range.first == range.last) continue;
    all = {smaller(all.first, range.first), larger(all.last, range.last)};
  }
  return all;
}

template <class V>
void attention(const AttentionArgs& a) {
  for (std::size_t q = 0; q < a.queries; ++q) {
    a.state[q] = {minus_infinity, 0};
    for (std::size_t i = 0; i < a.v_dim; ++i) a.out[q * a.out_stride + i] = 0;
  }
  const bool one_row = a.values == a.keys && a.value_row_bytes == a.key_row_bytes && a.v_dim <= a.k_dim;
  const std::size_t key_stride = padded(a.k_dim);
  const std::size_t value_stride = one_row ? key_stride : padded(a.v_dim);
  float* keys = aligned(a.scratch);
  float* values = one_row ? keys : keys + attention_block * key_stride;
  float* scores = keys + attention_block * (key_stride + padded(a.v_dim));
  float* sums = scores + a.queries * attention_block;
  for (std::size_t begin = a.begin / attention_block * attention_block; begin < a.end;
       begin += attention_block) {
    const Seen all = seen_by_any(a, begin);
    for (std::size_t p = all.first; p < all.last; ++p) {
      widen_kv_row<V>(a.kv_format, a.keys + (begin + p) * a.key_row_bytes, a.k_dim, keys + p * key_stride);
      if (one_row) continue;
      widen_kv_row<V>(a.kv_format, a.values + (begin + p) * a.value_row_bytes, a.v_dim,
                      values + p * value_stride);
    }
    if (all.first >= all.last) continue;
    const KvBlock block = {begin, keys, values, value_stride};
    score_block<V>(a, block, all, scores, sums);
    attend_block<V>(a, block, scores);
  }
}

}  // namespace
}  // namespace baleen::kernels
