// AMX: prompts' products on tiles of bf16. Everything else is AVX-512's.
//
// A weight is widened to bf16 with its scale folded in, an activation is rounded to bf16 when it is packed;
// float32 sums run over k in ascending order. Weights are the left operand, so their tiles are rows of the
// matrix as they come and only the activations, packed once for all rows, need pairs of k side by side.
//
// A block of rows and columns is widened into tiles one after the other in memory: rows taken straight from a
// mapping lie 4,096 bytes or a multiple apart, in one set of the first-level cache. Sums wait in memory while
// the next block of columns is widened. Widening goes on beside the products, row by row, because a tile
// product takes 16 cycles of its own unit and leaves the others idle.
#include <cstring>

#include "kernels/amx_tiles.h"
#include "kernels/tables.h"

namespace baleen::kernels {
namespace {

// Rows and columns that are widened at a time, tokens whose sums are kept: 32 rows and 32 tokens of a block
// fill 32 KB of the first-level cache's 48.
constexpr std::size_t block_rows = 64;
constexpr std::size_t block_cols = 256;
constexpr std::size_t block_slots = 16;
constexpr std::size_t block_steps = block_cols / tile_cols;
constexpr std::size_t block_bytes = block_rows * block_cols * 2;
static_assert(amx_block_floats * sizeof(float) ==
              2 * block_bytes + block_rows / tile_rows * block_slots * tile_bytes);

constexpr std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}
constexpr std::size_t quotient_up(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}

// ---- Activations: a slot is 16 tokens, one tile for each 32 columns.

std::size_t slot_bytes(std::size_t cols) {
  return quotient_up(cols, tile_cols) * tile_bytes;
}

// Numbers [0, count) of 32 that begin at x.
__m512i load_activations(const float* x, std::size_t count) {
  const auto mask = static_cast<__mmask32>((std::uint64_t{1} << count) - 1);
  const __m512 first = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x);
  const __m512 second = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), x + 16);
  return to_bf16(first, second);
}

void pack(const PackArgs& a) {
  for (std::size_t t = 0; t < a.tokens; t += tile_rows) {
    std::byte* slot = a.packed + t / tile_rows * slot_bytes(a.cols);
    const std::size_t tokens = smaller(tile_rows, a.tokens - t);
    for (std::size_t c = a.col_begin; c < a.col_end; c += tile_cols) {
      const std::size_t cols = smaller(tile_cols, a.col_end - c);
      __m512i rows[tile_rows];
      for (std::size_t i = 0; i < tile_rows; ++i) {
        const std::size_t row = i >= tokens ? 0 : a.x_rows ? a.x_rows[t + i] : t + i;
        const float* x = a.x + row * a.x_stride + c - a.col_begin;
        rows[i] = load_activations(x, i < tokens ? cols : 0);
      }
      transpose_16x16(rows, rows);
      std::byte* tile = slot + c / tile_cols * tile_bytes;
      for (std::size_t i = 0; i < tile_rows; ++i) _mm512_store_si512(tile + i * tile_row_bytes, rows[i]);
    }
  }
}

constexpr Packing packing = {.slot_tokens = tile_rows, .slot_bytes = slot_bytes, .pack = pack};

// ---- Products.

// Two tiles of rows and one to three slots over some steps of k.
struct TileProduct {
  const std::byte* a = nullptr;  // tiles of 16 rows, one for each step
  std::size_t a_next = 0;        // bytes from them to those of the next 16 rows
  const std::byte* b = nullptr;  // packed tokens, one tile for each step
  std::size_t b_next = 0;        // bytes to the next slot's
  std::byte* c = nullptr;        // sums, a tile for each slot
  std::size_t c_next = 0;        // bytes to the next 16 rows'
  std::size_t steps = 0;
  bool first = false;  // sums begin at zero
};

// Six sums, a tile of rows and one of tokens fill the registers for three slots; for two, both operands are
// loaded once a step. meanwhile() is called once a step.
template <int S, class Work>
void multiply_tiles(const TileProduct& p, Work& meanwhile) {
  static_assert(S >= 1 && S <= 3);
  const auto each_sum = [&](const auto& f) __attribute__((always_inline)) {
    f.template operator()<0>(p.c);
    f.template operator()<S>(p.c + p.c_next);
    if constexpr (S > 1) {
      f.template operator()<1>(p.c + tile_bytes);
      f.template operator()<S + 1>(p.c + p.c_next + tile_bytes);
    }
    if constexpr (S > 2) {
      f.template operator()<2>(p.c + 2 * tile_bytes);
      f.template operator()<S + 2>(p.c + p.c_next + 2 * tile_bytes);
    }
  };
  if (p.first) {
    each_sum([]<int tile>(const std::byte*) { zero_tile<tile>(); });
  } else {
    each_sum([]<int tile>(const std::byte* c) { load_tile<tile>(c); });
  }
  for (std::size_t step = 0; step < p.steps; ++step) {
    const std::byte* a = p.a + step * tile_bytes;
    const std::byte* b = p.b + step * tile_bytes;
    if constexpr (S == 3) {
      load_tile<6>(a);
      load_tile<7>(b);
      multiply_tiles<0, 6, 7>();
      load_tile<7>(b + p.b_next);
      multiply_tiles<1, 6, 7>();
      load_tile<7>(b + 2 * p.b_next);
      multiply_tiles<2, 6, 7>();
      load_tile<6>(a + p.a_next);
      multiply_tiles<5, 6, 7>();
      load_tile<7>(b);
      multiply_tiles<3, 6, 7>();
      load_tile<7>(b + p.b_next);
      multiply_tiles<4, 6, 7>();
    } else {
      load_tile<4>(a);
      load_tile<6>(b);
      load_tile<5>(a + p.a_next);
      multiply_tiles<0, 4, 6>();
      if constexpr (S == 2) load_tile<7>(b + p.b_next);
      multiply_tiles<S, 5, 6>();
      if constexpr (S == 2) multiply_tiles<1, 4, 7>();
      if constexpr (S == 2) multiply_tiles<3, 5, 7>();
    }
    meanwhile();
  }
  each_sum([]<int tile>(std::byte* c) { store_tile<tile>(c); });
}

// Two tiles of rows and any number of slots.
template <class Work>
void multiply_slots(TileProduct p, std::size_t slots, Work& meanwhile) {
  while (slots > 0) {
    const std::size_t count = slots == 1 ? 1 : slots == 3 ? 3 : 2;
    if (count == 1) multiply_tiles<1>(p, meanwhile);
    if (count == 2) multiply_tiles<2>(p, meanwhile);
    if (count == 3) multiply_tiles<3>(p, meanwhile);
    slots -= count;
    p.b += count * p.b_next;
    p.c += count * tile_bytes;
  }
}

// Sums of 16 rows and 16 tokens to out[t][r] for those rows and tokens that there are.
void write_sums(const std::byte* sums, std::size_t rows, std::size_t tokens, float* out, std::size_t stride) {
  __m512i lines[tile_rows];
  for (std::size_t r = 0; r < tile_rows; ++r) lines[r] = _mm512_load_si512(sums + r * tile_row_bytes);
  transpose_16x16(lines, lines);
  const auto mask = static_cast<__mmask16>((1u << rows) - 1);
  for (std::size_t t = 0; t < tokens; ++t) _mm512_mask_storeu_epi32(out + t * stride, mask, lines[t]);
}

// ---- Weights.

__m512 load_16_f16(const std::byte* p, __mmask16 mask) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}

// Number `index` of an array of plain numbers, as bf16 or rounded to it: `count` of 32 values.
template <Format format>
__m512i load_plain(const std::byte* p, std::size_t count) {
  const auto mask = static_cast<__mmask32>((std::uint64_t{1} << count) - 1);
  const auto low = static_cast<__mmask16>(mask);
  const auto high = static_cast<__mmask16>(mask >> 16);
  if constexpr (format == Format::bf16) return _mm512_maskz_loadu_epi16(mask, p);
  if constexpr (format == Format::f16) return to_bf16(load_16_f16(p, low), load_16_f16(p + 32, high));
  return to_bf16(_mm512_maskz_loadu_ps(low, p), _mm512_maskz_loadu_ps(high, p + 64));
}

// Widens rows of any matrix, all of a row at a time, through float32.
void widen_any_row(const Matrix& m, std::size_t row, float* widened, std::byte* tiles) {
  avx512_kernels().widen_row[static_cast<std::size_t>(m.format)](m, row, widened);
  for (std::size_t c = 0; c < m.cols; c += tile_cols) {
    const __m512i w = load_activations(widened + c, smaller(tile_cols, m.cols - c));
    _mm512_store_si512(tiles + c / tile_cols * tile_bytes, w);
  }
}

// The parts of scratch.
struct Scratch {
  std::byte* sums;     // [block_rows / 16][block_slots] tiles
  std::byte* blocks;   // two blocks of widened rows
  std::byte* widened;  // generic: two tiles of rows, all columns, and a row of float32
  explicit Scratch(float* scratch) {
    const auto past = reinterpret_cast<std::uintptr_t>(scratch) % tile_row_bytes;
    sums = reinterpret_cast<std::byte*>(scratch) + (past ? tile_row_bytes - past : 0);
    blocks = sums + block_rows / tile_rows * block_slots * tile_bytes;
    widened = blocks + 2 * block_bytes;
  }
};

// Any matrix: 32 rows are widened whole, then multiplied.
void multiply_any(const MatmulArgs& a) {
  const Matrix& m = *a.matrix;
  const Scratch scratch(a.scratch);
  const std::size_t steps = quotient_up(m.cols, tile_cols);
  float* row_floats = reinterpret_cast<float*>(scratch.widened + 2 * steps * tile_bytes);
  configure_tiles();
  const auto idle = [] {};
  for (std::size_t row = a.row_begin; row < a.row_end; row += 2 * tile_rows) {
    const std::size_t rows = smaller(2 * tile_rows, a.row_end - row);
    for (std::size_t r = 0; r < rows; ++r) {
      widen_any_row(m, row + r, row_floats,
                    scratch.widened + r / tile_rows * steps * tile_bytes + r % tile_rows * tile_row_bytes);
    }
    for (std::size_t t = 0; t < a.tokens; t += block_slots * tile_rows) {
      const std::size_t tokens = smaller(block_slots * tile_rows, a.tokens - t);
      const TileProduct product = {.a = scratch.widened,
                                   .a_next = steps * tile_bytes,
                                   .b = a.packed + t / tile_rows * slot_bytes(m.cols),
                                   .b_next = slot_bytes(m.cols),
                                   .c = scratch.sums,
                                   .c_next = block_slots * tile_bytes,
                                   .steps = steps,
                                   .first = true};
      multiply_slots(product, quotient_up(tokens, tile_rows), idle);
      for (std::size_t r = 0; r < rows; r += tile_rows) {
        for (std::size_t i = 0; i < tokens; i += tile_rows) {
          write_sums(scratch.sums + (r / tile_rows * block_slots + i / tile_rows) * tile_bytes,
                     smaller(tile_rows, rows - r), smaller(tile_rows, tokens - i),
                     a.out + (t + i) * a.out_stride + row + r - a.row_begin, a.out_stride);
        }
      }
    }
  }
  release_tiles();
}

const Matmul& matmul(Path path, const Matrix& m) {
  if (path != Path::batch) return avx512_kernels().matmul(path, m);
  static constexpr Matmul any = {&packing, multiply_any};
  return any;
}

}  // namespace

const Kernels& amx_kernels() {
  static const Kernels table = [] {
    Kernels kernels = avx512_kernels();
    kernels.name = "amx";
    kernels.matmul = matmul;
    return kernels;
  }();
  return table;
}

}  // namespace baleen::kernels
