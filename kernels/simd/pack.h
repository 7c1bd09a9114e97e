// Packing groups of 32 columns of activations, in AVX2 for every vector instruction set of x86: it is done
// once a token and product, and wider vectors would gain little.
#pragma once

#include <immintrin.h>

#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

inline void store256(std::byte* at, __m256i v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), v);
}
inline void store128(std::byte* at, __m128i v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(at), v);
}

// Even and odd numbers of a and b.
struct Halves {
  __m256 even, odd;
};
inline Halves deinterleave(__m256 a, __m256 b) {
  const auto in_order = [](__m256 v) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
  };
  return {in_order(_mm256_shuffle_ps(a, b, 0x88)), in_order(_mm256_shuffle_ps(a, b, 0xdd))};
}

// Columns [c, c + 16) of a chunk, into a chunk of its even columns and then its odd ones.
template <std::size_t chunk_cols>
void put_apart(float* chunk, std::size_t c, const Halves& columns) {
  _mm256_storeu_ps(chunk + c / 2, columns.even);
  _mm256_storeu_ps(chunk + chunk_cols / 2 + c / 2, columns.odd);
}

// 32 numbers as int16, in order, and their scale.
struct Integers {
  __m256i low, high;
  float scale;
};

// x / scale rounded to nearest, with scale = max |x| / limit. Groups below 2^-100 count as zeros: the scale
// would be among the denormals. A group that holds a NaN or an infinity gets the scale NaN.
inline Integers to_integers(const float* x, float limit) {
  __m256 v[4];
  __m256i maximum = _mm256_setzero_si256();  // of the bits of |x|: NaN is above all
  for (std::size_t i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(v[i]), _mm256_set1_epi32(0x7fffffff));
    maximum = _mm256_max_epu32(maximum, magnitude);
  }
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(maximum), _mm256_extracti128_si256(maximum, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
  const float largest = _mm_cvtss_f32(_mm_castsi128_ps(m));
  const bool finite = _mm_cvtsi128_si32(m) < 0x7f800000;
  const bool zero = !(largest >= 0x1p-100f);
  if (zero || !finite) {
    const __m256i none = _mm256_setzero_si256();
    return {none, none, finite ? 0.0f : __builtin_nanf("")};
  }
  const __m256 inverse = _mm256_set1_ps(limit / largest);
  __m256i q[4];
  for (std::size_t i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
  return {_mm256_permute4x64_epi64(_mm256_packs_epi32(q[0], q[1]), 0xd8),
          _mm256_permute4x64_epi64(_mm256_packs_epi32(q[2], q[3]), 0xd8), largest * (1 / limit)};
}

// What V::split makes of e2m1 codes: 12 more than twice their values, unsigned as the dot products want them.
alignas(16) constexpr std::byte e2m1_integers[] = {std::byte{12}, std::byte{13}, std::byte{14}, std::byte{15},
                                                   std::byte{16}, std::byte{18}, std::byte{20}, std::byte{24},
                                                   std::byte{12}, std::byte{11}, std::byte{10}, std::byte{9},
                                                   std::byte{8},  std::byte{6},  std::byte{4},  std::byte{0}};

// By how much V::split leaves codes above their integers.
constexpr int integer_offset(Format format) {
  return format == Format::mxfp4 ? 12 : 1 << (value_bits(format) - 1);
}

// What a weight is of its integer times the scale.
constexpr float integer_unit(Format format) {
  return format == Format::mxfp4 ? 0.5f : 1.0f;
}

inline std::int32_t sum_of(__m256i v) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

// A group of integer activations, taken apart as its codes are: the codes of each 16 bytes by lanes of 32
// bits, and those of each lane by the parts that V::split leaves. begin gets -offset times the sum over the
// columns of each 16 bytes. Returns the scale of their products with integers.
template <Format format, std::size_t value_size, std::size_t blocks, std::size_t parts>
float pack_integers(const float* x, std::int32_t (&begin)[blocks], std::int32_t (&words)[parts][blocks][4]) {
  const Integers q = to_integers(x, value_size == 1 ? 127.0f : 32767.0f);

  const __m256i offset = _mm256_set1_epi16(static_cast<short>(-integer_offset(format)));
  const __m256i low = _mm256_madd_epi16(q.low, offset);
  const __m256i high = _mm256_madd_epi16(q.high, offset);
  if constexpr (blocks == 2) {
    begin[0] = sum_of(low);
    begin[1] = sum_of(high);
  } else {
    begin[0] = sum_of(_mm256_add_epi32(low, high));
  }

  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(q.low, q.high), 0xd8);
  auto* const to = reinterpret_cast<std::byte*>(words);
  if constexpr (value_size == 2) {  // words of even columns, words of odd ones
    const auto even = [](__m256i v) { return _mm256_srai_epi32(_mm256_slli_epi32(v, 16), 16); };
    const auto odd = [](__m256i v) { return _mm256_srai_epi32(v, 16); };
    store256(to, _mm256_permute4x64_epi64(_mm256_packs_epi32(even(q.low), even(q.high)), 0xd8));
    store256(to + 32, _mm256_permute4x64_epi64(_mm256_packs_epi32(odd(q.low), odd(q.high)), 0xd8));
  } else if constexpr (value_bits(format) == 4) {  // bytes of even columns, bytes of odd ones
    const __m256i even = _mm256_and_si256(bytes, _mm256_set1_epi16(0xff));
    store256(to, _mm256_permute4x64_epi64(_mm256_packus_epi16(even, _mm256_srli_epi16(bytes, 8)), 0xd8));
  } else {
    store256(to, bytes);
  }
  return q.scale * integer_unit(format);
}

}  // namespace
}  // namespace baleen::kernels
