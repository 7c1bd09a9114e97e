// Attention by blocks of attention_block positions: keys and values of a block are widened once, or read
// where they lie, then every query folds the block into its running softmax. Lanes of scores are positions
// counted from the block's start and positions a query does not see have weight 0, so its result does not
// depend on what else the call covers.
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

// Rows of the cache, of which positions [begin, end) are to be read and others stand for zeros.
struct KvRows {
  const std::byte* first;  // position 0
  std::size_t stride;      // bytes
  std::size_t width;       // columns
  std::size_t bytes;       // of a row
  std::size_t begin;
  std::size_t end;

  const std::byte* at(std::size_t position) const { return first + position * stride; }
  bool has(std::size_t position, std::size_t count) const {
    return begin <= position && position + count <= end;
  }
  // Columns of a position from c on that there are, 32 at most.
  std::size_t cols(std::size_t position, std::size_t c) const {
    return has(position, 1) ? smaller(32, width - c) : 0;
  }
};

// Rows of float32, padded to whole vectors.
struct FloatRows {
  const float* first;
  std::size_t stride;
  const float* at(std::size_t row) const { return first + row * stride; }
};

// Rows [begin, end) from position `block` on: where they lie if V::load can take them there, else widened
// into scratch.
template <class V>
FloatRows block_rows(KvFormat format, const KvRows& rows, std::size_t block, std::size_t begin,
                     std::size_t end, float* scratch) {
  const std::byte* const first = rows.at(block);
  if (format == KvFormat::f32 && rows.width % V::lanes == 0 && rows.stride % sizeof(float) == 0 &&
      reinterpret_cast<std::uintptr_t>(first) % alignof(float) == 0) {
    return {reinterpret_cast<const float*>(first), rows.stride / sizeof(float)};
  }
  const std::size_t stride = padded(rows.width);
  for (std::size_t p = begin; p < end; ++p)
    widen_kv_row<V>(format, rows.at(block + p), rows.width, scratch + p * stride);
  return {scratch, stride};
}

// Rows that will be read soon, brought into the second-level cache some lines at a time, beside products:
// all at once they would fill what a core can wait for. They are read as several streams: memory likes that
// better (measured in simd/stream.h).
class Ahead {
 public:
  Ahead(const KvRows& rows, std::size_t begin, std::size_t count) {
    if (begin < rows.begin || begin >= rows.end) return;
    count = smaller(count, rows.end - begin);
    row_ = rows.at(begin);
    row_bytes_ = rows.stride;
    row_lines_ = (rows.bytes + 63) / 64;
    rows_ = (count + streams - 1) / streams;
  }
  // How often bring() has something to do.
  std::size_t turns() const { return rows_ * row_lines_; }
  // A line of each stream, `turns` times.
  void bring(std::size_t turns) {
    for (; turns > 0 && done_ < rows_; --turns) {
      for (std::size_t stream = 0; stream < streams; ++stream)
        __builtin_prefetch(row_ + (done_ + stream * rows_) * row_bytes_ + line_ * 64, 0, 2);
      if (++line_ < row_lines_) continue;
      line_ = 0;
      ++done_;
    }
  }

 private:
  static constexpr std::size_t streams = 8;
  const std::byte* row_ = nullptr;
  std::size_t row_bytes_ = 0;
  std::size_t row_lines_ = 0;
  std::size_t rows_ = 0;  // of a stream
  std::size_t done_ = 0;
  std::size_t line_ = 0;
};

// Rows brought evenly while `products` vectors are multiplied.
class AheadOfProducts {
 public:
  AheadOfProducts(const KvRows& rows, std::size_t begin, std::size_t count, std::size_t products)
      : ahead_(rows, begin, count), pace_(larger(1, products / larger(1, ahead_.turns()))) {}
  // So many are multiplied next.
  void operator()(std::size_t products) {
    done_ += products;
    ahead_.bring(done_ / pace_);
    done_ %= pace_;
  }

 private:
  Ahead ahead_;
  std::size_t pace_;  // products a turn
  std::size_t done_ = 0;
};

// A block of positions; row 0 is that of its first position, whether any query sees it or not.
struct KvBlock {
  std::size_t begin;
  FloatRows keys;
  FloatRows values;
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

// Queries from the first to the last that see some of a block, and what they see of it together.
struct Sight {
  std::size_t query_begin = 0;
  std::size_t query_end = 0;
  Seen seen = {attention_block, 0};
};

inline Sight sight_of(const AttentionArgs& a, std::size_t block) {
  Sight sight;
  for (std::size_t q = 0; q < a.queries; ++q) {
    const Seen range = seen(a, q, block);
    if (range.first == range.last) continue;
    if (sight.query_end == 0) sight.query_begin = q;
    sight.query_end = q + 1;
    sight.seen = {smaller(sight.seen.first, range.first), larger(sight.seen.last, range.last)};
  }
  return sight;
}

// out[t][r] = rows[r] . x[t] for R rows and T queries.
template <class V, std::size_t R, std::size_t T>
void score_rows(const float* rows, std::size_t stride, std::size_t width, const float* x,
                std::size_t x_stride, float* out, std::size_t out_stride) {
  static_assert(R == 1 || R == 4);
  typename V::F sum[R * T];
  const float* queries[T];
  unrolled<R * T>([&](auto i) { sum[i] = V::set1(0); });
  unrolled<T>([&](auto t) { queries[t] = x + t * x_stride; });
  add_products<V, R, T>(rows, stride, queries, 0, width, sum);
  unrolled<T>([&](auto t) {
    if constexpr (R == 1) {
      out[t * out_stride] = V::sum(sum[t]);
    } else {
      V::sum4(sum[t], sum[T + t], sum[2 * T + t], sum[3 * T + t], out + t * out_stride);
    }
  });
}

// Queries that score the same few keys while both are in the first-level cache.
constexpr std::size_t score_queries = 24;

// scores[q][p] = q . key for the queries and positions of the sight.
template <class V>
void score_block(const AttentionArgs& a, const KvBlock& block, const Sight& sight, float* scores,
                 AheadOfProducts& ahead) {
  for (std::size_t begin = sight.query_begin; begin < sight.query_end; begin += score_queries) {
    const auto score = [&]<std::size_t R>(std::size_t p) {
      for_blocks<V::token_block>(
          smaller(score_queries, sight.query_end - begin), [&]<std::size_t T>(std::size_t i) {
            const std::size_t q = begin + i;
            ahead(R * T * padded(a.k_dim) / V::lanes);
            score_rows<V, R, T>(block.keys.at(p), block.keys.stride, a.k_dim, a.q + q * a.q_stride,
                                a.q_stride, scores + q * attention_block + p, attention_block);
          });
    };
    std::size_t p = sight.seen.first;
    for (; p + V::row_block <= sight.seen.last; p += V::row_block) {
      score.template operator()<V::row_block>(p);
    }
    for (; p < sight.seen.last; ++p) score.template operator()<1>(p);
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

// Columns of values that are worked on while they are in the first-level cache.
constexpr std::size_t value_panel = 128;

// Folds a block into the softmax of every query that sees some of it. rescale is room for a number a query.
template <class V>
void attend_block(const AttentionArgs& a, const KvBlock& block, const Sight& sight, float* scores,
                  float* rescale, AheadOfProducts& ahead) {
  for (std::size_t q = sight.query_begin; q < sight.query_end; ++q) {
    const Seen range = seen(a, q, block.begin);
    if (range.first == range.last) continue;
    rescale[q] = soften<V>(a.scale, range, scores + q * attention_block, a.state[q]);
  }
  for (std::size_t begin = 0; begin < a.v_dim; begin += value_panel) {
    const std::size_t end = smaller(a.v_dim, begin + value_panel);
    // Neighbours that see the same positions (heads of one token) share the loads of the value rows.
    for (std::size_t q = sight.query_begin, alike; q < sight.query_end; q += alike) {
      const Seen range = seen(a, q, block.begin);
      for (alike = 1; q + alike < sight.query_end && seen(a, q + alike, block.begin) == range;) ++alike;
      if (range.first == range.last) continue;
      for_blocks<V::token_block>(alike, [&]<std::size_t T>(std::size_t i) {
        const float* shares[T];
        float* out[T];
        for (std::size_t t = 0; t < T; ++t) {
          shares[t] = scores + (q + i + t) * attention_block + range.first;
          out[t] = a.out + (q + i + t) * a.out_stride;
        }
        add_rows<V, T>(block.values.at(range.first), block.values.stride, range.last - range.first, begin,
                       end, shares, rescale + q + i, out, ahead);
      });
    }
  }
}

template <class V>
void attention(const AttentionArgs& a) {
  for (std::size_t q = 0; q < a.queries; ++q) {
    a.state[q] = {minus_infinity, 0};
    for (std::size_t i = 0; i < a.v_dim; ++i) a.out[q * a.out_stride + i] = 0;
  }
  const KvRows keys = {a.keys, a.key_row_bytes, a.k_dim, kv_row_bytes(a.kv_format, a.k_dim), a.begin, a.end};
  const KvRows values = {a.values, a.value_row_bytes, a.v_dim, kv_row_bytes(a.kv_format, a.v_dim), a.begin,
                         a.end};
  const bool one_row = a.values == a.keys && a.value_row_bytes == a.key_row_bytes && a.v_dim <= a.k_dim;
  float* const key_scratch = aligned(a.scratch);
  float* const value_scratch = key_scratch + attention_block * padded(a.k_dim);
  float* const scores = value_scratch + attention_block * padded(a.v_dim);
  float* const rescale = scores + a.queries * attention_block;
  for (std::size_t begin = a.begin / attention_block * attention_block; begin < a.end;
       begin += attention_block) {
    const Sight sight = sight_of(a, begin);
    if (sight.query_begin == sight.query_end) continue;
    const Seen all = sight.seen;
    KvBlock block;
    block.begin = begin;
    block.keys = block_rows<V>(a.kv_format, keys, begin, all.first, all.last, key_scratch);
    block.values =
        one_row ? block.keys : block_rows<V>(a.kv_format, values, begin, all.first, all.last, value_scratch);
    const std::size_t next = begin + attention_block;
    const std::size_t pairs = (sight.query_end - sight.query_begin) * (all.last - all.first);
    const std::size_t key_products = pairs * padded(a.k_dim) / V::lanes;
    const std::size_t value_products = pairs * padded(a.v_dim) / V::lanes;
    AheadOfProducts next_keys(keys, next, attention_block, key_products + (one_row ? value_products : 0));
    AheadOfProducts next_values(values, next, one_row ? 0 : attention_block, value_products);
    score_block<V>(a, block, sight, scores, next_keys);
    attend_block<V>(a, block, sight, scores, rescale, one_row ? next_keys : next_values);
  }
}

}  // namespace
}  // namespace baleen::kernels
