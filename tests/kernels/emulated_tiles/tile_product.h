// One tile product, for a test that is not itself compiled for tiles.
#pragma once

#include <cstdint>

namespace baleen::kernels {

// c [16, 16] += a [16, 32] b, of which b holds pairs of rows: [16, 16, 2]. a and b are bf16.
void tile_product(float* c, const std::uint16_t* a, const std::uint16_t* b);

}  // namespace baleen::kernels
