// Products for tokens that come alone or nearly so: one pass over the stored bytes, at the speed of memory.
// What a core can do while the next 64 bytes arrive is some fourteen vector instructions, so they are spent
// on the weights: activations are packed once in the order in which the codes of a vector come apart.
//   bf16, fp8   float32 activations; a vector of codes is widened by shifts and masks, even columns and odd
//               ones apart
//   int8, int4  activations rounded to integers by groups of 32 columns, each with its own float32 scale, and
//               integer dot products: a lane of 32 bits sums the columns whose codes lie in it. Scales stay
//               exact: scale of the weights * scale of the activations * integer, summed in float32
//   mxfp4       as int4: twice an e2m1 value is an integer, looked up
// What is left over is multiplied by the kernels of simd/matmul.h.
//
// Beyond rows.h, a V has
//   V::I                           a vector of integers, as wide as F
//   V::codes                       loads one, also just a number of bytes with zeros behind them
//   V::stream_sums                 sums that fit the registers beside a pass's other vectors
//   V::widen<format>, put<format>  a vector of codes as float32; 16 columns of activations in that order
//   V::note, any_nan               what has to be known of fp8 codes; whether a NaN was among them
//   V::split<format>, dot<format>  a vector of codes by its parts; their products with packed activations,
//                                  added to a vector of int32
//   V::activation_bytes<format>    1 or 2: what dot multiplies integer codes with
//   V::spread<format>              factors of the groups in a vector of codes, over the lanes of each group
//   V::numbers<format>, pick       scales as float32; a permutation
// A token's sums are formed lane by lane in ascending columns, whatever else the call covers.
#pragma once

#include "kernels/simd/pack.h"
#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

// Tokens that share a pass.
constexpr std::size_t stream_tokens = 4;
constexpr std::size_t stream_rows = 4;
// Bytes ahead of the loads that are prefetched: of 512 to 4096 the best for most formats and widths.
constexpr std::size_t stream_prefetch = 1024;

constexpr std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

// Rows that a pass reads side by side: first, first + step, ...
struct RowSet {
  std::size_t first = 0;
  std::size_t step = 0;
};

// R rows and T tokens, or two halves of the rows if their sums do not fit the registers.
template <class Dot, std::size_t R, std::size_t T>
void stream_block(const MatmulArgs& a, RowSet rows, std::size_t token) {
  if constexpr (R > 1 && R * T > Dot::sums) {
    stream_block<Dot, R / 2, T>(a, rows, token);
    stream_block<Dot, R / 2, T>(a, {rows.first + R / 2 * rows.step, rows.step}, token);
  } else {
    Dot::template multiply<R, T>(a, rows, token);
  }
}

// R rows and up to T tokens.
template <class Dot, std::size_t R, std::size_t T = stream_tokens>
void stream_some(const MatmulArgs& a, RowSet rows, std::size_t token, std::size_t tokens) {
  if (tokens == T) {
    stream_block<Dot, R, T>(a, rows, token);
  } else if constexpr (T > 1) {
    stream_some<Dot, R, T - 1>(a, rows, token, tokens);
  }
}

// The rows are read as stream_rows long streams, each a share of them in order: what the processor prefetches
// by itself it prefetches along a page, and several pages at a time. Measured, two threads reading 128 KiB at
// a time: one stream 72 %, two 84 %, four 94 %, eight 98 % of the fastest.
template <class Dot>
void stream(const MatmulArgs& a) {
  const auto all_tokens = [&]<std::size_t R>(RowSet rows) {
    for (std::size_t t = 0; t < a.tokens; t += stream_tokens) {
      stream_some<Dot, R>(a, rows, t, smaller(stream_tokens, a.tokens - t));
    }
  };
  const std::size_t share = (a.row_end - a.row_begin) / stream_rows;
  for (std::size_t i = 0; i < share; ++i) {
    all_tokens.template operator()<stream_rows>(RowSet{a.row_begin + i, share});
  }
  for (std::size_t row = a.row_begin + share * stream_rows; row < a.row_end; ++row) {
    all_tokens.template operator()<1>(RowSet{row, 0});
  }
}

template <class V, std::size_t R, std::size_t T>
[[gnu::always_inline]] inline void store_sums(const MatmulArgs& a, RowSet rows, std::size_t token,
                                              const typename V::F* sum) {
  float* out = a.out + token * a.out_stride + rows.first - a.row_begin;
  unrolled<T>([&](auto t) {
    float* to = out + t * a.out_stride;
    if constexpr (R == 4) {
      float four[4];
      V::sum4(sum[t], sum[T + t], sum[2 * T + t], sum[3 * T + t], four);
      unrolled<R>([&](auto r) { to[r * rows.step] = four[r]; });
    } else {
      unrolled<R>([&](auto r) { to[r * rows.step] = V::sum(sum[r * T + t]); });
    }
  });
}

// Prefetches what R streams need stream_prefetch bytes after byte `at` of their rows.
template <std::size_t R, class Row>
[[gnu::always_inline]] inline void prefetch_stream(const Row* row, std::size_t at) {
  unrolled<R>([&](auto r) { __builtin_prefetch(row[r].values + at + stream_prefetch); });
}

// use(r, scales) for R rows: V::lanes scales from number `first` on; all 1 where none are stored. Those of
// the rows behind are prefetched.
template <class V, std::size_t R, class Row, class Use>
[[gnu::always_inline]] inline void for_scales(const Matrix& m, const Row* row, std::size_t first,
                                              const Use& use) {
  const std::size_t count = smaller(V::lanes, m.scale_cols - first);
  const auto load = [&]<Format format>() __attribute__((always_inline)) {
    unrolled<R>([&](auto r) __attribute__((always_inline)) {
      const std::byte* scales = row[r].scales + value_bytes(format, first);
      __builtin_prefetch(scales + value_bytes(format, m.scale_cols));
      use(r, V::template numbers<format>(scales, count));
    });
  };
  if (!m.scales) {
    unrolled<R>([&](auto r) __attribute__((always_inline)) { use(r, V::set1(1)); });
  } else if constexpr (Row::value_format == Format::mxfp4) {
    load.template operator()<Format::e8m0>();
  } else if (m.scale_format == Format::bf16) {
    load.template operator()<Format::bf16>();
  } else if (m.scale_format == Format::f16) {
    load.template operator()<Format::f16>();
  } else {
    load.template operator()<Format::f32>();
  }
}

// bf16, and fp8 in blocks of whole vectors of codes.
template <class V, Format format>
struct FloatStream {
  using F = typename V::F;
  static constexpr bool scaled = format == Format::fp8_e4m3;
  static constexpr std::size_t vectors = 32 / value_bits(format);  // that a vector of codes widens to
  static constexpr std::size_t chunk = vectors * V::lanes;
  static constexpr std::size_t sums = scaled ? V::stream_sums / 2 : V::stream_sums;

  static std::size_t slot_bytes(std::size_t cols) {
    return round_up(round_up(cols, chunk) * sizeof(float), pack_align);
  }

  static void pack(const PackArgs& a) {
    const std::size_t padded_cols = round_up(a.cols, chunk);
    const std::size_t end =
        a.col_end == a.cols ? larger(padded_cols, round_up(a.cols, pack_cols)) : a.col_end;
    for (std::size_t t = 0; t < a.tokens; ++t) {
      const float* x = row_to_pack(a, t);
      auto* slot = reinterpret_cast<float*>(a.packed + t * slot_bytes(a.cols));
      for (std::size_t c = a.col_begin; c < end; c += pack_cols) {
        float group[pack_cols];
        const float* from = whole_group(x + (c - a.col_begin), c, a.col_end, group);
        for (std::size_t i = 0; i < pack_cols && c + i < padded_cols; i += 16) {
          float* whole = slot + (c + i) / chunk * chunk;
          const Halves columns = deinterleave(_mm256_loadu_ps(from + i), _mm256_loadu_ps(from + i + 8));
          V::template put<format>(whole, (c + i) % chunk, columns);
        }
      }
    }
  }
  static constexpr Packing packing = {.slot_tokens = 1, .slot_bytes = slot_bytes, .pack = pack};

  static bool fits(const Matrix& m) {
    return !scaled || !m.scales || m.block_cols % chunk == 0 || m.block_cols >= m.cols;
  }

  template <std::size_t R, std::size_t T>
  static void multiply(const MatmulArgs& a, RowSet rows, std::size_t first_token) {
    const Matrix& m = *a.matrix;
    Row<V, format> row[R];
    const float* x[T];
    F sum[R * T];
    unrolled<R>([&](auto r) { row[r] = Row<V, format>(m, rows.first + r * rows.step); });
    unrolled<T>([&](auto t) {
      x[t] = reinterpret_cast<const float*>(slot_of(a, first_token + t, slot_bytes(m.cols)));
    });
    unrolled<R * T>([&](auto i) { sum[i] = V::set1(0); });
    const std::size_t whole = m.cols / chunk * chunk;
    const std::size_t block = group_cols<format>(m);
    alignas(64) float scales[scaled ? R * V::lanes : 1];
    typename V::I seen[R] = {};
    for (std::size_t c = 0, g = 0; c < m.cols; ++g) {
      if constexpr (scaled) {
        if (g % V::lanes == 0) {
          for_scales<V, R>(m, row, g, [&](auto r, F v) { V::store(scales + r * V::lanes, v); });
        }
      }
      F part[R * T];
      unrolled<R * T>([&](auto i) { part[i] = scaled ? V::set1(0) : sum[i]; });
      const std::size_t block_end = m.cols - c > block ? c + block : m.cols;
      for (; c < smaller(block_end, whole); c += chunk) {
        prefetch_stream<R>(row, value_bytes(format, c));
        add<R, T>([&](auto r) { return V::codes(row[r].at(c)); }, x, c, part, seen);
      }
      if (c < block_end) {
        const std::size_t rest = value_bytes(format, m.cols - c);
        add<R, T>([&](auto r) { return V::codes(row[r].at(c), rest); }, x, c, part, seen);
        c = m.cols;
      }
      unrolled<R * T>([&](auto i) {
        if constexpr (scaled) {
          sum[i] = V::fma(part[i], V::set1(scales[i / T * V::lanes + g % V::lanes]), sum[i]);
        } else {
          sum[i] = part[i];
        }
      });
    }
    if constexpr (scaled) {  // the power of two that widening leaves out, and NaN
      unrolled<R * T>([&](auto i) {
        const float factor = V::any_nan(seen[i / T]) ? __builtin_nanf("") : scale_factor(format);
        sum[i] = V::mul(sum[i], V::set1(factor));
      });
    }
    store_sums<V, R, T>(a, rows, first_token, sum);
  }

 private:
  // Adds the products of the vectors of codes that load(row) gives, from column c on.
  template <std::size_t R, std::size_t T, class Load>
  [[gnu::always_inline]] static void add(const Load& load, const float* const* x, std::size_t c, F* sum,
                                         typename V::I* seen) {
    unrolled<R>([&](auto r) {
      const typename V::I codes = load(r);
      if constexpr (scaled) V::note(codes, seen[r]);
      F w[vectors];
      V::template widen<format>(codes, w);
      unrolled<T * vectors>([&](auto i) {
        F& s = sum[r * T + i / vectors];
        s = V::fma(w[i % vectors], V::load(x[i / vectors] + c + i % vectors * V::lanes), s);
      });
    });
  }
};

// int8, int4 and mxfp4 whose groups are whole groups of activations, without stored zeros.
template <class V, Format format>
struct IntegerStream {
  using F = typename V::F;
  using I = typename V::I;
  static constexpr std::size_t group_cols = pack_cols;
  static constexpr std::size_t group_lanes = group_cols * value_bits(format) / 32;  // that hold its codes
  static constexpr std::size_t chunk_groups = V::lanes / group_lanes;
  static constexpr std::size_t chunk = chunk_groups * group_cols;
  static constexpr std::size_t value_size = V::template activation_bytes<format>;
  static constexpr std::size_t group_bytes = group_cols * value_size;
  static constexpr std::size_t sums = V::stream_sums;
  // Groups whose factors fill a vector.
  static constexpr std::size_t panel = V::lanes;

  // A slot: a scale a group, what the sums of each lane begin with, values. Groups are padded to whole
  // panels, with zeros.
  static std::size_t groups(std::size_t cols) {
    return round_up((cols + group_cols - 1) / group_cols, panel);
  }
  static std::size_t slot_bytes(std::size_t cols) {
    return round_up(groups(cols) * (sizeof(float) + group_lanes * sizeof(std::int32_t) + group_bytes),
                    pack_align);
  }
  struct Slot {
    Slot() = default;
    Slot(std::byte* slot, std::size_t count)
        : scales(reinterpret_cast<float*>(slot)),
          begin(slot + count * sizeof(float)),
          values(begin + count * group_lanes * sizeof(std::int32_t)) {}
    float* scales = nullptr;
    std::byte* begin = nullptr;   // int32 [groups, group_lanes]: -offset * sum of the lane's activations
    std::byte* values = nullptr;  // [groups / chunk_groups, parts, chunk_groups, values of a part of a group]
  };

  static void pack(const PackArgs& a) {
    const std::size_t count = groups(a.cols);
    const std::size_t end = a.col_end == a.cols ? count * group_cols : a.col_end;
    for (std::size_t t = 0; t < a.tokens; ++t) {
      const float* x = row_to_pack(a, t);
      const Slot slot(a.packed + t * slot_bytes(a.cols), count);
      for (std::size_t c = a.col_begin; c < end; c += group_cols) {
        float group[pack_cols];
        const float* from = whole_group(x + (c - a.col_begin), c, a.col_end, group);
        const std::size_t g = c / group_cols;
        slot.scales[g] = pack_integers<format, value_size, V::lanes>(
            from, slot.begin + g * group_lanes * sizeof(std::int32_t), slot.values, g);
      }
    }
  }
  static constexpr Packing packing = {.slot_tokens = 1, .slot_bytes = slot_bytes, .pack = pack};

  static bool fits(const Matrix& m) { return has_whole_groups(m); }

  template <std::size_t R, std::size_t T>
  static void multiply(const MatmulArgs& a, RowSet rows, std::size_t first_token) {
    const Matrix& m = *a.matrix;
    const std::size_t count = groups(m.cols);
    Row<V, format> row[R];
    Slot x[T];
    F sum[R * T];
    unrolled<R>([&](auto r) { row[r] = Row<V, format>(m, rows.first + r * rows.step); });
    unrolled<T>([&](auto t) {
      x[t] = Slot(const_cast<std::byte*>(slot_of(a, first_token + t, slot_bytes(m.cols))), count);
    });
    unrolled<R * T>([&](auto i) { sum[i] = V::set1(0); });
    alignas(64) float factors[R * T * panel];
    alignas(64) std::int32_t index[panel];
    const auto add = [&](std::size_t c, std::size_t g, const auto& load) __attribute__((always_inline)) {
      unrolled<R>([&](auto r) {
        I codes[2];
        V::template split<format>(load(row[r].at(c)), codes);
        unrolled<T>([&](auto t) {
          const I begin = V::codes(x[t].begin + c * group_lanes * sizeof(std::int32_t) / group_cols);
          const I dot = V::template dot<format>(codes, x[t].values + c * value_size, begin);
          const F factor = V::template spread<format>(factors + (r * T + t) * panel + g);
          sum[r * T + t] = V::fma(V::to_float(dot), factor, sum[r * T + t]);
        });
      });
    };
    const std::size_t whole = m.cols / chunk * chunk;
    for (std::size_t c = 0; c < m.cols;) {
      panel_factors<R, T>(m, row, x, c / group_cols, index, factors);
      const std::size_t begin = c;
      const std::size_t end = smaller(c + panel * group_cols, whole);
      for (; c < end; c += chunk) {
        prefetch_stream<R>(row, value_bytes(format, c));
        add(c, (c - begin) / group_cols, [](const std::byte* at) { return V::codes(at); });
      }
      if (c == whole && c < begin + panel * group_cols && c < m.cols) {
        const std::size_t rest = value_bytes(format, m.cols - c);
        add(c, (c - begin) / group_cols, [&](const std::byte* at) { return V::codes(at, rest); });
        c = m.cols;
      }
    }
    store_sums<V, R, T>(a, rows, first_token, sum);
  }

 private:
  // factors[r][t] = scale of the weights * scale of the activations for a panel of groups from g on.
  template <std::size_t R, std::size_t T>
  [[gnu::always_inline]] static void panel_factors(const Matrix& m, const Row<V, format>* row, const Slot* x,
                                                   std::size_t g, std::int32_t* index, float* factors) {
    // Groups that share a scale.
    const std::size_t each = m.scales && m.block_cols < m.cols ? m.block_cols / group_cols : m.cols;
    if (each > 1) seek(g, each, index);
    for_scales<V, R>(
        m, row, each == 1 ? g : g / each, [&](auto r, F scales) __attribute__((always_inline)) {
          if (each > 1) scales = V::pick(scales, index);
          unrolled<T>([&](auto t) {
            V::store(factors + (r * T + t) * panel, V::mul(scales, V::load(x[t].scales + g)));
          });
        });
  }

  // index[i] = the scale of group g + i, counted from that of g, where `each` groups share one. Mostly the
  // same for every panel.
  static void seek(std::size_t g, std::size_t each, std::int32_t* index) {
    if (g != 0 && (panel % each == 0 || each % panel == 0)) return;
    std::size_t within = g % each;
    std::int32_t at = 0;
    for (std::size_t i = 0; i < panel; ++i) {
      index[i] = at;
      if (++within == each) within = 0, ++at;
    }
  }
};

// The kernel for how a matrix is stored; null where simd/matmul.h is the one.
template <class Stream>
const Matmul* stream_if_fits(const Matrix& m) {
  static constexpr Matmul kernel = {&Stream::packing, stream<Stream>};
  return Stream::fits(m) ? &kernel : nullptr;
}

template <class V>
const Matmul* stream_scaled(const Matrix& m) {
  if constexpr (V::streams_fp8) {
    if (m.format == Format::fp8_e4m3) return stream_if_fits<FloatStream<V, Format::fp8_e4m3>>(m);
  }
  if (m.format == Format::int8) return stream_if_fits<IntegerStream<V, Format::int8>>(m);
  if (m.format == Format::int4) return stream_if_fits<IntegerStream<V, Format::int4>>(m);
  if (m.format == Format::mxfp4) return stream_if_fits<IntegerStream<V, Format::mxfp4>>(m);
  return nullptr;
}

template <class V>
const Matmul* stream_kernel(const Matrix& m) {
  if (m.format == Format::bf16) return stream_if_fits<FloatStream<V, Format::bf16>>(m);
  return stream_scaled<V>(m);
}

}  // namespace
}  // namespace baleen::kernels
