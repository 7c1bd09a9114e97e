// Products of weights that are integers by groups for many tokens: what simd/stream.h's IntegerStream gives,
// bit for bit, so that either may be taken for any number of tokens. A panel of a row is dealt out and split
// once for all of them, into scratch that stays in the first caches, and its products are made for rows and
// tokens side by side.
#pragma once

#include "kernels/simd/stream.h"

namespace baleen::kernels {
namespace {

// Stored bytes that are wanted soon, brought to the second-level cache a little at a time: all at once they
// would fill what a core can wait for, and the products would wait with them. (A line at a time, as NextBytes
// of simd/matmul.h does, made prompts of int4 5 % slower.)
class SpreadPrefetch {
 public:
  // All of it within `calls` calls.
  SpreadPrefetch(const std::byte* begin, std::size_t bytes, std::size_t calls)
      : at_(begin), end_(begin + bytes), step_((bytes / larger(1, calls) + 64) / 64 * 64) {}
  [[gnu::always_inline]] void operator()() {
    const std::byte* const until = end_ - at_ > static_cast<std::ptrdiff_t>(step_) ? at_ + step_ : end_;
    for (; at_ < until; at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const std::byte* at_;
  const std::byte* end_;
  std::size_t step_;
};

template <class V, Format format>
struct IntegerBatch {
  using Stream = IntegerStream<V, format>;
  using F = typename V::F;
  using I = typename V::I;
  using TokenPanel = typename Stream::Panel;
  using Layout = typename Stream::Layout;
  static constexpr std::size_t vectors = Stream::panel_vectors;
  static constexpr std::size_t parts = Stream::parts;
  static constexpr std::size_t step = Stream::dot_parts;
  // Rows and tokens whose sums of a panel fit the registers.
  static constexpr std::size_t T = 4;
  static constexpr std::size_t R = V::stream_sums / T;
  // Panels that are worked on while the tokens' stay in the first-level cache.
  static constexpr std::size_t chunk_panels = 4;

  // A panel of a row as its codes are multiplied: in the order of lanes, by parts, with each lane's scale.
  struct RowPanel {
    std::byte values[vectors][parts][sizeof(I)];
    float scales[V::lanes];
  };
  // Rows that are made ready together. Up to 2,048 columns of them share the first-level cache with the
  // tokens' panels; 16 rows did not, and were 10 % slower. Scratch has room for scratch_rows rows of float32,
  // and for a row shorter than a panel as much as a block of tiles takes.
  static constexpr std::size_t block_rows = 8;
  static_assert(block_rows % R == 0);
  static_assert(2 * block_rows * sizeof(RowPanel) <= scratch_rows * Stream::panel_cols * sizeof(float));
  static_assert(block_rows * sizeof(RowPanel) <= amx_block_floats * sizeof(float));

  static void multiply(const MatmulArgs& a) {
    if (a.tokens <= V::stream_tokens) return stream<Stream>(a);
    const Matrix& m = *a.matrix;
    Layout layout(m);
    auto* const ready = reinterpret_cast<RowPanel*>(aligned(a.scratch));  // [block_rows, panels]
    for (std::size_t row = a.row_begin; row < a.row_end; row += block_rows) {
      const std::size_t rows = smaller(block_rows, a.row_end - row);
      for (std::size_t r = 0; r < rows; ++r) prepare(m, row + r, layout, ready + r * Stream::panels(m.cols));
      multiply_block(a, row, rows, ready);
    }
  }

 private:
  static void prepare(const Matrix& m, std::size_t index, Layout& layout, RowPanel* out) {
    const Row<V, format> row[1] = {Row<V, format>(m, index)};
    for (std::size_t c = 0; c < m.cols; c += Stream::panel_cols, ++out) {
      for_scales<V, 1>(m, row, layout.first_scale(c / Stream::group_cols),
                       [&](auto, F v) { V::store(out->scales, V::pick(v, layout.scale_of)); });
      alignas(64) std::byte rest[vectors * sizeof(I)];
      const std::byte* codes = row[0].at(c);
      if (c + Stream::panel_cols > m.cols) codes = Stream::whole_panel(m, codes, m.cols - c, rest);
      I w[vectors];
      unrolled<vectors>([&](auto i) { w[i] = V::codes(codes + i * sizeof(I)); });
      V::deal(w);
      unrolled<vectors>([&](auto i) {
        I split[2];
        V::template split<format>(w[i], split);
        unrolled<parts>([&](auto p) { std::memcpy(out->values[i][p], &split[p], sizeof(I)); });
      });
    }
  }

  // All tokens with rows [row, row + rows), which are ready; the next block is on its way meanwhile.
  static void multiply_block(const MatmulArgs& a, std::size_t row, std::size_t rows, const RowPanel* ready) {
    const Matrix& m = *a.matrix;
    const std::size_t panels = Stream::panels(m.cols);
    const std::size_t next = smaller(block_rows, a.row_end - row - rows);
    const std::size_t calls = (a.tokens + T - 1) / T * ((panels + chunk_panels - 1) / chunk_panels);
    SpreadPrefetch prefetch(m.values + (row + rows) * m.row_bytes, next * m.row_bytes, calls);
    for (std::size_t t = 0; t < a.tokens; t += T)
      multiply_tokens(a, t, smaller(T, a.tokens - t), row, rows, ready, prefetch);
  }

  // 1 to `most` tokens from `first` on.
  template <std::size_t most = T>
  static void multiply_tokens(const MatmulArgs& a, std::size_t first, std::size_t tokens, std::size_t row,
                              std::size_t rows, const RowPanel* ready, SpreadPrefetch& prefetch) {
    if constexpr (most > 1) {
      if (tokens < most) return multiply_tokens<most - 1>(a, first, tokens, row, rows, ready, prefetch);
    }
    const std::size_t panels = Stream::panels(a.matrix->cols);
    const TokenPanel* x[most];
    unrolled<most>([&](auto t) {
      x[t] = reinterpret_cast<const TokenPanel*>(slot_of(a, first + t, Stream::slot_bytes(a.matrix->cols)));
    });
    F sums[block_rows][most];
    for (std::size_t r = 0; r < rows; ++r) unrolled<most>([&](auto t) { sums[r][t] = V::set1(0); });
    const std::size_t whole = rows / R * R;
    for (std::size_t begin = 0; begin < panels; begin += chunk_panels) {
      prefetch();
      const std::size_t end = smaller(panels, begin + chunk_panels);
      for (std::size_t r = 0; r < whole; r += R)
        add<R, most>(ready + r * panels, panels, x, begin, end, sums[r]);
      for (std::size_t r = whole; r < rows; ++r)
        add<1, most>(ready + r * panels, panels, x, begin, end, sums[r]);
    }
    for (std::size_t r = 0; r < whole; r += R) store_sums<V, R, most>(a, {row + r, 1}, first, sums[r]);
    for (std::size_t r = whole; r < rows; ++r) store_sums<V, 1, most>(a, {row + r, 1}, first, sums[r]);
  }

  // sums [rows, tokens] += the products of panels [begin, end).
  template <std::size_t rows, std::size_t tokens>
  static void add(const RowPanel* ready, std::size_t stride, const TokenPanel* const* x, std::size_t begin,
                  std::size_t end, F* sums) {
    for (std::size_t panel = begin; panel < end; ++panel) {
      I dot[rows * tokens];
      unrolled<tokens>([&](auto t) {
        const I first = V::codes(reinterpret_cast<const std::byte*>(x[t][panel].begin));
        unrolled<rows>([&](auto r) { dot[r * tokens + t] = first; });
      });
      unrolled<vectors * parts / step>([&](auto i) __attribute__((always_inline)) {
        constexpr std::size_t vector = i * step / parts, part = i * step % parts;
        I w[rows][step];
        unrolled<rows>([&](auto r) {
          const RowPanel& row = ready[r * stride + panel];
          unrolled<step>([&](auto p) { w[r][p] = V::codes(row.values[vector][part + p]); });
        });
        unrolled<tokens>([&](auto t) __attribute__((always_inline)) {
          const auto* values = reinterpret_cast<const std::byte*>(x[t][panel].values[vector][part]);
          unrolled<rows>([&](auto r) {
            dot[r * tokens + t] = V::template dot<format>(w[r], values, dot[r * tokens + t]);
          });
        });
      });
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        const F scale = V::load(ready[r * stride + panel].scales);
        unrolled<tokens>([&](auto t) {
          const F factor = V::mul(scale, V::load(x[t][panel].scales));
          F& s = sums[r * tokens + t];
          s = V::fma(V::to_float(dot[r * tokens + t]), factor, s);
        });
      });
    }
  }
};

// The kernel for weights that are integers by groups; null where simd/matmul.h has the one.
template <class V, Format format>
const Matmul* integer_kernel(const Matrix& m) {
  using Batch = IntegerBatch<V, format>;
  static constexpr Matmul kernel = {&Batch::Stream::packing, Batch::multiply};
  return Batch::Stream::fits(m) ? &kernel : nullptr;
}

template <class V>
const Matmul* integer_kernel(const Matrix& m) {
  if (m.format == Format::int8) return integer_kernel<V, Format::int8>(m);
  if (m.format == Format::int4) return integer_kernel<V, Format::int4>(m);
  if (m.format == Format::mxfp4) return integer_kernel<V, Format::mxfp4>(m);
  return nullptr;
}

}  // namespace
}  // namespace baleen::kernels
