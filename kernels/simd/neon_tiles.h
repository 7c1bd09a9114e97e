// 2x2 tiles of sums, which NEON's matrix products make: for each of two tokens two rows, side by side.
#pragma once

#include <arm_neon.h>

#include "kernels/tables.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t pair = 2;  // rows or tokens of a tile

// out[t * out_stride + r] for `tokens` tokens and `rows` rows, out of [token pairs, row_pairs] tiles.
template <std::size_t row_pairs>
void store_tiles(const float32x4_t* tiles, std::size_t tokens, std::size_t rows, float* out,
                 std::size_t out_stride) {
  for (std::size_t t = 0; t < tokens; ++t, out += out_stride) {
    for (std::size_t r = 0; r < rows; ++r) {
      out[r] = tiles[t / pair * row_pairs + r / pair][t % pair * pair + r % pair];
    }
  }
}

}  // namespace
}  // namespace baleen::kernels
