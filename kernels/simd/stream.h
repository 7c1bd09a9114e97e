// Products for tokens that come alone or nearly so: one pass over the stored bytes, at the speed of memory.
// What a core can do while the next 64 bytes arrive is some fourteen vector instructions, so they are spent
// on the weights: activations are packed once in the order in which the codes of a vector come apart.
//   bf16, fp8   float32 activations; a vector of codes is widened by shifts and masks, even columns and odd
//               ones apart
//   int8, int4  activations rounded to integers by groups of 32 columns, each with its own float32 scale, and
//               integer dot products: a lane of 32 bits sums the columns whose codes lie in it. Scales stay
//               exact: scale of the weights * scale of the activations * integer, summed in float32
//   mxfp4       as int4: twice an e2m1 value is an integer, looked up
// Each has a kernel for many tokens beside it, in simd/float_batch.h and simd/integer_batch.h. What is left
// over is multiplied by the kernels of simd/matmul.h.
//
// Beyond rows.h, a V has
//   V::I                           a vector of integers, as wide as F
//   V::codes                       loads one, also just a number of bytes with zeros behind them
//   V::stream_sums                 sums that fit the registers beside a pass's other vectors
//   V::widen<format>, put<format>  a vector of codes as float32; 16 columns of activations in that order
//   V::note, any_nan               what has to be known of fp8 codes; whether a NaN was among them
//   V::stream_tokens               tokens that share a pass where activations take little room or widening
//                                  much time
//   V::deal                        transposes four vectors of codes: lane i of 16 bytes of the k-th becomes
//                                  lane k of the same 16 bytes of the i-th
//   V::split<format>, dot<format>  a vector of codes by its parts; products of V::dot_parts<format> of them
//                                  with packed activations, added to a vector of int32
//   V::activation_bytes<format>    1 or 2: what dot multiplies integer codes with
//   V::numbers<format>, pick       scales as float32; a permutation
// A token's sums are formed lane by lane in ascending columns, whatever else the call covers.
#pragma once

#include "kernels/simd/pack.h"
#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

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
void stream_block(const MatmulArgs& a, RowSet rows, std::size_t token, typename Dot::Layout& layout) {
  if constexpr (R > 1 && R * T > Dot::sums) {
    stream_block<Dot, R / 2, T>(a, rows, token, layout);
    stream_block<Dot, R / 2, T>(a, {rows.first + R / 2 * rows.step, rows.step}, token, layout);
  } else {
    Dot::template multiply<R, T>(a, rows, token, layout);
  }
}

// R rows and all tokens from `token` on, T at a time, what is left together.
template <class Dot, std::size_t R, std::size_t T = Dot::tokens>
void stream_all(const MatmulArgs& a, RowSet rows, std::size_t token, typename Dot::Layout& layout) {
  for (; token + T <= a.tokens; token += T) stream_block<Dot, R, T>(a, rows, token, layout);
  if constexpr (T > 1) {
    if (token < a.tokens) stream_all<Dot, R, T - 1>(a, rows, token, layout);
  }
}

// The rows are read as stream_rows long streams, each a share of them in order: what the processor prefetches
// by itself it prefetches along a page, and several pages at a time. Measured, two threads reading 128 KiB at
// a time: one stream 72 %, two 84 %, four 94 %, eight 98 % of the fastest.
template <class Dot>
void stream(const MatmulArgs& a) {
  const std::size_t share = (a.row_end - a.row_begin) / stream_rows;
  typename Dot::Layout layout(*a.matrix);
  for (std::size_t i = 0; i < share; ++i) {
    stream_all<Dot, stream_rows>(a, {a.row_begin + i, share}, 0, layout);
  }
  for (std::size_t row = a.row_begin + share * stream_rows; row < a.row_end; ++row) {
    stream_all<Dot, 1, smaller(4, Dot::tokens)>(a, {row, 0}, 0, layout);  // too few to be worth more code
  }
}

// Sums are taken four at a time, which is cheaper than one by one.
template <class V, std::size_t R, std::size_t T>
[[gnu::always_inline]] inline void store_sums(const MatmulArgs& a, RowSet rows, std::size_t token,
                                              const typename V::F* sum) {
  float* out = a.out + token * a.out_stride + rows.first - a.row_begin;
  const auto at = [&](std::size_t i) { return out + i % T * a.out_stride + i / T * rows.step; };
  constexpr std::size_t fours = R * T / 4;
  unrolled<fours>([&](auto f) {
    constexpr std::size_t i = 4 * f;
    float four[4];
    V::sum4(sum[i], sum[i + 1], sum[i + 2], sum[i + 3], four);
    unrolled<4>([&](auto j) { *at(i + j) = four[j]; });
  });
  unrolled<R * T - 4 * fours>([&](auto j) { *at(4 * fours + j) = V::sum(sum[4 * fours + j]); });
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

// bf16, and fp8 in blocks of whole vectors of codes. On the stream path a block's scale multiplies the sum of
// its products, which is the least for one token; on the batch path its weights, which many tokens share:
// their sums by block would take an eighth more multiply-adds and all registers (prompts of 512 tokens were
// 20 % slower).
template <class V, Format format, Path path>
struct FloatStream {
  using F = typename V::F;
  static constexpr bool scaled = format == Format::fp8_e4m3;
  static constexpr bool scaled_sums = scaled && path == Path::stream;
  static constexpr std::size_t vectors = 32 / value_bits(format);  // that a vector of codes widens to
  static constexpr std::size_t chunk = vectors * V::lanes;
  static constexpr std::size_t sums = V::stream_sums;
  // bf16: the float32 activations of more tokens would push each other out of the first-level cache.
  static constexpr std::size_t tokens = scaled ? V::stream_tokens : 4;
  struct Layout {  // nothing to find out
    explicit Layout(const Matrix&) {}
  };

  // Tokens' rows a multiple of 2 KiB apart would crowd into few sets of the first-level cache, beside the
  // weights that meet them there. (13 lines more were worth 3 % of a prompt's products at 2048 columns.)
  static std::size_t slot_bytes(std::size_t cols) {
    const std::size_t bytes = round_up(round_up(cols, chunk) * sizeof(float), pack_align);
    return bytes % 2048 == 0 ? bytes + 13 * pack_align : bytes;
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

  // Scales of R rows' blocks [g, g + V::lanes), if g is a multiple of that: scales[r * V::lanes + g %
  // V::lanes], with the power of two that widening leaves out.
  template <std::size_t R>
  [[gnu::always_inline]] static void load_scales(const Matrix& m, const Row<V, format>* row, std::size_t g,
                                                 float* scales) {
    if (!scaled || g % V::lanes != 0) return;
    for_scales<V, R>(m, row, g, [&](auto r, F v) {
      V::store(scales + r * V::lanes, V::mul(v, V::set1(scale_factor(format))));
    });
  }

  // A vector of codes as float32, times the scale if weights are to be scaled.
  [[gnu::always_inline]] static void widen(typename V::I codes, F scale, typename V::I& seen, F* out) {
    if constexpr (scaled) V::note(codes, seen);
    V::template widen<format>(codes, out);
    if constexpr (scaled && !scaled_sums) {
      unrolled<vectors>([&](auto i) { out[i] = V::mul(out[i], scale); });
    }
  }
  // Whether NaN was among the codes seen; widening does not make it.
  static bool is_nan(typename V::I seen) {
    if constexpr (scaled) return V::any_nan(seen);
    return false;
  }

  template <std::size_t R, std::size_t T>
  static void multiply(const MatmulArgs& a, RowSet rows, std::size_t first_token, const Layout&) {
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
      load_scales<R>(m, row, g, scales);
      F scale[R], part[R * T];
      unrolled<R>(
          [&](auto r) { scale[r] = scaled ? V::set1(scales[r * V::lanes + g % V::lanes]) : V::set1(1); });
      unrolled<R * T>([&](auto i) { part[i] = scaled_sums ? V::set1(0) : sum[i]; });
      const std::size_t block_end = m.cols - c > block ? c + block : m.cols;
      for (; c < smaller(block_end, whole); c += chunk) {
        prefetch_stream<R>(row, value_bytes(format, c));
        add<R, T>([&](auto r) { return V::codes(row[r].at(c)); }, x, c, scale, part, seen);
      }
      if (c < block_end) {
        const std::size_t rest = value_bytes(format, m.cols - c);
        add<R, T>([&](auto r) { return V::codes(row[r].at(c), rest); }, x, c, scale, part, seen);
        c = m.cols;
      }
      unrolled<R * T>(
          [&](auto i) { sum[i] = scaled_sums ? V::fma(part[i], scale[i / T], sum[i]) : part[i]; });
    }
    unrolled<R * T>([&](auto i) {
      if (is_nan(seen[i / T])) sum[i] = V::set1(__builtin_nanf(""));
    });
    store_sums<V, R, T>(a, rows, first_token, sum);
  }

 private:
  // Adds the products of the vectors of codes that load(row) gives, from column c on.
  template <std::size_t R, std::size_t T, class Load>
  [[gnu::always_inline]] static void add(const Load& load, const float* const* x, std::size_t c,
                                         const F* scale, F* sum, typename V::I* seen) {
    F w[R * vectors];
    unrolled<R>([&](auto r) { widen(load(r), scale[r], seen[r], w + r * vectors); });
    unrolled<vectors * T>([&](auto i) {
      constexpr std::size_t vector = i / T, t = i % T;
      const F activations = V::load(x[t] + c + vector * V::lanes);
      unrolled<R>([&](auto r) {
        F& s = sum[r * T + t];
        s = V::fma(w[r * vectors + vector], activations, s);
      });
    });
  }
};

// int8, int4 and mxfp4 whose groups are whole groups of activations, without stored zeros.
//
// A row is read by panels of four vectors, whose lanes of 32 bits are dealt out anew: V::deal brings what a
// group's codes are to one lane of each of the four, and to two for int8. So a group's products add up in its
// lane, are made float32 once, and meet one vector of scales: what a token costs is hardly more than the dot
// products themselves.
template <class V, Format format>
struct IntegerStream {
  using F = typename V::F;
  using I = typename V::I;
  static constexpr std::size_t group_cols = pack_cols;
  static constexpr std::size_t group_lanes = group_cols * value_bits(format) / 128;  // after dealing
  static constexpr std::size_t chunk = V::lanes * 32 / value_bits(format);           // columns of a vector
  static constexpr std::size_t chunk_groups = chunk / group_cols;
  static constexpr std::size_t panel_vectors = 4;
  static constexpr std::size_t panel_groups = panel_vectors * chunk_groups;
  static constexpr std::size_t panel_cols = panel_vectors * chunk;
  static constexpr std::size_t parts = chunk * V::template activation_bytes<format> / sizeof(I);
  static constexpr std::size_t dot_parts = V::template dot_parts<format>;
  // Half of them in memory, where they cost little: they are needed once a panel.
  static constexpr std::size_t sums = 2 * V::stream_sums;
  static constexpr std::size_t tokens = V::stream_tokens;

  // Activations of a panel, in the order of lanes: each lane's scale, what its sum begins with, and what its
  // codes are multiplied with. A slot is a row of them, padded with zeros.
  struct Panel {
    float scales[V::lanes];
    std::int32_t begin[V::lanes];  // -offset * sum of the lane's activations
    std::int32_t values[panel_vectors][parts][V::lanes];
  };

  static std::size_t panels(std::size_t cols) { return (cols + panel_cols - 1) / panel_cols; }
  static std::size_t slot_bytes(std::size_t cols) {
    return round_up(panels(cols) * sizeof(Panel), pack_align);
  }

  // The group of a panel that a lane is for: V::deal brings 16 bytes at the same place in four vectors to
  // four neighbouring lanes.
  static constexpr std::size_t group_of(std::size_t lane) {
    return lane % panel_vectors * chunk_groups + lane / panel_vectors / group_lanes;
  }
  static constexpr std::size_t lane_of(std::size_t group, std::size_t part_of_group) {
    return (group % chunk_groups * group_lanes + part_of_group) * panel_vectors + group / chunk_groups;
  }

  static void pack(const PackArgs& a) {
    const std::size_t end = a.col_end == a.cols ? panels(a.cols) * panel_cols : a.col_end;
    for (std::size_t t = 0; t < a.tokens; ++t) {
      const float* x = row_to_pack(a, t);
      auto* slot = reinterpret_cast<Panel*>(a.packed + t * slot_bytes(a.cols));
      for (std::size_t c = a.col_begin; c < end; c += group_cols) {
        float copy[pack_cols];
        const float* from = whole_group(x + (c - a.col_begin), c, a.col_end, copy);
        put_group(from, slot[c / panel_cols], c % panel_cols / group_cols);
      }
    }
  }
  static constexpr Packing packing = {.slot_tokens = 1, .slot_bytes = slot_bytes, .pack = pack};

  static bool fits(const Matrix& m) { return has_whole_groups(m); }

  // Which of a row's scales the lanes of a panel take: found once for all rows.
  struct Layout {
    explicit Layout(const Matrix& m)
        : each(m.scales && m.block_cols < m.cols ? m.block_cols / group_cols : m.cols),
          steady(panel_groups % each == 0 || each % panel_groups == 0) {
      seek(0);
    }

    // For the panel of groups from g on: the scale that they are counted from.
    std::size_t first_scale(std::size_t g) {
      if (!steady) seek(g);
      return each == 1 ? g : g / each;
    }

    void seek(std::size_t g) {
      for (std::size_t lane = 0; lane < V::lanes; ++lane)
        scale_of[lane] = static_cast<std::int32_t>((g % each + group_of(lane)) / each);
    }

    alignas(64) std::int32_t scale_of[V::lanes];
    std::size_t each;  // groups that share a scale
    bool steady;       // the same for every panel
  };

  template <std::size_t R, std::size_t T>
  static void multiply(const MatmulArgs& a, RowSet rows, std::size_t first_token, Layout& layout) {
    const Matrix& m = *a.matrix;
    Row<V, format> row[R];
    const Panel* x[T];
    F sum[R * T];
    unrolled<R>([&](auto r) { row[r] = Row<V, format>(m, rows.first + r * rows.step); });
    unrolled<T>([&](auto t) {
      x[t] = reinterpret_cast<const Panel*>(slot_of(a, first_token + t, slot_bytes(m.cols)));
    });
    unrolled<R * T>([&](auto i) { sum[i] = V::set1(0); });
    alignas(64) float scales[R * V::lanes];
    alignas(64) std::byte rest[R * panel_vectors * sizeof(I)];
    for (std::size_t c = 0; c < m.cols; c += panel_cols) {
      for_scales<V, R>(
          m, row, layout.first_scale(c / group_cols), [&](auto r, F v) __attribute__((always_inline)) {
            V::store(scales + r * V::lanes, V::pick(v, layout.scale_of));
          });
      const std::byte* codes[R];
      unrolled<R>([&](auto r) { codes[r] = row[r].at(c); });
      if (c + panel_cols > m.cols) {
        unrolled<R>([&](auto r) {
          codes[r] = whole_panel(m, codes[r], m.cols - c, rest + r * panel_vectors * sizeof(I));
        });
      }
      // Rows side by side, until their sums are enough to hide how long a dot product takes.
      constexpr std::size_t B = T < R ? R / T : 1;
      unrolled<R / B>([&](auto block) __attribute__((always_inline)) {
        constexpr std::size_t first = block * B;
        I w[B][panel_vectors];
        I dot[B * T];
        unrolled<B>([&](auto r) __attribute__((always_inline)) {
          unrolled<panel_vectors>([&](auto i) {
            __builtin_prefetch(row[first + r].at(c) + i * sizeof(I) + stream_prefetch);
            w[r][i] = V::codes(codes[first + r] + i * sizeof(I));
          });
          V::deal(w[r]);
          unrolled<T>(
              [&](auto t) { dot[r * T + t] = V::codes(reinterpret_cast<const std::byte*>(x[t]->begin)); });
        });
        unrolled<panel_vectors>([&](auto i) __attribute__((always_inline)) {
          unrolled<B>([&](auto r) __attribute__((always_inline)) {
            I parted[2];
            V::template split<format>(w[r][i], parted);
            unrolled<T>([&](auto t) {
              unrolled<parts / dot_parts>([&](auto d) {
                constexpr std::size_t p = d * dot_parts;
                const auto* values = reinterpret_cast<const std::byte*>(x[t]->values[i][p]);
                dot[r * T + t] = V::template dot<format>(parted + p, values, dot[r * T + t]);
              });
            });
          });
        });
        unrolled<B>([&](auto r) __attribute__((always_inline)) {
          const F scale = V::load(scales + (first + r) * V::lanes);
          unrolled<T>([&](auto t) {
            const F factor = V::mul(scale, V::load(x[t]->scales));
            F& s = sum[(first + r) * T + t];
            s = V::fma(V::to_float(dot[r * T + t]), factor, s);
          });
        });
      });
      unrolled<T>([&](auto t) { ++x[t]; });
    }
    store_sums<V, R, T>(a, rows, first_token, sum);
  }

  // Where a panel can be read that ends beyond its row: in place, since the next row's codes are multiplied
  // with zeros, but for what would be beyond the matrix: a copy.
  static const std::byte* whole_panel(const Matrix& m, const std::byte* codes, std::size_t cols,
                                      std::byte* copy) {
    constexpr std::size_t panel_bytes = panel_vectors * sizeof(I);
    const std::byte* end = m.values + (m.rows - 1) * m.row_bytes + value_bytes(format, m.cols);
    if (codes + panel_bytes <= end) return codes;
    const std::size_t bytes = value_bytes(format, cols);
    for (std::size_t at = 0; at < panel_bytes; at += sizeof(I)) {
      I vector = {};
      if (at < bytes) vector = V::codes(codes + at, smaller(bytes - at, sizeof(I)));
      std::memcpy(copy + at, &vector, sizeof(I));
    }
    return copy;
  }

 private:
  static void put_group(const float* x, Panel& panel, std::size_t group) {
    std::int32_t begin[group_lanes];
    std::int32_t words[parts][group_lanes][panel_vectors];
    const float scale = pack_integers<format, V::template activation_bytes<format>>(x, begin, words);
    for (std::size_t p = 0; p < group_lanes; ++p) {
      const std::size_t lane = lane_of(group, p);
      panel.scales[lane] = scale;
      panel.begin[lane] = begin[p];
      for (std::size_t i = 0; i < panel_vectors; ++i)
        for (std::size_t part = 0; part < parts; ++part) panel.values[i][part][lane] = words[part][p][i];
    }
  }
};

}  // namespace
}  // namespace baleen::kernels
