// Matrix products. A sum over columns is V::lanes sums, lane l over the columns l, l + lanes, ... ascending
// by fused multiply-add, then V::sum's tree. Every path below keeps to that, so they agree bit for bit.
#pragma once

#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

// Columns of widened rows and activations that are worked on while they are in the first-level cache.
constexpr std::size_t panel_cols = 1024;

// Columns of one of equal panels.
constexpr std::size_t panel_of(std::size_t cols) {
  const std::size_t panels = (cols + panel_cols - 1) / panel_cols;
  return padded(panels == 0 ? 1 : (cols + panels - 1) / panels);
}

// body<T>(i) for i = 0, T, 2 T, ... as long as T more fit, and body<rest>(i) for what is left.
template <std::size_t T, class Body>
void for_blocks(std::size_t count, const Body& body, std::size_t i = 0) {
  for (; i + T <= count; i += T) body.template operator()<T>(i);
  if constexpr (T > 1) {
    if (i < count) for_blocks<T - 1>(count, body, i);
  }
}

struct NoPrefetch {
  void operator()(std::size_t = 1) const {}
};

// sum[r * T + t] += the products of columns [begin, end) of R widened rows and T tokens. Only the last
// columns of all may be no multiple of a vector. Says to prefetch once a vector.
template <class V, std::size_t R, std::size_t T, class Prefetch = NoPrefetch>
[[gnu::always_inline]] inline void add_products(const float* rows, std::size_t stride, const float* const* x,
                                                std::size_t begin, std::size_t end, typename V::F* sum,
                                                Prefetch&& prefetch = {}) {
  using F = typename V::F;
  const auto add = [&](std::size_t c, const F* xs) __attribute__((always_inline)) {
    unrolled<R>([&](auto r) {
      const F w = V::load(rows + r * stride + c);
      unrolled<T>([&](auto t) { sum[r * T + t] = V::fma(w, xs[t], sum[r * T + t]); });
    });
  };
  F xs[T];
  std::size_t c = begin;
  for (; c + V::lanes <= end; c += V::lanes) {
    prefetch();
    unrolled<T>([&](auto t) { xs[t] = V::load(x[t] + c); });
    add(c, xs);
  }
  if (c < end) {
    unrolled<T>([&](auto t) { xs[t] = V::load(x[t] + c, end - c); });
    add(c, xs);
  }
}

// out[t][first + r] = the sum of R rows' lanes sum[r * T + t].
template <class V, std::size_t R, std::size_t T>
[[gnu::always_inline]] inline void store_sums_of_rows(const typename V::F* sum, float* const* out,
                                                      std::size_t first) {
  static_assert(R == 1 || R == 4);
  unrolled<T>([&](auto t) {
    if constexpr (R == 1) {
      out[t][first] = V::sum(sum[t]);
    } else {
      V::sum4(sum[t], sum[T + t], sum[2 * T + t], sum[3 * T + t], out[t] + first);
    }
  });
}

// Stored bytes that are wanted soon, brought near little by little: a core waits for a dozen lines at most,
// and where they are asked for all at once the products wait with them. (A prompt's products from memory
// reached 75 % of what registers give so, 69 % with every call's lines at its beginning.)
struct NextBytes {
  const std::byte* at;
  std::size_t step;  // of one call, a cache line at most

  void operator()() {
    __builtin_prefetch(at);
    at += step;
  }
};

// Rows of float32 in scratch and the sums that wait there between panels.
template <class V>
struct WidenedRows {
  const float* rows;
  std::size_t stride;
  std::size_t cols;
  float* sums;  // [rows * tokens of a group, lanes]

  // out[t][r] = row r . x[t] for R rows from `first` on and T tokens, once columns [begin, end) are the last.
  // Not inlined: inside another loop compilers spill the sums.
  template <std::size_t R, std::size_t T>
  [[gnu::noinline]] void dot(std::size_t first, const float* const* x, std::size_t begin, std::size_t end,
                             float* waiting, float* const* out, NextBytes& next) const {
    typename V::F sum[R * T];
    if (begin == 0) {
      unrolled<R * T>([&](auto i) { sum[i] = V::set1(0); });
    } else {
      unrolled<R * T>([&](auto i) { sum[i] = V::load(waiting + i * V::lanes); });
    }
    NextBytes ahead = next;  // in registers
    add_products<V, R, T>(rows + first * stride, stride, x, begin, end, sum, ahead);
    next = ahead;
    if (end < cols) {
      unrolled<R * T>([&](auto i) { V::store(waiting + i * V::lanes, sum[i]); });
    } else {
      store_sums_of_rows<V, R, T>(sum, out, first);
    }
  }
};

// `count` rows of the matrix from `row` on, which are ready, with all tokens: a panel of columns is gone
// through by `group` tokens before the next one. The rows behind them are on their way meanwhile.
template <class V>
void multiply_rows(const MatmulArgs& a, std::size_t row, std::size_t count, std::size_t group,
                   const WidenedRows<V>& rows, std::size_t slot_bytes) {
  constexpr std::size_t R = V::row_block;
  constexpr std::size_t T = V::token_block;
  const Matrix& m = *a.matrix;
  const std::size_t whole = count / R * R;
  const std::size_t panel = panel_of(rows.cols);
  const std::size_t steps = (a.tokens + T - 1) / T * (whole / R) * (rows.cols / V::lanes);
  NextBytes next = {m.values + row * m.row_bytes, 0};
  if (const std::size_t behind = smaller(count, a.row_end - row - count); behind > 0 && steps > 0) {
    next = {m.values + (row + count) * m.row_bytes, smaller(64, behind * m.row_bytes / steps)};
  }
  for (std::size_t first = 0; first < a.tokens; first += group) {
    std::size_t begin = 0;
    do {
      const std::size_t end = smaller(rows.cols, begin + panel);
      for_blocks<T>(smaller(group, a.tokens - first), [&]<std::size_t tokens>(std::size_t t) {
        const float* x[tokens];
        float* out[tokens];
        for (std::size_t i = 0; i < tokens; ++i) {
          x[i] = reinterpret_cast<const float*>(slot_of(a, first + t + i, slot_bytes));
          out[i] = a.out + (first + t + i) * a.out_stride + row - a.row_begin;
        }
        const auto waiting = [&](std::size_t r) { return rows.sums + (t * count + r * tokens) * V::lanes; };
        for (std::size_t r = 0; r < whole; r += R) {
          rows.template dot<R, tokens>(r, x, begin, end, waiting(r), out, next);
        }
        for (std::size_t r = whole; r < count; ++r) {
          rows.template dot<1, tokens>(r, x, begin, end, waiting(r), out, next);
        }
      });
      begin = end;
    } while (begin < rows.cols);
  }
}

// Any number of tokens: rows are widened into scratch, then shared by all of them. widen(row, out) makes a
// row of `cols` ready. Up to shared_tokens take turns at rows that stay in the first-level cache; more would
// leave the second-level cache too often, so each block of theirs stays near while many rows come by. (A
// prompt of 512 tokens, 48 to an expert, gained 4 % by the first; one of 2048, in blocks of 128, lost 2 %.)
template <class V, class Widen>
void multiply_widened(const MatmulArgs& a, std::size_t cols, std::size_t slot_bytes, const Widen& widen) {
  static_assert(V::row_block <= widened_rows && V::lanes <= scratch_align);
  static_assert(widened_rows * V::token_block <= scratch_sums &&
                V::row_block * shared_tokens <= scratch_sums);
  const bool few = a.tokens <= shared_tokens;
  const std::size_t at_once = few ? V::row_block : widened_rows;
  const std::size_t group = few ? a.tokens : V::token_block;
  // Rows a multiple of 2 KiB apart would crowd into few sets of the cache.
  const std::size_t stride = padded(cols) + scratch_align;
  float* const widened = aligned(a.scratch);
  const WidenedRows<V> rows = {widened, stride, cols, widened + at_once * stride};
  for (std::size_t row = a.row_begin; row < a.row_end; row += at_once) {
    const std::size_t count = smaller(at_once, a.row_end - row);
    for (std::size_t r = 0; r < count; ++r) widen(row + r, widened + r * stride);
    multiply_rows<V>(a, row, count, group, rows, slot_bytes);
  }
}

template <class V, Format format>
void matmul_widened(const MatmulArgs& a) {
  const std::size_t cols = a.matrix->cols;
  multiply_widened<V>(a, cols, f32_slot_bytes(cols), [&](std::size_t row, float* out) {
    widen_rows<V, format>(*a.matrix, row, row + 1, out);
  });
}

// Prefetches what R rows need at column c and prefetch_bytes; where these rows end, that is R rows further
// on.
template <class V, Format format, std::size_t R>
[[gnu::always_inline]] inline void prefetch_rows(const Row<V, format>* row, const Matrix& m, std::size_t c) {
  constexpr std::size_t line_cols = 64 * 8 / value_bits(format);
  if (line_cols > V::chunk && c % line_cols != 0) return;  // the line is on its way already
  std::size_t ahead = value_bytes(format, c) + prefetch_bytes;
  if (ahead >= m.row_bytes) ahead += (R - 1) * m.row_bytes;
  unrolled<R>([&](auto r) {
    for (std::size_t b = 0; b < value_bytes(format, V::chunk); b += 64) {
      __builtin_prefetch(row[r].values + ahead + b);
    }
  });
}

// Adds the products of columns [whole, cols), less than a chunk of them and all in one group.
template <class V, Format format, std::size_t R, std::size_t T>
[[gnu::always_inline]] inline void add_last_columns(const Row<V, format>* row, std::size_t cols,
                                                    std::size_t whole, std::size_t group,
                                                    const float* const* x, typename V::F* sum) {
  const std::size_t rest = cols - whole;
  if (rest == 0) return;
  unrolled<R>([&](auto r) {
    typename V::F w[2];
    decode_tail<V, format>(row[r].at(whole), rest, row[r].group(group), w);
    unrolled<T>([&](auto t) {
      const float* last = x[t] + whole;
      typename V::F& s = sum[r * T + t];
      s = V::fma(w[0], V::load(last, smaller(rest, V::lanes)), s);
      if (rest > V::lanes) s = V::fma(w[1], V::load(last + V::lanes, rest - V::lanes), s);
    });
  });
}

// R rows of a decodable matrix without stored zeros and T tokens, in one pass over the stored bytes.
template <class V, Format format, std::size_t R, std::size_t T>
void dot_stored_rows(const MatmulArgs& a, std::size_t first_row, std::size_t first_token) {
  using F = typename V::F;
  const Matrix& m = *a.matrix;
  Row<V, format> row[R];
  const float* x[T];
  F sum[R * T];
  unrolled<T>([&](auto t) { x[t] = activations(a, first_token + t); });
  unrolled<R>([&](auto r) { row[r] = Row<V, format>(m, first_row + r); });
  unrolled<R * T>([&](auto i) { sum[i] = V::set1(0); });
  const std::size_t whole = m.cols / V::chunk * V::chunk;
  const std::size_t step = group_cols<format>(m);
  Groups<V, format, R, false> groups;
  for (std::size_t c = 0, g = 0; c < whole; ++g) {
    groups.seek(row, g, (m.cols + step - 1) / step);
    const std::size_t end = whole - c > step ? c + step : whole;
    for (; c < end; c += V::chunk) {
      prefetch_rows<V, format, R>(row, m, c);
      F xs[2 * T];
      unrolled<2 * T>(
          [&](auto i) { xs[i] = V::template to_order<format>(V::load(x[i / 2] + c + i % 2 * V::lanes)); });
      unrolled<R>([&](auto r) {
        F w[2];
        V::template decode<format>(row[r].at(c), groups.of(r, g), w);
        unrolled<T>([&](auto t) {
          sum[r * T + t] = V::fma(w[0], xs[2 * t], sum[r * T + t]);
          sum[r * T + t] = V::fma(w[1], xs[2 * t + 1], sum[r * T + t]);
        });
      });
    }
  }
  unrolled<R * T>([&](auto i) { sum[i] = V::template from_order<format>(sum[i]); });
  add_last_columns<V, format, R, T>(row, m.cols, whole, whole / step, x, sum);
  float* out = a.out + first_token * a.out_stride + first_row - a.row_begin;
  unrolled<R * T>([&](auto i) { out[i % T * a.out_stride + i / T] = V::sum(sum[i]); });
}

// All rows for 1 to T tokens.
template <class V, Format format, std::size_t T = V::fused_tokens>
void matmul_stored(const MatmulArgs& a) {
  if (a.tokens != T) {
    if constexpr (T > 1) matmul_stored<V, format, T - 1>(a);
    return;
  }
  std::size_t row = a.row_begin;
  for (; row + V::row_block <= a.row_end; row += V::row_block) {
    dot_stored_rows<V, format, V::row_block, T>(a, row, 0);
  }
  for (; row < a.row_end; ++row) {
    for (std::size_t t = 0; t < T; ++t) dot_stored_rows<V, format, 1, 1>(a, row, t);
  }
}

template <class V, Format format>
void matmul(const MatmulArgs& a) {
  if (a.tokens <= V::fused_tokens && !a.matrix->zeros && is_decodable<V, format>(*a.matrix)) {
    matmul_stored<V, format>(a);
  } else {
    matmul_widened<V, format>(a);
  }
}

// Vectors whose sums with T others fill the registers: V::row_block * V::token_block sums, or fewer.
template <class V, std::size_t T>
constexpr std::size_t beside() {
  std::size_t count = V::row_block;
  while (2 * count * T <= V::row_block * V::token_block) count *= 2;
  return count;
}

// out[t][c] = out[t][c] * factor[t] + sum over r < count of coefficients[t][r] * rows[r][c], r ascending, for
// T tokens and columns [begin, cols). Rows are padded to whole vectors. Says to prefetch how many vectors it
// multiplies next.
template <class V, std::size_t T, std::size_t C = beside<V, T>(), class Prefetch = NoPrefetch>
void add_rows(const float* rows, std::size_t stride, std::size_t count, std::size_t begin, std::size_t cols,
              const float* const* coefficients, const float* factor, float* const* out,
              Prefetch&& prefetch = {}) {
  using F = typename V::F;
  const auto add = [&](std::size_t c, std::size_t lanes) __attribute__((always_inline)) {
    prefetch(count * T * C);
    F sum[T * C];
    unrolled<T * C>([&](auto i) {
      const F before = V::load(out[i / C] + c + i % C * V::lanes, lanes);
      sum[i] = V::mul(before, V::set1(factor[i / C]));
    });
    for (std::size_t r = 0; r < count; ++r) {
      const float* row = rows + r * stride + c;
      F share[T];
      unrolled<T>([&](auto t) { share[t] = V::set1(coefficients[t][r]); });
      unrolled<C>([&](auto v) {
        const F w = V::load(row + v * V::lanes);
        unrolled<T>([&](auto t) { sum[t * C + v] = V::fma(share[t], w, sum[t * C + v]); });
      });
    }
    unrolled<T * C>([&](auto i) { V::store(out[i / C] + c + i % C * V::lanes, sum[i], lanes); });
  };
  for (; begin + C * V::lanes <= cols; begin += C * V::lanes) add(begin, V::lanes);
  if constexpr (C > 1) {
    add_rows<V, T, C / 2>(rows, stride, count, begin, cols, coefficients, factor, out, prefetch);
  } else if (begin < cols) {
    add(begin, cols - begin);
  }
}

template <class V, Format format>
void matmul_transposed(const TransposedArgs& a) {
  const std::size_t cols = a.matrix->cols;
  const std::size_t stride = padded(cols);
  float* widened = aligned(a.scratch);
  for (std::size_t t = 0; t < a.tokens; ++t) {
    for (std::size_t c = 0; c < cols; ++c) a.out[t * a.out_stride + c] = 0;
  }
  for (std::size_t row = a.row_begin; row < a.row_end; row += scratch_rows) {
    const std::size_t rows = smaller(scratch_rows, a.row_end - row);
    widen_rows<V, format>(*a.matrix, row, row + rows, widened);
    for_blocks<V::token_block>(a.tokens, [&]<std::size_t T>(std::size_t t) {
      const float* x[T];
      float* out[T];
      float one[T];
      for (std::size_t i = 0; i < T; ++i) {
        x[i] = a.x + (t + i) * a.x_stride + row - a.row_begin;
        out[i] = a.out + (t + i) * a.out_stride;
        one[i] = 1;
      }
      add_rows<V, T>(widened, stride, rows, 0, cols, x, one, out);
    });
  }
}

}  // namespace
}  // namespace baleen::kernels
