#include "tile_peak.h"

#include "kernels/amx_tiles.h"

void multiply_tiles(long rounds) {
  using namespace baleen::kernels;
  // Numbers, not zeros: products of zeroed tiles were measured to run faster on a CPU that throttles.
  alignas(64) std::uint16_t numbers[tile_bytes / 2];
  for (std::uint16_t& number : numbers) number = 0x3f00;
  configure_tiles();
  load_tile<4>(numbers);
  load_tile<5>(numbers);
  load_tile<6>(numbers);
  load_tile<7>(numbers);
  for (long i = 0; i < rounds; ++i) {
    for (int twice = 0; twice < 2; ++twice) {
      baleen::kernels::multiply_tiles<0, 4, 6>();
      baleen::kernels::multiply_tiles<1, 4, 7>();
      baleen::kernels::multiply_tiles<2, 5, 6>();
      baleen::kernels::multiply_tiles<3, 5, 7>();
    }
  }
  release_tiles();
}
