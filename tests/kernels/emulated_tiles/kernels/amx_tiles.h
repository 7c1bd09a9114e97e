// The functions of kernels/amx_tiles.h where there are no tiles: what the Intel 64 SDM, volume 2, says that
// the instructions do, in AVX-512. A file gets this header instead of that one if the directory above this is
// the first that its includes are looked for in.
#pragma once

#include <immintrin.h>

#include <cstddef>

#include "kernels/amx_layout.h"

namespace baleen::kernels {
namespace {

inline constexpr std::size_t tile_count = 8;
struct TileRegisters {
  bool configured = false;
  __m512i tiles[tile_count][tile_rows] = {};
};
inline thread_local TileRegisters tile_registers;

// LDTILECFG zeroes the tiles. Without it any other instruction is an invalid one, and here, too.
inline void configure_tiles() {
  tile_registers = {.configured = true};
}

// TILERELEASE
inline void release_tiles() {
  tile_registers = {};
}

template <int tile>
inline __m512i* rows_of_tile() {
  static_assert(tile >= 0 && tile < tile_count);
  if (!tile_registers.configured) __builtin_trap();
  return tile_registers.tiles[tile];
}

// TILELOADD
template <int tile>
inline void load_tile(const void* from, std::size_t stride = tile_row_bytes) {
  __m512i* rows = rows_of_tile<tile>();
  for (std::size_t r = 0; r < tile_rows; ++r)
    rows[r] = _mm512_loadu_si512(static_cast<const std::byte*>(from) + r * stride);
}

// TILESTORED
template <int tile>
inline void store_tile(void* to, std::size_t stride = tile_row_bytes) {
  const __m512i* rows = rows_of_tile<tile>();
  for (std::size_t r = 0; r < tile_rows; ++r)
    _mm512_storeu_si512(static_cast<std::byte*>(to) + r * stride, rows[r]);
}

// TILEZERO
template <int tile>
inline void zero_tile() {
  __m512i* rows = rows_of_tile<tile>();
  for (std::size_t r = 0; r < tile_rows; ++r) rows[r] = _mm512_setzero_si512();
}

// The first and the second of 16 pairs of bf16, as float32.
inline __m512 first_of_pairs(__m512i pairs) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}
inline __m512 second_of_pairs(__m512i pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-0x10000)));
}

// TDPBF16PS, rounding as MXCSR says: products of the first numbers of all pairs are summed in ascending
// order, those of the second numbers apart from them, by fused multiplications and additions; then the one
// sum is added to the other, and both to c. Out of line, so that no arithmetic moves past a change of MXCSR.
[[gnu::noinline]] inline void add_products(__m512i* c, const __m512i* a, const __m512i* b) {
  constexpr int pairs = tile_cols / 2;
  for (std::size_t r = 0; r < tile_rows; ++r) {
    __m512 first = _mm512_setzero_ps();
    __m512 second = _mm512_setzero_ps();
    for (int p = 0; p < pairs; ++p) {
      const __m512i pair = _mm512_permutexvar_epi32(_mm512_set1_epi32(p), a[r]);
      first = _mm512_fmadd_ps(first_of_pairs(pair), first_of_pairs(b[p]), first);
      second = _mm512_fmadd_ps(second_of_pairs(pair), second_of_pairs(b[p]), second);
    }
    const __m512 sum = _mm512_add_ps(_mm512_castsi512_ps(c[r]), _mm512_add_ps(first, second));
    c[r] = _mm512_castps_si512(sum);
  }
}

// TDPBF16PS rounds to nearest even, takes denormal operands for zeros and makes zeros of denormal results,
// whatever MXCSR says, and raises no exception.
template <int c, int a, int b>
inline void multiply_tiles() {
  const unsigned mxcsr = _mm_getcsr();
  _mm_setcsr(_MM_ROUND_NEAREST | _MM_DENORMALS_ZERO_ON | _MM_FLUSH_ZERO_ON | _MM_MASK_MASK);
  add_products(rows_of_tile<c>(), rows_of_tile<a>(), rows_of_tile<b>());
  _mm_setcsr(mxcsr);
}

}  // namespace
}  // namespace baleen::kernels
