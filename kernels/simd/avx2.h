// The vocabulary of AVX2, FMA and F16C: 8 lanes, 16 registers. All tables of that instruction set speak it.
#pragma once

#include <immintrin.h>

#include <string_view>

#include "kernels/simd/pack.h"
#include "kernels/simd/rows.h"
#include "kernels/simd/x86.h"

namespace baleen::kernels {
namespace {

struct Avx2 : X86 {
  using F = __m256;
  static constexpr std::string_view name = "avx2";
  static constexpr const Encoders& encode = avx2_encoders;
  static constexpr std::size_t lanes = 8;
  static constexpr std::size_t chunk = 2 * lanes;
  static constexpr std::size_t row_block = 4;
  static constexpr std::size_t token_block = 3;
  static constexpr std::size_t fused_tokens = 2;

  // All ones in lanes below n.
  static __m256i low_lanes(std::size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }

  static F set1(float v) { return _mm256_set1_ps(v); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load(const float* p, std::size_t n) { return _mm256_maskload_ps(p, low_lanes(n)); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store(float* p, F v, std::size_t n) { _mm256_maskstore_ps(p, low_lanes(n), v); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F round(F v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static float sqrt(float v) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(v))); }
  static float first(F v) { return _mm256_cvtss_f32(v); }

  // v, but 0 where a < b.
  static F zero_where_less(F a, F b, F v) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ), v); }
  // v * 2^n in two steps, as 2^n itself may be out of range where the product is not.
  static F scale_by_power(F v, F n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return mul(mul(v, power(half)), power(_mm256_sub_epi32(whole, half)));
  }
  static F power(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }

  // Lane i + 4 onto i, then 2, 1.
  static float sum(F v) {
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
  }
  // The sums of four vectors, each by the tree of sum.
  static void sum4(F a, F b, F c, F d, float* out) {
    const F ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    const F cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    const __m256d ab2 = _mm256_castps_pd(ab);
    const __m256d cd2 = _mm256_castps_pd(cd);
    F s = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(ab2, cd2)),
                        _mm256_castpd_ps(_mm256_unpackhi_pd(ab2, cd2)));
    s = _mm256_add_ps(s, _mm256_movehdup_ps(s));  // a . c . b . d .
    const __m128 ac = _mm256_castps256_ps128(s);
    const __m128 bd = _mm256_extractf128_ps(s, 1);
    _mm_storeu_ps(out, _mm_movelh_ps(_mm_unpacklo_ps(ac, bd), _mm_unpackhi_ps(ac, bd)));
  }
  static float maximum(F v) {
    const __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
  }

  // v with zeros from lane n on.
  static F keep(F v, std::size_t n) { return _mm256_and_ps(v, _mm256_castsi256_ps(low_lanes(n))); }
  // v in lanes whose number, counted from base, is in [begin, end), else other.
  static F between(F v, std::size_t base, std::size_t begin, std::size_t end, F other) {
    const __m256i before = low_lanes(begin > base ? begin - base : 0);
    const __m256i inside = _mm256_andnot_si256(before, low_lanes(end > base ? end - base : 0));
    return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(inside));
  }

  static F widen_bf16(__m128i bits) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }

  // e4m3 to f16: sign to bit 15, exponent and mantissa to bits 7 to 13, which makes every number, subnormal
  // or not, 2^-8 of itself; the code of all ones becomes f16's NaN.
  static __m256i fp8_to_f16(__m128i codes) {
    const __m256i shifted = _mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7);  // the sign in bits 15 and 14
    const __m256i bits = _mm256_and_si256(shifted, _mm256_set1_epi16(~0x4000));
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi16(0x3fff));
    const __m256i nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x3f80));
    return _mm256_or_si256(bits, _mm256_and_si256(nan, _mm256_set1_epi16(0x7e00)));
  }

  static F scale_fp8(__m128i f16, F scale) { return _mm256_mul_ps(_mm256_cvtph_ps(f16), scale); }

  static F scale_integer(__m256i codes, const Group<Avx2>& group) {
    return _mm256_mul_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(codes), group.zero), group.scale);
  }

  // e8m0_to_float of simd/rows.h.
  static F widen_e8m0(__m256i exponents) {
    const __m256i special = _mm256_or_si256(_mm256_cmpeq_epi32(exponents, _mm256_setzero_si256()),
                                            _mm256_cmpeq_epi32(exponents, _mm256_set1_epi32(255)));
    const __m256i mantissa = _mm256_and_si256(special, _mm256_set1_epi32(1 << 22));
    return _mm256_castsi256_ps(_mm256_or_si256(_mm256_slli_epi32(exponents, 23), mantissa));
  }

  // A magnitude is looked up by the code's lowest three bits, all that the permutation looks at; the fourth
  // is the sign.
  static F scale_e2m1(__m256i codes, F scale) {
    const F magnitudes = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
    const F sign = _mm256_and_ps(_mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)), set1(-0.0f));
    return mul(_mm256_xor_ps(_mm256_permutevar8x32_ps(magnitudes, codes), sign), scale);
  }

  // 8 codes of 4 bits: a word over all lanes, every lane shifted to its own code.
  static __m256i int4_codes(const std::byte* p) {
    std::uint32_t word;
    std::memcpy(&word, p, sizeof word);
    const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i shifted = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)), shifts);
    return _mm256_and_si256(shifted, _mm256_set1_epi32(15));
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
  static void decode(const std::byte* p, const Group<Avx2>& group, F out[2]) {
    if constexpr (format == Format::f32) {
      out[0] = _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
      out[1] = _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32)));
    } else if constexpr (format == Format::f16) {
      out[0] = _mm256_cvtph_ps(load128(p));
      out[1] = _mm256_cvtph_ps(load128(p + 16));
    } else if constexpr (format == Format::bf16) {
      out[0] = widen_bf16(load128(p));
      out[1] = widen_bf16(load128(p + 16));
    } else if constexpr (format == Format::fp8_e4m3) {
      const __m256i f16 = fp8_to_f16(load128(p));
      out[0] = scale_fp8(_mm256_castsi256_si128(f16), group.scale);
      out[1] = scale_fp8(_mm256_extracti128_si256(f16, 1), group.scale);
    } else if constexpr (format == Format::int8) {
      out[0] = scale_integer(_mm256_cvtepu8_epi32(load64(p)), group);
      out[1] = scale_integer(_mm256_cvtepu8_epi32(load64(p + 8)), group);
    } else if constexpr (format == Format::mxfp4) {
      out[0] = scale_e2m1(int4_codes(p), group.scale);
      out[1] = scale_e2m1(int4_codes(p + 4), group.scale);
    } else {
      out[0] = scale_integer(int4_codes(p), group);
      out[1] = scale_integer(int4_codes(p + 4), group);
    }
  }

  // What simd/stream.h needs; simd/avx512.h says how it works. fp8 has no path of its own: half as many
  // values a vector leave no time for it.
  using I = __m256i;
  static constexpr std::size_t stream_sums = 8;
  static constexpr std::size_t stream_tokens = 4;
  static constexpr bool streams_fp8 = false;

  static I codes(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static I codes(const std::byte* p, std::size_t bytes) {
    std::byte padded_codes[32] = {};
    std::memcpy(padded_codes, p, bytes);
    return codes(padded_codes);
  }
  static void deal(I v[4]) {
    const I low01 = _mm256_unpacklo_epi32(v[0], v[1]), high01 = _mm256_unpackhi_epi32(v[0], v[1]);
    const I low23 = _mm256_unpacklo_epi32(v[2], v[3]), high23 = _mm256_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm256_unpacklo_epi64(low01, low23);
    v[1] = _mm256_unpackhi_epi64(low01, low23);
    v[2] = _mm256_unpacklo_epi64(high01, high23);
    v[3] = _mm256_unpackhi_epi64(high01, high23);
  }
  static F to_float(I v) { return _mm256_cvtepi32_ps(v); }

  template <Format format>
  static F numbers(const std::byte* p, std::size_t n) {
    std::byte padded_numbers[32] = {};
    const std::byte* from = p;
    if (n < lanes) {
      std::memcpy(padded_numbers, p, value_bytes(format, n));
      from = padded_numbers;
    }
    if constexpr (format == Format::f32) return _mm256_castsi256_ps(codes(from));
    if constexpr (format == Format::e8m0) return widen_e8m0(_mm256_cvtepu8_epi32(load64(from)));
    return format == Format::f16 ? _mm256_cvtph_ps(load128(from)) : widen_bf16(load128(from));
  }
  static F pick(F v, const std::int32_t* index) {
    return _mm256_permutevar8x32_ps(v, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)));
  }

  template <Format format>
  static void put(float* chunk, std::size_t c, const Halves& columns) {
    put_apart<16>(chunk, c, columns);
  }

  template <Format format>
  static void widen(I w, F* out) {
    static_assert(format == Format::bf16);
    out[0] = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
    out[1] = _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }

  template <Format format>
  static constexpr std::size_t activation_bytes = format == Format::int8 ? 2 : 1;
  template <Format>
  static constexpr std::size_t dot_parts = 2;

  template <Format format>
  static void split(I w, I* out) {
    if constexpr (format == Format::int8) {
      out[0] = _mm256_and_si256(w, _mm256_set1_epi16(0xff));
      out[1] = _mm256_srli_epi16(w, 8);
    } else {
      out[0] = _mm256_and_si256(w, _mm256_set1_epi8(0x0f));
      out[1] = _mm256_and_si256(_mm256_srli_epi16(w, 4), _mm256_set1_epi8(0x0f));
    }
    if constexpr (format == Format::mxfp4) {
      const I table = _mm256_broadcastsi128_si256(load128(e2m1_integers));
      out[0] = _mm256_shuffle_epi8(table, out[0]);
      out[1] = _mm256_shuffle_epi8(table, out[1]);
    }
  }

  template <Format format>
  static I dot(const I* w, const std::byte* x, I begin) {
    if constexpr (format == Format::int8) {
      const I sum =
          _mm256_add_epi32(_mm256_madd_epi16(w[0], codes(x)), _mm256_madd_epi16(w[1], codes(x + 32)));
      return _mm256_add_epi32(begin, sum);
    } else {  // 4 * 24 * 127 fits 16 bits
      const I sum =
          _mm256_add_epi16(_mm256_maddubs_epi16(w[0], codes(x)), _mm256_maddubs_epi16(w[1], codes(x + 32)));
      return _mm256_add_epi32(begin, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
    }
  }
};

}  // namespace
}  // namespace baleen::kernels
