// The most that the tile unit can do in bf16: what `baleen bench` measures products against where there are
// tiles. May be called where the operating system has granted the tile registers (XCR0 and, on Linux,
// ARCH_REQ_XCOMP_PERM).
#include <immintrin.h>

#include <cstdint>

#include "kernels/tables.h"

namespace baleen::kernels {
namespace {

// The memory operand of ldtilecfg: palette 1, eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  std::uint8_t palette = 0;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t bytes_per_row[16] = {};
  std::uint8_t rows[16] = {};
};

constexpr std::size_t tile_rows = 16;
constexpr std::size_t tile_row_bytes = 64;

void load_config(const TileConfig& config) {
  // g++ 12 does not know that the instruction reads memory, and drops the stores before it.
  __asm__ volatile("" : : "r"(&config) : "memory");
  if (config.palette == 0) {
    _tile_release();
  } else {
    _tile_loadconfig(&config);
  }
}

}  // namespace

// Four accumulators that do not wait for each other: a product takes 52 cycles, and one can begin every 16.
double amx_peak(std::size_t rounds) {
  TileConfig before;
  _tile_storeconfig(&before);
  __asm__ volatile("" : : : "memory");
  TileConfig config;
  config.palette = 1;
  for (std::size_t t = 0; t < 8; ++t) {
    config.bytes_per_row[t] = tile_row_bytes;
    config.rows[t] = tile_rows;
  }
  load_config(config);

  // Numbers of both signs: a unit that multiplies zeros takes less power and may run faster.
  alignas(64) std::uint16_t numbers[tile_rows * tile_row_bytes / 2];
  for (std::size_t i = 0; i < tile_rows * tile_row_bytes / 2; ++i) {
    numbers[i] = static_cast<std::uint16_t>(0x3f00 + i * 0x9e37 % 128 + (i * 0x9e37 / 128 % 2) * 0x8000);
  }
  __asm__ volatile("" : : "r"(numbers) : "memory");
  _tile_loadd(4, numbers, tile_row_bytes);
  _tile_loadd(5, numbers, tile_row_bytes);
  _tile_loadd(6, numbers, tile_row_bytes);
  _tile_loadd(7, numbers, tile_row_bytes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::size_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  load_config(before);
  constexpr double products = 4;
  constexpr double operations = 2.0 * tile_rows * tile_rows * (tile_row_bytes / 2);
  return static_cast<double>(rounds) * products * operations;
}

}  // namespace baleen::kernels
