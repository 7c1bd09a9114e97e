// What the tiles of AMX can do at most, beside the loads that a matrix product cannot do without: 2 x 2 tiles
// take a load for each product, the fewest that eight registers allow.
//
//   tiles_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only
//
// items_per_second counts tile products of 16,384 operations. Where a virtual processor shares its core with
// a stranger's, tiles have two speeds, by turns for 100 ms to minutes, at one clock frequency. Measured on
// such a machine, cycles of 0.5 ns for a product: from registers 14 or 33; a load 8 or 23; 2 x 2 tiles from
// the first-level cache 15 or 63, and 15 or 56 with the four loads in a row; 40 vector additions more cost
// nothing or next to it. So repeat runs, and compare what was measured in turn.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

#include "kernels/amx_layout.h"
#include "kernels/amx_tiles.h"
#include "kernels/dispatch.h"

namespace {

using namespace baleen::kernels;

// Tiles of each operand that a benchmark walks through: 4 of each stay in the first-level cache, 128 of each
// do not.
constexpr std::size_t most_tiles = 128;

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};

// Two operands of most_tiles tiles, numbers between 0.5 and 2 of both signs.
std::unique_ptr<std::byte, Free> operands() {
  constexpr std::size_t bytes = 2 * most_tiles * tile_bytes;
  std::unique_ptr<std::byte, Free> memory(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)));
  std::mt19937 random(1);
  for (std::size_t i = 0; i < bytes; i += sizeof(std::uint16_t)) {
    const auto number = static_cast<std::uint16_t>((random() & 0x807f) | 0x3f00);
    std::memcpy(memory.get() + i, &number, sizeof number);
  }
  return memory;
}

// Four sums of 2 x 2 tiles; `tiles` of each operand are loaded in turn, none at all for 0: all four before
// the products, or each as late as can be.
void products(benchmark::State& state, std::size_t tiles, bool loads_first) {
  const auto memory = operands();
  const std::byte* a = memory.get();
  const std::byte* b = a + most_tiles * tile_bytes;
  configure_tiles();
  load_tile<4>(a);
  load_tile<5>(a + tile_bytes);
  load_tile<6>(b);
  load_tile<7>(b + tile_bytes);
  zero_tile<0>();
  zero_tile<1>();
  zero_tile<2>();
  zero_tile<3>();
  std::size_t at = 0;
  for (auto _ : state) {
    if (tiles > 0) {
      load_tile<4>(a + at);
      load_tile<6>(b + at);
    }
    if (loads_first) load_tile<5>(a + at + tile_bytes);
    if (loads_first) load_tile<7>(b + at + tile_bytes);
    multiply_tiles<0, 4, 6>();
    if (tiles > 0 && !loads_first) load_tile<5>(a + at + tile_bytes);
    multiply_tiles<2, 5, 6>();
    if (tiles > 0 && !loads_first) load_tile<7>(b + at + tile_bytes);
    multiply_tiles<1, 4, 7>();
    multiply_tiles<3, 5, 7>();
    if (tiles > 0) at = (at + 2 * tile_bytes) % (tiles * tile_bytes);
  }
  release_tiles();
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * 4);
}

void register_products(const char* name, std::size_t tiles, bool loads_first = false) {
  benchmark::RegisterBenchmark(name, products, tiles, loads_first)->ThreadRange(1, 2)->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  if (!find_kernels("amx")) {  // asks the operating system for the tiles
    std::fputs("tiles_bench: this machine has no AMX\n", stderr);
    return 1;
  }
  register_products("registers", 0);
  register_products("first_level_cache", 4);
  register_products("first_level_cache, loads first", 4, true);
  register_products("second_level_cache", most_tiles);
  register_products("second_level_cache, loads first", most_tiles, true);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
