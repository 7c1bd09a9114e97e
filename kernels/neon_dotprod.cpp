// NEON with SDOT, four products of 8-bit integers a lane: the stream path of int8, int4 and mxfp4 weights,
// with activations rounded to int8 by groups of 32. The integer sums are exact, so their order is free;
// i8mm's SMMLA would give the same sums, and save instructions where memory is what the path waits for.
#include <arm_neon.h>

#include "kernels/simd/neon_groups.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t block_groups = 4;  // a lane of a float32 vector each
constexpr std::size_t block_width = block_groups * group_width;
constexpr std::size_t max_tokens = 4;  // that share the loads of a row
constexpr std::size_t row_block = 4;   // that share the loads of a single token

// A piece of a packed token, as round_group leaves it. The last one is filled up with zeros.
struct Block {
  std::int8_t values[block_width];
  float scales[block_groups];
};

constexpr std::size_t block_count(std::size_t cols) {
  return (cols + block_width - 1) / block_width;
}

std::size_t slot_bytes(std::size_t cols) {
  return (block_count(cols) * sizeof(Block) + pack_align - 1) / pack_align * pack_align;
}

void pack(const PackArgs& a) {
  const std::size_t first = a.col_begin / group_width;
  const std::size_t last = (a.col_end + group_width - 1) / group_width;
  const std::size_t filled = a.col_end == a.cols ? block_count(a.cols) * block_groups : last;
  for (std::size_t t = 0; t < a.tokens; ++t) {
    const float* x = row_to_pack(a, t);
    Block* blocks = reinterpret_cast<Block*>(a.packed + t * slot_bytes(a.cols));
    for (std::size_t g = first; g < filled; ++g) {
      Block& block = blocks[g / block_groups];
      std::int8_t* values = block.values + g % block_groups * group_width;
      float* scale = block.scales + g % block_groups;
      const std::size_t begin = g * group_width;
      float copy[group_width];
      round_group<8>(whole_group(x + (begin - a.col_begin), begin, a.col_end, copy), values, scale);
    }
  }
}

constexpr Packing int8_packing = {.slot_tokens = 1, .slot_bytes = slot_bytes, .pack = pack};

const Block* blocks_of(const MatmulArgs& a, std::size_t token) {
  return reinterpret_cast<const Block*>(slot_of(a, token, slot_bytes(a.matrix->cols)));
}

// The scales of a block's groups, out of a row of them. A matrix's group is one of 32 columns, several, or
// the whole row.
struct ScaleIndex {
  std::size_t width;  // groups of 32 columns that share a scale

  explicit ScaleIndex(const Matrix& m)
      : width(!m.scales || m.block_cols >= m.cols ? block_count(m.cols) * block_groups
                                                  : m.block_cols / group_width) {}

  float32x4_t of_block(const float* scales, std::size_t block) const {
    const std::size_t group = block * block_groups;
    if (width == 1) return vld1q_f32(scales + group);
    const float* from = scales + group / width;
    const std::size_t past = group % width;
    if (past + block_groups <= width) return vld1q_dup_f32(from);
    const float four[block_groups] = {from[0], from[(past + 1) / width], from[(past + 2) / width],
                                      from[(past + 3) / width]};
    return vld1q_f32(four);
  }
};

template <Format format>
[[gnu::always_inline]] inline void load_activations(const std::int8_t* from, int8x16_t x[2]) {
  if constexpr (format == Format::int8) {
    unrolled<2>([&](auto i) { x[i] = vld1q_s8(from + 16 * i); });
  } else {
    const int8x16x2_t pairs = vld2q_s8(from);
    x[0] = pairs.val[0];
    x[1] = pairs.val[1];
  }
}

// sum[r][t] += a block's products: lane g is group g's integer sum times both scales.
template <Format format, std::size_t R, std::size_t T>
[[gnu::always_inline]] inline void add_block(const std::byte* const* rows, const float32x4_t* scales,
                                             const Block* const* x, float32x4_t* sum) {
  constexpr std::size_t group_bytes = value_bytes(format, group_width);
  unrolled<R>([&](auto r) __attribute__((always_inline)) {
    int8x16_t w[2 * block_groups];
    const auto* values = reinterpret_cast<const std::uint8_t*>(rows[r]);
    unrolled<block_groups>([&](auto g) { load_codes<format>(values + g * group_bytes, w + 2 * g); });
    unrolled<T>([&](auto t) {
      int32x4_t dot[block_groups];
      unrolled<block_groups>([&](auto g) {
        int8x16_t xs[2];
        load_activations<format>(x[t]->values + g * group_width, xs);
        dot[g] = vdotq_s32(vdotq_s32(vdupq_n_s32(0), w[2 * g], xs[0]), w[2 * g + 1], xs[1]);
      });
      const int32x4_t dots = vpaddq_s32(vpaddq_s32(dot[0], dot[1]), vpaddq_s32(dot[2], dot[3]));
      sum[r * T + t] = add_scaled<format>(sum[r * T + t], dots, scales[r], vld1q_f32(x[t]->scales));
    });
  });
}

// R rows and T tokens; scales holds the rows' widened scales.
template <Format format, std::size_t R, std::size_t T>
void dot_rows(const MatmulArgs& a, std::size_t row, std::size_t token, const float* scales) {
  const Matrix& m = *a.matrix;
  const ScaleIndex index(m);
  const std::byte* values[R];
  const Block* x[T];
  float32x4_t scale[R];
  float32x4_t sum[R * T];
  unrolled<R>([&](auto r) { values[r] = m.values + (row + r) * m.row_bytes; });
  unrolled<T>([&](auto t) { x[t] = blocks_of(a, token + t); });
  unrolled<R * T>([&](auto i) { sum[i] = vdupq_n_f32(0); });
  // Where these rows end, the next ones to read are R rows further on.
  constexpr std::size_t block_bytes = value_bytes(format, block_width);
  const auto ahead = [&](std::size_t block) {
    const bool ends = block * block_bytes + prefetch_bytes >= m.row_bytes;
    return prefetch_bytes + (ends ? (R - 1) * m.row_bytes : 0);
  };
  const std::size_t whole = m.cols / block_width;
  const std::size_t stride = m.scales ? m.scale_cols : 1;
  for (std::size_t b = 0; b < whole; ++b) {
    unrolled<R>([&](auto r) { scale[r] = index.of_block(scales + r * stride, b); });
    unrolled<R>([&](auto r) {
      for (std::size_t i = 0; i < block_bytes; i += 64) __builtin_prefetch(values[r] + ahead(b) + i);
    });
    add_block<format, R, T>(values, scale, x, sum);
    unrolled<R>([&](auto r) { values[r] += block_bytes; });
    unrolled<T>([&](auto t) { ++x[t]; });
  }
  if (const std::size_t rest = m.cols % block_width) {
    // Beyond the last column activations are 0: any code will do, but no scale that is not finite.
    std::byte last[R][block_bytes] = {};
    const std::byte* from[R];
    unrolled<R>([&](auto r) {
      std::memcpy(last[r], values[r], value_bytes(format, rest));
      from[r] = last[r];
      float four[block_groups] = {};
      for (std::size_t g = 0; g * group_width < rest; ++g) {
        four[g] = scales[r * stride + (whole * block_groups + g) / index.width];
      }
      scale[r] = vld1q_f32(four);
    });
    add_block<format, R, T>(from, scale, x, sum);
  }
  float* out = a.out + token * a.out_stride + row - a.row_begin;
  unrolled<R * T>([&](auto i) {
    const float32x2_t pairs = vpadd_f32(vget_low_f32(sum[i]), vget_high_f32(sum[i]));
    out[i % T * a.out_stride + i / T] = vpadds_f32(pairs);
  });
}

// `count` rows for the tokens from `token` on, T at a time.
template <Format format, std::size_t T = max_tokens>
void dot_tokens(const MatmulArgs& a, std::size_t row, std::size_t count, std::size_t token,
                const float* scales) {
  const std::size_t stride = a.matrix->scales ? a.matrix->scale_cols : 1;
  for (; token + T <= a.tokens; token += T) {
    std::size_t r = 0;
    // Several tokens share a row's codes in registers; a single one is shared by rows instead.
    constexpr std::size_t R = row_block / T;
    for (; r + R <= count; r += R) dot_rows<format, R, T>(a, row + r, token, scales + r * stride);
    for (; R > 1 && r < count; ++r) dot_rows<format, 1, T>(a, row + r, token, scales + r * stride);
  }
  if constexpr (T > 1) dot_tokens<format, T / 2>(a, row, count, token, scales);
}

template <Format format>
void matmul(const MatmulArgs& a) {
  for (std::size_t row = a.row_begin; row < a.row_end; row += scratch_rows) {
    const std::size_t count = smaller(scratch_rows, a.row_end - row);
    widen_scales(*a.matrix, row, count, a.scratch);
    dot_tokens<format>(a, row, count, 0, a.scratch);
  }
}

const Matmul& choose_matmul(Path path, const Matrix& m) {
  static constexpr Matmul int8 = {&int8_packing, matmul<Format::int8>};
  static constexpr Matmul int4 = {&int8_packing, matmul<Format::int4>};
  static constexpr Matmul mxfp4 = {&int8_packing, matmul<Format::mxfp4>};
  if (path != Path::stream || !has_integer_groups(m)) return neon_kernels().matmul(path, m);
  if (m.format == Format::mxfp4) return mxfp4;
  return m.format == Format::int8 ? int8 : int4;
}

}  // namespace

const Kernels& neon_dotprod_kernels() {
  static const Kernels table = [] {
    Kernels kernels = neon_kernels();
    kernels.matmul = choose_matmul;
    return kernels;
  }();
  return table;
}

}  // namespace baleen::kernels
