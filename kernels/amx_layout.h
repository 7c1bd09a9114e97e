// What tiles hold: their sizes, and numbers rounded to bf16 and put where a tile has them.
//
// For files compiled with AVX-512 and AVX512-BF16; everything is in an unnamed namespace for the reason given
// in simd/rows.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace baleen::kernels {
namespace {

inline constexpr std::size_t tile_rows = 16;
inline constexpr std::size_t tile_row_bytes = 64;
inline constexpr std::size_t tile_bytes = tile_rows * tile_row_bytes;
// Columns of bf16 in a row of a tile: the k of one TDPBF16PS.
inline constexpr std::size_t tile_cols = 32;

// 32 numbers as bf16, rounded to nearest even; denormals become zeros.
inline __m512i to_bf16(__m512 first, __m512 second) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
}

// Two rows of 16 numbers as bf16, the first row's in the even places: a line of a tile of pairs.
inline __m512i interleave(__m512 first, __m512 second) {
  const __m512i halves = to_bf16(first, second);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}

// Numbers [0, count) of 32 that begin at x, zeros behind.
inline __m512i load_bf16(const float* x, std::size_t count) {
  const auto mask = static_cast<__mmask32>((std::uint64_t{1} << count) - 1);
  const __m512 first = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x);
  const __m512 second = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), x + 16);
  return to_bf16(first, second);
}

// out[j] lane i = rows[i] lane j: blocks of 2 x 2, of 4 x 4, then the four lanes of 128 bits. out may be
// rows.
[[gnu::always_inline]] inline void transpose_16x16(const __m512i* rows, __m512i* out) {
  __m512i a[16];
  __m512i b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    const __m512i even_low = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88);
    const __m512i even_high = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd);
    const __m512i odd_high = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
    out[i] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    out[i + 4] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    out[i + 8] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
    out[i + 12] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
  }
}

}  // namespace
}  // namespace baleen::kernels
