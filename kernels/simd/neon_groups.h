// Activations and weights as 8-bit integers by groups of 32 columns: what NEON's kernels for integer products
// share.
#pragma once

#include <arm_neon.h>

#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t group_width = 32;
static_assert(group_width == pack_cols);

// A group's integer sum, up to 2^15 for values of 4 bits, times a weight's scale may be beyond the largest
// number where their product with the activations' scale, 2^-7 of an activation, is not. So that scale is
// made an activation's size by a power of two, and the sum smaller by as much.
constexpr int balance = 7;

// A group of activations, eight values every `step` bytes. x = value * scale * 2^-balance, where the scale
// without the power is maximum / 127; values are rounded to nearest, ties to even. A group that holds a NaN
// or an infinity has it for its scale and zeros for values, and so gives NaN. (Saturation matters only for
// scales among the denormals, which are coarse.)
template <std::size_t step>
void round_group(const float* x, std::int8_t* values, float* scale) {
  float32x4_t v[8];
  unrolled<8>([&](auto i) { v[i] = vld1q_f32(x + 4 * i); });
  float32x4_t maxima = vdupq_n_f32(0);
  unrolled<8>([&](auto i) { maxima = vmaxq_f32(maxima, vabsq_f32(v[i])); });  // NaN wins
  const float unit = vmaxvq_f32(maxima) / 127.0f;
  *scale = unit * (1 << balance);
  int32x4_t q[8];
  unrolled<8>([&](auto i) { q[i] = vcvtnq_s32_f32(vdivq_f32(v[i], vdupq_n_f32(unit))); });  // NaN gives 0
  unrolled<4>([&](auto i) {
    const int16x8_t narrow = vcombine_s16(vqmovn_s32(q[2 * i]), vqmovn_s32(q[2 * i + 1]));
    vst1_s8(values + step * i, vqmovn_s16(narrow));
  });
}

// The codes of a group of 32 columns, less their offset; for int4 times 16, even columns before odd ones; for
// mxfp4 in that order twice their values.
template <Format format>
[[gnu::always_inline]] inline void load_codes(const std::uint8_t* from, int8x16_t w[2]) {
  if constexpr (format == Format::int8) {
    unrolled<2>(
        [&](auto i) { w[i] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from + 16 * i), vdupq_n_u8(0x80))); });
  } else if constexpr (format == Format::mxfp4) {
    constexpr std::int8_t integers[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const int8x16_t table = vld1q_s8(integers);
    const uint8x16_t pairs = vld1q_u8(from);
    w[0] = vqtbl1q_s8(table, vandq_u8(pairs, vdupq_n_u8(15)));
    w[1] = vqtbl1q_s8(table, vshrq_n_u8(pairs, 4));
  } else {
    const uint8x16_t pairs = veorq_u8(vld1q_u8(from), vdupq_n_u8(0x88));
    w[0] = vreinterpretq_s8_u8(vshlq_n_u8(pairs, 4));
    w[1] = vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(0xf0)));
  }
}

// sum + a group's integer sum times both scales, lane by lane. The weights' scale first: activations may be
// near the largest number, weights are not.
template <Format format>
[[gnu::always_inline]] inline float32x4_t add_scaled(float32x4_t sum, int32x4_t dots, float32x4_t weights,
                                                     float32x4_t activations) {
  constexpr int fraction_bits = balance + (format == Format::int4 ? 4 : format == Format::mxfp4 ? 1 : 0);
  return vfmaq_f32(sum, vmulq_f32(vcvtq_n_f32_s32(dots, fraction_bits), weights), activations);
}

// Whether the weights are integers with a scale for every group.
inline bool has_integer_groups(const Matrix& m) {
  return (is_integer(m.format) || m.format == Format::mxfp4) && m.block_rows == 1 && has_whole_groups(m);
}

// The widened scales of `count` rows from `row` on, which lie side by side.
inline void widen_scales(const Matrix& m, std::size_t row, std::size_t count, float* out) {
  if (!m.scales) {
    for (std::size_t r = 0; r < count; ++r) out[r] = 1;
    return;
  }
  if (m.format == Format::mxfp4) {
    const std::byte* scales = m.scales + row * m.scale_cols;
    for (std::size_t i = 0; i < count * m.scale_cols; ++i) out[i] = e8m0_to_float(scales[i]);
    return;
  }
  const std::size_t bytes = value_bytes(m.scale_format, 1);
  const Matrix scales = {.format = m.scale_format,
                         .rows = 1,
                         .cols = count * m.scale_cols,
                         .values = m.scales + row * m.scale_cols * bytes};
  neon_kernels().widen_row[static_cast<std::size_t>(m.scale_format)](scales, 0, out);
}

}  // namespace
}  // namespace baleen::kernels
