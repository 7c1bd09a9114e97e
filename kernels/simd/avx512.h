// The vocabulary of AVX-512 F, BW, DQ and VL: 16 lanes, 32 registers, masks for what is left over. All tables
// of that instruction set speak it.
#pragma once

#include <immintrin.h>

#include <string_view>

#include "kernels/simd/pack.h"
#include "kernels/simd/rows.h"
#include "kernels/simd/x86.h"

namespace baleen::kernels {
namespace {

struct Avx512 : X86 {
  using F = __m512;
  static constexpr std::string_view name = "avx512";
  static constexpr const Encoders& encode = avx512_encoders;
  static constexpr std::size_t lanes = 16;
  static constexpr std::size_t chunk = 2 * lanes;
  static constexpr std::size_t row_block = 4;
  static constexpr std::size_t token_block = 6;
  static constexpr std::size_t fused_tokens = 4;

  static __mmask16 low_lanes(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1); }

  static F set1(float v) { return _mm512_set1_ps(v); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load(const float* p, std::size_t n) { return _mm512_maskz_loadu_ps(low_lanes(n), p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, F v, std::size_t n) { _mm512_mask_storeu_ps(p, low_lanes(n), v); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F round(F v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F scale_by_power(F v, F n) { return _mm512_scalef_ps(v, n); }
  // v, but 0 where a < b.
  static F zero_where_less(F a, F b, F v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), v);
  }
  static float sqrt(float v) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(v))); }
  static float first(F v) { return _mm512_cvtss_f32(v); }

  // Lane i + 8 onto i, then 4, 2, 1.
  static float sum(F v) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
  }
  // The sums of four vectors, each by the tree of sum.
  static void sum4(F a, F b, F c, F d, float* out) {
    const F ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const F cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    F s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    const __m512i every_fourth = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(every_fourth, s)));
  }
  static float maximum(F v) { return _mm512_reduce_max_ps(v); }

  // v with zeros from lane n on.
  static F keep(F v, std::size_t n) { return _mm512_maskz_mov_ps(low_lanes(n), v); }
  // v in lanes whose number, counted from base, is in [begin, end), else other.
  static F between(F v, std::size_t base, std::size_t begin, std::size_t end, F other) {
    const std::uint64_t mask = ((std::uint64_t{1} << end) - (std::uint64_t{1} << begin)) >> base;
    return _mm512_mask_mov_ps(other, static_cast<__mmask16>(mask), v);
  }

  static __m256i load256(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }

  static F widen_bf16(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }

  // e8m0_to_float of simd/rows.h: 0 and 255 are the exponents that one more leaves below 2.
  static F widen_e8m0(__m128i codes) {
    const __m128i next = _mm_add_epi8(codes, _mm_set1_epi8(1));
    const __mmask16 special = _mm_cmplt_epu8_mask(next, _mm_set1_epi8(2));
    const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu8_epi32(codes), 23);
    return _mm512_castsi512_ps(_mm512_mask_or_epi32(bits, special, bits, _mm512_set1_epi32(1 << 22)));
  }

  // e4m3 to f16: sign to bit 15, exponent and mantissa to bits 7 to 13, which makes every number, subnormal
  // or not, 2^-8 of itself; the code of all ones becomes f16's NaN.
  static __m512i fp8_to_f16(__m256i codes) {
    const __m512i shifted = _mm512_slli_epi16(_mm512_cvtepi8_epi16(codes), 7);  // the sign in bits 15 and 14
    const __m512i bits = _mm512_and_si512(shifted, _mm512_set1_epi16(~0x4000));
    const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi16(0x3fff));
    const __mmask32 nan = _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x3f80));
    return _mm512_mask_mov_epi16(bits, nan, _mm512_set1_epi16(0x7e00));
  }

  static F scale_fp8(__m256i f16, F scale) { return _mm512_mul_ps(_mm512_cvtph_ps(f16), scale); }

  static F scale_int8(__m128i codes, const Group<Avx512>& group) {
    const F value = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
    return _mm512_mul_ps(_mm512_sub_ps(value, group.zero), group.scale);
  }

  // 16 codes of 4 bits: 8 copies of them as 64 bits, each shifted on by one code, so that the codes of
  // columns 0 and 8, 1 and 9, ... stand lowest in lanes 0, 1, 2, 3, ... A permutation looks at the low 4 bits
  // of a lane only, so it needs no mask to find the code's weight.
  static F look_up_nibbles(const std::byte* p, F weights) {
    long long codes;
    std::memcpy(&codes, p, sizeof codes);
    const __m512i shifts = _mm512_setr_epi64(0, 4, 8, 12, 16, 20, 24, 28);
    return _mm512_permutexvar_ps(_mm512_srlv_epi64(_mm512_set1_epi64(codes), shifts), weights);
  }

  // The order of lanes that look_up_nibbles leaves. Activations are permuted once for all rows, sums once a
  // row: cheaper than permuting every vector of weights.
  template <Format format>
  static F to_order(F v) {
    if constexpr (value_bits(format) != 4) return v;
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15), v);
  }
  template <Format format>
  static F from_order(F v) {
    if constexpr (value_bits(format) != 4) return v;
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15), v);
  }

  template <Format format>
  static void decode(const std::byte* p, const Group<Avx512>& group, F out[2]) {
    if constexpr (format == Format::f32) {
      out[0] = _mm512_loadu_ps(p);
      out[1] = _mm512_loadu_ps(p + 64);
    } else if constexpr (format == Format::f16) {
      out[0] = _mm512_cvtph_ps(load256(p));
      out[1] = _mm512_cvtph_ps(load256(p + 32));
    } else if constexpr (format == Format::bf16) {
      out[0] = widen_bf16(load256(p));
      out[1] = widen_bf16(load256(p + 32));
    } else if constexpr (format == Format::fp8_e4m3) {
      const __m512i f16 = fp8_to_f16(load256(p));
      out[0] = scale_fp8(_mm512_castsi512_si256(f16), group.scale);
      out[1] = scale_fp8(_mm512_extracti64x4_epi64(f16, 1), group.scale);
    } else if constexpr (format == Format::int8) {
      out[0] = scale_int8(load128(p), group);
      out[1] = scale_int8(load128(p + 16), group);
    } else if constexpr (format == Format::mxfp4) {
      const F values = _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
      const F weights = _mm512_mul_ps(values, group.scale);
      out[0] = look_up_nibbles(p, weights);
      out[1] = look_up_nibbles(p + 8, weights);
    } else {
      const F codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      const F weights = _mm512_mul_ps(_mm512_sub_ps(codes, group.zero), group.scale);
      out[0] = look_up_nibbles(p, weights);
      out[1] = look_up_nibbles(p + 8, weights);
    }
  }

  // What simd/stream.h needs.
  using I = __m512i;
  static constexpr std::size_t stream_sums = 16;
  static constexpr std::size_t stream_tokens = 8;
  static constexpr bool streams_fp8 = true;

  static I codes(const std::byte* p) { return _mm512_loadu_si512(p); }
  static I codes(const std::byte* p, std::size_t bytes) {  // 1 to 64 of them
    return _mm512_maskz_loadu_epi8(~std::uint64_t{0} >> (64 - bytes), p);
  }
  static void deal(I v[4]) {
    const I low01 = _mm512_unpacklo_epi32(v[0], v[1]), high01 = _mm512_unpackhi_epi32(v[0], v[1]);
    const I low23 = _mm512_unpacklo_epi32(v[2], v[3]), high23 = _mm512_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi64(low01, low23);
    v[1] = _mm512_unpackhi_epi64(low01, low23);
    v[2] = _mm512_unpacklo_epi64(high01, high23);
    v[3] = _mm512_unpackhi_epi64(high01, high23);
  }
  static F to_float(I v) { return _mm512_cvtepi32_ps(v); }

  template <Format format>
  static F numbers(const std::byte* p, std::size_t n) {
    if constexpr (format == Format::f32) return _mm512_maskz_loadu_ps(low_lanes(n), p);
    if constexpr (format == Format::e8m0) return widen_e8m0(_mm_maskz_loadu_epi8(low_lanes(n), p));
    const __m256i bits = _mm256_maskz_loadu_epi16(low_lanes(n), p);
    return format == Format::f16 ? _mm512_cvtph_ps(bits) : widen_bf16(bits);
  }
  static F pick(F v, const std::int32_t* index) {
    return _mm512_permutexvar_ps(_mm512_loadu_si512(index), v);
  }

  // Even columns in order, then odd ones.
  // bf16: a value stays in its own 32 bits; the even column's moves up, the odd one's is there already.
  // fp8: by way of f16, as fp8_to_f16 does it; but NaN does not come right: see any_nan.
  template <Format format>
  static void widen(I w, F* out) {
    if constexpr (format == Format::bf16) {
      out[0] = _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
      out[1] = _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
    } else {
      const auto numbers = [](I high_bytes, F* two) {
        const I f16 = _mm512_and_si512(_mm512_srai_epi16(high_bytes, 1), _mm512_set1_epi16(~0x407f));
        two[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(f16));
        two[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(f16, 1));
      };
      numbers(_mm512_slli_epi16(w, 8), out);
      numbers(w, out + 2);
    }
  }

  template <Format format>
  static void put(float* chunk, std::size_t c, const Halves& columns) {
    put_apart<format == Format::bf16 ? 32 : 64>(chunk, c, columns);
  }

  // `seen` becomes the larger of the codes by magnitude, shifted left by a bit.
  static void note(I w, I& seen) { seen = _mm512_max_epu8(seen, _mm512_add_epi8(w, w)); }
  static bool any_nan(I seen) { return _mm512_cmpeq_epi8_mask(seen, _mm512_set1_epi8(~1)) != 0; }

  // Codes as numbers that a dot product takes: even and odd columns apart, int8 as 16 bits, others as 8.
  template <Format format>
  static constexpr std::size_t activation_bytes = format == Format::int8 ? 2 : 1;
  template <Format>
  static constexpr std::size_t dot_parts = 2;

  template <Format format>
  static void split(I w, I* out) {
    if constexpr (format == Format::int8) {
      out[0] = _mm512_and_si512(w, _mm512_set1_epi16(0xff));
      out[1] = _mm512_srli_epi16(w, 8);
    } else {
      out[0] = _mm512_and_si512(w, _mm512_set1_epi8(0x0f));
      out[1] = _mm512_and_si512(_mm512_srli_epi16(w, 4), _mm512_set1_epi8(0x0f));
    }
    if constexpr (format == Format::mxfp4) {
      const I table = _mm512_broadcast_i32x4(load128(e2m1_integers));
      out[0] = _mm512_shuffle_epi8(table, out[0]);
      out[1] = _mm512_shuffle_epi8(table, out[1]);
    }
  }

  template <Format format>
  static I dot(const I* w, const std::byte* x, I begin) {
    if constexpr (format == Format::int8) {
      const I sum =
          _mm512_add_epi32(_mm512_madd_epi16(w[0], codes(x)), _mm512_madd_epi16(w[1], codes(x + 64)));
      return _mm512_add_epi32(begin, sum);
    } else {  // 4 * 24 * 127 fits 16 bits
      const I sum =
          _mm512_add_epi16(_mm512_maddubs_epi16(w[0], codes(x)), _mm512_maddubs_epi16(w[1], codes(x + 64)));
      return _mm512_add_epi32(begin, _mm512_madd_epi16(sum, _mm512_set1_epi16(1)));
    }
  }
};

}  // namespace
}  // namespace baleen::kernels
