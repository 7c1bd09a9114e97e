// NEON with SMMLA, which adds eight products of 8-bit integers to each sum of a 2x2 tile: the batch path of
// int8, int4 and mxfp4 weights, with activations rounded to int8 by groups of 32 as the stream path rounds
// them. SMMLA makes twice the products of a BFMMLA, but for every four of it a group's sum has to be scaled,
// by three instructions: 18 products for each of its vector instructions instead of 16 (g++ 12, neither
// measured). More is won where rows are made ready, 0.7 instructions for an int4 weight instead of 7 or 8: in
// an expert only a few of a prompt's tokens share them.
#include <arm_neon.h>

#include "kernels/simd/neon_groups.h"
#include "kernels/simd/neon_tiles.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t tile_cols = 8;  // columns that one instruction multiplies
constexpr std::size_t group_tiles = group_width / tile_cols;
constexpr std::size_t row_pairs = 2;   // whose codes of a group stay in registers
constexpr std::size_t slot_pairs = 4;  // of tokens, whose sums stay there with them
// Groups worked on while they are in the first-level cache.
constexpr std::size_t panel_groups = 32;

// A group of two rows or tokens: values interleaved by tile_cols columns, and scales as a tile has them.
struct PairGroup {
  std::int8_t values[pair * group_width];
  float scales[pair * pair];
};

constexpr std::size_t group_count(std::size_t cols) {
  return (cols + group_width - 1) / group_width;
}

std::size_t slot_bytes(std::size_t cols) {
  return (group_count(cols) * sizeof(PairGroup) + pack_align - 1) / pack_align * pack_align;
}

void pack(const PackArgs& a) {
  static constexpr float zeros[group_width] = {};
  for (std::size_t t = 0; t < (a.tokens + pair - 1) / pair * pair; ++t) {
    auto* groups = reinterpret_cast<PairGroup*>(a.packed + t / pair * slot_bytes(a.cols));
    const std::size_t which = t % pair;
    const float* x = t < a.tokens ? row_to_pack(a, t) : nullptr;
    for (std::size_t c = a.col_begin; c < a.col_end; c += group_width) {
      PairGroup& group = groups[c / group_width];
      float copy[group_width];
      const float* from = x ? whole_group(x + (c - a.col_begin), c, a.col_end, copy) : zeros;
      float scale;
      round_group<pair * tile_cols>(from, group.values + which * tile_cols, &scale);
      group.scales[pair * which] = group.scales[pair * which + 1] = scale;
    }
  }
}

constexpr Packing pair_packing = {.slot_tokens = pair, .slot_bytes = slot_bytes, .pack = pack};

// The codes of a group in the order of columns; bytes behind `bytes` of them are not read.
template <Format format>
[[gnu::always_inline]] inline void load_ordered(const std::byte* from, std::size_t bytes, int8x16_t w[2]) {
  constexpr std::size_t group_bytes = value_bytes(format, group_width);
  std::uint8_t copy[group_bytes] = {};
  if (bytes < group_bytes) std::memcpy(copy, from, bytes);
  load_codes<format>(bytes < group_bytes ? copy : reinterpret_cast<const std::uint8_t*>(from), w);
  if constexpr (format != Format::int8) {
    const int8x16_t even = w[0];
    w[0] = vzip1q_s8(even, w[1]);
    w[1] = vzip2q_s8(even, w[1]);
  }
}

// Rows of a matrix as pairs in scratch.
template <Format format>
void prepare_rows(const Matrix& m, const std::size_t (&row)[pair], const float* const (&scales)[pair],
                  PairGroup* groups) {
  // Groups of 32 columns that share a scale.
  const std::size_t width =
      !m.scales || m.block_cols >= m.cols ? group_count(m.cols) : m.block_cols / group_width;
  constexpr std::size_t group_bytes = value_bytes(format, group_width);
  const std::size_t row_bytes = value_bytes(format, m.cols);
  const std::byte* values[pair] = {m.values + row[0] * m.row_bytes, m.values + row[1] * m.row_bytes};
  for (std::size_t g = 0, s = 0, past = 0; g < group_count(m.cols); ++g) {
    int8x16_t w[pair][2];
    unrolled<pair>([&](auto r) {
      __builtin_prefetch(values[r] + g * group_bytes + prefetch_bytes);
      load_ordered<format>(values[r] + g * group_bytes, smaller(group_bytes, row_bytes - g * group_bytes),
                           w[r]);
    });
    unrolled<2>([&](auto i) {
      const int64x2_t first = vreinterpretq_s64_s8(w[0][i]);
      const int64x2_t second = vreinterpretq_s64_s8(w[1][i]);
      std::int8_t* out = groups[g].values + i * 2 * pair * tile_cols;
      vst1q_s8(out, vreinterpretq_s8_s64(vzip1q_s64(first, second)));
      vst1q_s8(out + pair * tile_cols, vreinterpretq_s8_s64(vzip2q_s64(first, second)));
    });
    unrolled<pair>([&](auto r) { groups[g].scales[r] = groups[g].scales[pair + r] = scales[r][s]; });
    if (++past == width) {
      past = 0;
      ++s;
    }
  }
}

// Adds the products of `count` groups of row_pairs pairs of rows and T pairs of tokens to [T, row_pairs]
// tiles. A pair's groups lie `row_stride` groups, or `slot_stride` bytes, behind those of the one before.
template <Format format, std::size_t T>
void add_groups(const PairGroup* rows, std::size_t row_stride, const std::byte* slots,
                std::size_t slot_stride, std::size_t count, float32x4_t* tiles) {
  float32x4_t sum[T * row_pairs];
  const PairGroup* tokens[T];
  unrolled<T * row_pairs>([&](auto i) { sum[i] = tiles[i]; });
  unrolled<T>([&](auto t) { tokens[t] = reinterpret_cast<const PairGroup*>(slots + t * slot_stride); });
  for (std::size_t g = 0; g < count; ++g) {
    int8x16_t w[row_pairs * group_tiles];
    float32x4_t scales[row_pairs];
    unrolled<row_pairs>([&](auto r) {
      const PairGroup& group = rows[r * row_stride + g];
      unrolled<group_tiles>(
          [&](auto i) { w[r * group_tiles + i] = vld1q_s8(group.values + i * pair * tile_cols); });
      scales[r] = vld1q_f32(group.scales);
    });
    unrolled<T>([&](auto t) {
      const PairGroup& group = tokens[t][g];
      int8x16_t x[group_tiles];
      unrolled<group_tiles>([&](auto i) { x[i] = vld1q_s8(group.values + i * pair * tile_cols); });
      unrolled<row_pairs>([&](auto r) {
        int32x4_t dots = vdupq_n_s32(0);
        unrolled<group_tiles>([&](auto i) { dots = vmmlaq_s32(dots, x[i], w[r * group_tiles + i]); });
        float32x4_t& s = sum[t * row_pairs + r];
        s = add_scaled<format>(s, dots, scales[r], vld1q_f32(group.scales));
      });
    });
  }
  unrolled<T * row_pairs>([&](auto i) { tiles[i] = sum[i]; });
}

// The same for 1 to T pairs of tokens.
template <Format format, std::size_t T = slot_pairs>
void add_groups(std::size_t token_pairs, const PairGroup* rows, std::size_t row_stride,
                const std::byte* slots, std::size_t slot_stride, std::size_t count, float32x4_t* tiles) {
  if (token_pairs == T) {
    add_groups<format, T>(rows, row_stride, slots, slot_stride, count, tiles);
  } else if constexpr (T > 1) {
    add_groups<format, T - 1>(token_pairs, rows, row_stride, slots, slot_stride, count, tiles);
  }
}

template <Format format>
void matmul(const MatmulArgs& a) {
  constexpr std::size_t block = pair * row_pairs;
  static_assert(scratch_rows % block == 0);
  const Matrix& m = *a.matrix;
  const std::size_t groups = group_count(m.cols);
  auto* rows = reinterpret_cast<PairGroup*>(aligned(a.scratch));  // [scratch_rows / pair, groups]
  auto* scales = reinterpret_cast<float*>(rows + scratch_rows / pair * groups);
  const std::size_t stride = m.scales ? m.scale_cols : 1;
  for (std::size_t row = a.row_begin; row < a.row_end; row += scratch_rows) {
    const std::size_t count = smaller(scratch_rows, a.row_end - row);
    widen_scales(m, row, count, scales);
    for (std::size_t r = 0; r < count; r += block) {
      for (std::size_t i = r; i < r + block;
           i += pair) {  // the last row stands in for those that are missing
        const std::size_t two[pair] = {smaller(i, count - 1), smaller(i + 1, count - 1)};
        prepare_rows<format>(m, {row + two[0], row + two[1]},
                             {scales + two[0] * stride, scales + two[1] * stride}, rows + i / pair * groups);
      }
    }
    for (std::size_t t = 0; t < a.tokens; t += pair * slot_pairs) {
      const std::size_t tokens = smaller(pair * slot_pairs, a.tokens - t);
      const std::byte* slots = a.packed + t / pair * slot_bytes(m.cols);
      float32x4_t tiles[scratch_rows / block][slot_pairs * row_pairs] = {};
      for (std::size_t g = 0; g < groups; g += panel_groups) {
        for (std::size_t r = 0; r < count; r += block) {
          add_groups<format>((tokens + pair - 1) / pair, rows + r / pair * groups + g, groups,
                             slots + g * sizeof(PairGroup), slot_bytes(m.cols),
                             smaller(panel_groups, groups - g), tiles[r / block]);
        }
      }
      for (std::size_t r = 0; r < count; r += block) {
        store_tiles<row_pairs>(tiles[r / block], tokens, smaller(block, count - r),
                               a.out + t * a.out_stride + row + r - a.row_begin, a.out_stride);
      }
    }
  }
}

const Matmul& choose_matmul(Path path, const Matrix& m) {
  static constexpr Matmul int8 = {&pair_packing, matmul<Format::int8>};
  static constexpr Matmul int4 = {&pair_packing, matmul<Format::int4>};
  static constexpr Matmul mxfp4 = {&pair_packing, matmul<Format::mxfp4>};
  if (path != Path::batch || !has_integer_groups(m)) return neon_bf16_kernels().matmul(path, m);
  if (m.format == Format::mxfp4) return mxfp4;
  return m.format == Format::int8 ? int8 : int4;
}

}  // namespace

const Kernels& neon_i8mm_kernels() {
  static const Kernels table = [] {
    Kernels kernels = neon_bf16_kernels();
    kernels.matmul = choose_matmul;
    return kernels;
  }();
  return table;
}

}  // namespace baleen::kernels
