#include "kernels/emulated_tiles/tile_product.h"

#include "kernels/amx_tiles.h"

namespace baleen::kernels {

void tile_product(float* c, const std::uint16_t* a, const std::uint16_t* b) {
  configure_tiles();
  load_tile<0>(c);
  load_tile<1>(a);
  load_tile<2>(b);
  multiply_tiles<0, 1, 2>();
  store_tile<0>(c);
  release_tiles();
}

}  // namespace baleen::kernels
