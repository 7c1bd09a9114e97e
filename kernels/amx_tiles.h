// The instructions on AMX tiles. A tile is a register of 16 rows of 64 bytes;
//   c[i][j] += sum over p of a[i][2p] * b[p][2j] + a[i][2p + 1] * b[p][2j + 1]
// is one TDPBF16PS: a holds 16 rows of 32 bf16, b 16 pairs of consecutive k by 16 columns, c 16 x 16 float32.
// It takes denormals for zeros, its operands' and its results'. Even and odd k are summed apart, both in
// ascending order, and then added to c, whatever else is computed beside it (Intel 64 SDM, volume 2,
// TDPBF16PS).
//
// For files compiled with AMX-TILE and AMX-BF16; everything is in an unnamed namespace for the reason given
// in simd/rows.h. Tests put a header with the same functions in the place of this one.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/amx_layout.h"

namespace baleen::kernels {
namespace {

// All eight tiles whole. To be called by each thread before its first tile instruction; release_tiles gives
// the registers back, so that a context switch need not save their 8 KB.
inline void configure_tiles() {
  struct alignas(64) {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  // g++ 12 does not see that the instruction reads what the pointer points to and drops the stores.
  asm volatile("" ::: "memory");
  _tile_loadconfig(&config);
}

inline void release_tiles() {
  _tile_release();
}

// Tile instructions as functions of the number of a tile: the intrinsics want it literally, and those that
// load do not tell g++ 12 that they read memory.
template <int tile>
[[gnu::always_inline]] inline void load_tile(const void* from, std::size_t stride = tile_row_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
[[gnu::always_inline]] inline void store_tile(void* to, std::size_t stride = tile_row_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
[[gnu::always_inline]] inline void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(tile));
}
// c += a x b
template <int c, int a, int b>
[[gnu::always_inline]] inline void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
}

}  // namespace
}  // namespace baleen::kernels
