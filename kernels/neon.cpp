// NEON as every aarch64 processor has it: 4 lanes, 32 registers.
#include <arm_neon.h>

#include "kernels/simd/table.h"

namespace baleen::kernels {
namespace {

struct Neon {
  using F = float32x4_t;
  static constexpr std::string_view name = "neon";
  static constexpr const Encoders& encode = scalar_encoders;
  static constexpr std::size_t lanes = 4;
  static constexpr std::size_t chunk = 2 * lanes;
  static constexpr std::size_t row_block = 4;
  static constexpr std::size_t token_block = 6;
  static constexpr std::size_t fused_tokens = 4;

  // All ones in lanes below n.
  static uint32x4_t low_lanes(std::size_t n) {
    const uint32x4_t lane = {0, 1, 2, 3};
    return vcltq_u32(lane, vdupq_n_u32(static_cast<std::uint32_t>(n)));
  }

  static F set1(float v) { return vdupq_n_f32(v); }
  static F load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, F v) { vst1q_f32(p, v); }
  // There are no masks: one, two or three lanes are a pair, a single lane or both.
  static F load(const float* p, std::size_t n) {
    if (n >= lanes) return load(p);
    F v = set1(0);
    if (n == 1) return vld1q_lane_f32(p, v, 0);
    if (n >= 2) v = vcombine_f32(vld1_f32(p), vget_low_f32(v));
    return n == 3 ? vld1q_lane_f32(p + 2, v, 2) : v;
  }
  static void store(float* p, F v, std::size_t n) {
    if (n >= lanes) return store(p, v);
    if (n == 1) vst1q_lane_f32(p, v, 0);
    if (n >= 2) vst1_f32(p, vget_low_f32(v));
    if (n == 3) vst1q_lane_f32(p + 2, v, 2);
  }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  // NEON's own give NaN if either operand is one; these give the second operand.
  static F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static F round(F v) { return vrndnq_f32(v); }
  static float sqrt(float v) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(v)), 0); }
  static float first(F v) { return vgetq_lane_f32(v, 0); }

  // v, but 0 where a < b.
  static F zero_where_less(F a, F b, F v) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), vcltq_f32(a, b)));
  }
  // v * 2^n in two steps, as 2^n itself may be out of range where the product is not.
  static F scale_by_power(F v, F n) {
    const int32x4_t whole = vcvtnq_s32_f32(n);
    const int32x4_t half = vshrq_n_s32(whole, 1);
    return mul(mul(v, power(half)), power(vsubq_s32(whole, half)));
  }
  static F power(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
  }

  // Neighbours first: (v0 + v1) + (v2 + v3).
  static float sum(F v) { return vpadds_f32(vpadd_f32(vget_low_f32(v), vget_high_f32(v))); }
  // The sums of four vectors, each by the tree of sum.
  static void sum4(F a, F b, F c, F d, float* out) {
    store(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
  }
  static float maximum(F v) { return vmaxvq_f32(v); }

  // v with zeros from lane n on.
  static F keep(F v, std::size_t n) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), low_lanes(n)));
  }
  // v in lanes whose number, counted from base, is in [begin, end), else other.
  static F between(F v, std::size_t base, std::size_t begin, std::size_t end, F other) {
    const uint32x4_t before = low_lanes(begin > base ? begin - base : 0);
    const uint32x4_t inside = vbicq_u32(low_lanes(end > base ? end - base : 0), before);
    return vbslq_f32(inside, v, other);
  }

  static float from_f16(std::uint16_t bits) {
    return first(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))));
  }

  // Loads of bytes: they may have any alignment.
  static uint8x8_t load64(const std::byte* p) { return vld1_u8(reinterpret_cast<const std::uint8_t*>(p)); }
  static uint8x16_t load128(const std::byte* p) { return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p)); }

  static F widen_bf16(uint16x4_t bits) { return vreinterpretq_f32_u32(vshll_n_u16(bits, 16)); }

  // e4m3 to f16: sign to bit 15, exponent and mantissa to bits 7 to 13, which makes every number, subnormal
  // or not, 2^-8 of itself; the code of all ones becomes f16's NaN.
  static float16x8_t fp8_to_f16(uint8x8_t codes) {
    const uint16x8_t shifted =  // the sign in bits 15 and 14
        vreinterpretq_u16_s16(vshll_n_s8(vreinterpret_s8_u8(codes), 7));
    const uint16x8_t bits = vandq_u16(shifted, vdupq_n_u16(0xbfff));
    const uint16x8_t nan = vceqq_u16(vandq_u16(bits, vdupq_n_u16(0x3fff)), vdupq_n_u16(0x3f80));
    return vreinterpretq_f16_u16(vorrq_u16(bits, vandq_u16(nan, vdupq_n_u16(0x7e00))));
  }

  static void scale_integers(uint8x8_t codes, const Group<Neon>& group, F out[2]) {
    const uint16x8_t wide = vmovl_u8(codes);
    out[0] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)));
    out[1] = vcvtq_f32_u32(vmovl_high_u16(wide));
    out[0] = mul(sub(out[0], group.zero), group.scale);
    out[1] = mul(sub(out[1], group.zero), group.scale);
  }

  // 8 codes of 4 bits: the low and the high half of each byte in turn.
  static uint8x8_t int4_codes(const std::byte* p) {
    std::uint32_t word;
    std::memcpy(&word, p, sizeof word);
    const uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(word));
    return vzip1_u8(vand_u8(bytes, vdup_n_u8(15)), vshr_n_u8(bytes, 4));
  }

  // e2m1 to f16, whose lower byte is 0.
  static float16x8_t e2m1_to_f16(uint8x8_t codes) {
    constexpr std::uint8_t upper_bytes[16] = {0x00, 0x38, 0x3c, 0x3e, 0x40, 0x42, 0x44, 0x46,
                                              0x80, 0xb8, 0xbc, 0xbe, 0xc0, 0xc2, 0xc4, 0xc6};
    return vreinterpretq_f16_u16(vshll_n_u8(vqtbl1_u8(vld1q_u8(upper_bytes), codes), 8));
  }

  template <Format>
  static F to_order(F v) {
    return v;
  }
  template <Format>
  static F from_order(F v) {
    return v;
  }

  template <Format format>
  static void decode(const std::byte* p, const Group<Neon>& group, F out[2]) {
    if constexpr (format == Format::f32) {
      out[0] = vreinterpretq_f32_u8(load128(p));
      out[1] = vreinterpretq_f32_u8(load128(p + 16));
    } else if constexpr (format == Format::f16) {
      const float16x8_t f16 = vreinterpretq_f16_u8(load128(p));
      out[0] = vcvt_f32_f16(vget_low_f16(f16));
      out[1] = vcvt_high_f32_f16(f16);
    } else if constexpr (format == Format::bf16) {
      const uint16x8_t bits = vreinterpretq_u16_u8(load128(p));
      out[0] = widen_bf16(vget_low_u16(bits));
      out[1] = widen_bf16(vget_high_u16(bits));
    } else if constexpr (format == Format::fp8_e4m3) {
      const float16x8_t f16 = fp8_to_f16(load64(p));
      out[0] = mul(vcvt_f32_f16(vget_low_f16(f16)), group.scale);
      out[1] = mul(vcvt_high_f32_f16(f16), group.scale);
    } else if constexpr (format == Format::mxfp4) {
      const float16x8_t f16 = e2m1_to_f16(int4_codes(p));
      out[0] = mul(vcvt_f32_f16(vget_low_f16(f16)), group.scale);
      out[1] = mul(vcvt_high_f32_f16(f16), group.scale);
    } else if constexpr (format == Format::int8) {
      scale_integers(load64(p), group, out);
    } else {
      scale_integers(int4_codes(p), group, out);
    }
  }
};

}  // namespace

const Kernels& neon_kernels() {
  static const Kernels table = table_of<Neon>();
  return table;
}

}  // namespace baleen::kernels
