// AMX: prompts' products on tiles of bf16; attention stands in amx_attention.cpp. Everything else is
// AVX-512's.
//
// A weight is widened to bf16 with its scale folded in, an activation is rounded to bf16 when it is packed;
// float32 sums run over k in ascending order. Weights are the left operand, so their tiles are rows of the
// matrix as they come and only the activations, packed once for all rows, need pairs of k side by side.
//
// bf16 rows are tiles as they lie. Of other formats a block of rows and columns is widened into tiles that
// follow each other in memory. Sums wait in memory while the next block of columns takes its turn. That block
// is widened beside the products of this one, a little after each, because a tile product takes 16 cycles of
// its own unit and leaves the others idle.
#include "kernels/amx.h"

#include "kernels/amx_tiles.h"
#include "kernels/simd/avx512.h"

namespace baleen::kernels {
namespace {

// Rows and columns that are widened at a time, and slots of tokens whose sums are kept. Longer blocks spend
// less on sums, but more of a call's time on its first block, which is widened beside nothing.
constexpr std::size_t block_rows = 32;
constexpr std::size_t block_cols = 2048;
constexpr std::size_t block_slots = 16;
constexpr std::size_t block_steps = block_cols / tile_cols;
constexpr std::size_t block_bytes = block_rows * block_cols * 2;
static_assert(block_rows == 2 * tile_rows);
static_assert(amx_block_floats * sizeof(float) ==
              2 * block_bytes + block_rows / tile_rows * block_slots * tile_bytes);

constexpr std::size_t quotient_up(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}

// ---- Activations: a slot is 16 tokens, one tile for each 32 columns.

std::size_t slot_bytes(std::size_t cols) {
  return quotient_up(cols, tile_cols) * tile_bytes;
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
        rows[i] = load_bf16(x, i < tokens ? cols : 0);
      }
      transpose_16x16(rows, rows);
      std::byte* tile = slot + c / tile_cols * tile_bytes;
      for (std::size_t i = 0; i < tile_rows; ++i) _mm512_store_si512(tile + i * tile_row_bytes, rows[i]);
    }
  }
}

// ---- Products.

// Two tiles of rows and one or two slots over some steps of k.
struct TileProduct {
  const std::byte* a = nullptr;           // weights: the first 16 rows' tile of the first step
  std::size_t a_stride = tile_row_bytes;  // bytes between the rows of a tile
  std::size_t a_other = tile_bytes;       // bytes to the other 16 rows
  std::size_t a_step = 2 * tile_bytes;    // bytes to the next step
  const std::byte* b = nullptr;           // packed tokens, one tile for each step
  std::size_t b_next = 0;                 // bytes to the next slot's
  std::byte* c = nullptr;                 // sums, a tile for each slot
  std::size_t c_next = 0;                 // bytes to the next 16 rows'
  std::size_t steps = 0;
  bool first = false;  // sums begin at zero
};

// Steps ahead of the loads that packed tokens are brought from the second-level cache into the first.
constexpr std::size_t tokens_ahead = 2;

inline void prefetch_tile(const std::byte* tile) {
  for (std::size_t line = 0; line < tile_bytes; line += 64) __builtin_prefetch(tile + line);
}

// 2 x 2 tiles take one load for each product, the fewest that eight registers allow. On virtual processors
// loads were measured to run beside the products at times, and mostly not to: then each takes two thirds of a
// product's time (tests/bench/tiles_bench.cpp). meanwhile() is called after each of the 2 S products of a
// step: what it does is best spread, or it would keep tiles waiting for memory.
template <int S, class Work>
void multiply_tiles(const TileProduct& p, Work& meanwhile) {
  static_assert(S == 1 || S == 2);
  const auto each_sum = [&](const auto& f) __attribute__((always_inline)) {
    f.template operator()<0>(p.c);
    f.template operator()<2>(p.c + p.c_next);
    if constexpr (S == 2) {
      f.template operator()<1>(p.c + tile_bytes);
      f.template operator()<3>(p.c + p.c_next + tile_bytes);
    }
  };
  if (p.first) {
    each_sum([]<int tile>(const std::byte*) { zero_tile<tile>(); });
  } else {
    each_sum([]<int tile>(const std::byte* c) { load_tile<tile>(c); });
  }
  for (std::size_t step = 0; step < p.steps; ++step) {
    const std::byte* a = p.a + step * p.a_step;
    const std::byte* b = p.b + step * tile_bytes;
    load_tile<4>(a, p.a_stride);
    load_tile<6>(b);
    multiply_tiles<0, 4, 6>();
    meanwhile();
    load_tile<5>(a + p.a_other, p.a_stride);
    multiply_tiles<2, 5, 6>();
    meanwhile();
    prefetch_tile(b + tokens_ahead * tile_bytes);
    if constexpr (S == 2) {
      load_tile<7>(b + p.b_next);
      multiply_tiles<1, 4, 7>();
      meanwhile();
      prefetch_tile(b + p.b_next + tokens_ahead * tile_bytes);
      multiply_tiles<3, 5, 7>();
      meanwhile();
    }
  }
  each_sum([]<int tile>(std::byte* c) { store_tile<tile>(c); });
}

// Two tiles of rows and any number of slots.
template <class Work>
void multiply_slots(TileProduct p, std::size_t slots, Work& meanwhile) {
  for (; slots >= 2; slots -= 2, p.b += 2 * p.b_next, p.c += 2 * tile_bytes) multiply_tiles<2>(p, meanwhile);
  if (slots == 1) multiply_tiles<1>(p, meanwhile);
}

// Sums of 16 rows and 16 tokens to out[t][r] for those rows and tokens that there are.
void write_sums(const std::byte* sums, std::size_t rows, std::size_t tokens, float* out, std::size_t stride) {
  __m512i lines[tile_rows];
  for (std::size_t r = 0; r < tile_rows; ++r) lines[r] = _mm512_load_si512(sums + r * tile_row_bytes);
  transpose_16x16(lines, lines);
  const auto mask = static_cast<__mmask16>((1u << rows) - 1);
  for (std::size_t t = 0; t < tokens; ++t) _mm512_mask_storeu_epi32(out + t * stride, mask, lines[t]);
}

// ---- Weights, widened.

// From one step's tiles of two times 16 rows to the next step's.
constexpr std::size_t step_bytes = 2 * tile_bytes;

// The first `count` of 32 numbers in memory.
template <Format format>
__m512i load_plain(const std::byte* p, std::size_t count) {
  const auto mask = static_cast<__mmask32>((std::uint64_t{1} << count) - 1);
  const auto low = static_cast<__mmask16>(mask);
  const auto high = static_cast<__mmask16>(mask >> 16);
  if constexpr (format == Format::bf16) {
    return _mm512_maskz_loadu_epi16(mask, p);
  } else if constexpr (format == Format::f16) {
    return to_bf16(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(low, p)),
                   _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(high, p + 32)));
  } else {
    return to_bf16(_mm512_maskz_loadu_ps(low, p), _mm512_maskz_loadu_ps(high, p + 64));
  }
}

// The first `count` of 16 numbers in memory, as float32.
__m512 load_scales(Format format, const std::byte* p, std::size_t count) {
  const auto mask = static_cast<__mmask16>((1u << count) - 1);
  if (format == Format::f32) return _mm512_maskz_loadu_ps(mask, p);
  if (format == Format::e8m0) return Avx512::widen_e8m0(_mm_maskz_loadu_epi8(mask, p));
  const __m256i bits = _mm256_maskz_loadu_epi16(mask, p);
  if (format == Format::f16) return _mm512_cvtph_ps(bits);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

constexpr std::size_t scale_bytes(Format format) {
  return value_bits(format) / 8;
}

// A Widener<format> turns stored values into tiles, a chunk of columns of a row at a time. It works on
// several rows side by side, numbered as streams:
//   suits(m)                 whether it can do so for this matrix; else they are widened row by row
//   block(row, begin, end)   which rows, from `row` on, and columns follow: a block of them at most
//   row(stream, row)         which row follows
//   chunk(stream, c, tiles)  widens its columns [c, c + chunk_cols) to tiles and tiles + step_bytes
constexpr std::size_t chunk_cols = 2 * tile_cols;
// As in simd/stream.h.
constexpr std::size_t streams = 4;

template <Format format>
class Widener {  // f32, f16, bf16
 public:
  static constexpr std::size_t value_bits = format == Format::f32 ? 32 : 16;
  static bool suits(const Matrix&) { return true; }
  explicit Widener(const Matrix& m) : m_(m) {}
  void block(std::size_t, std::size_t, std::size_t) {}
  void row(std::size_t stream, std::size_t row) { values_[stream] = m_.values + row * m_.row_bytes; }
  void chunk(std::size_t stream, std::size_t c, std::byte* tiles) const {
    const std::size_t end = smaller(c + chunk_cols, m_.cols);
    for (; c < end; c += tile_cols, tiles += step_bytes) {
      const std::size_t count = smaller(tile_cols, end - c);
      _mm512_store_si512(tiles, load_plain<format>(values_[stream] + c * value_bits / 8, count));
    }
  }

 private:
  const Matrix& m_;
  const std::byte* values_[streams] = {};
};

// A code is looked up among the weights of all 128 magnitudes, low and high bytes apart; the sign is flipped
// after. Rows of a block of scales share the tables; a block of rows may begin in one and end in the next.
template <>
class Widener<Format::fp8_e4m3> {
 public:
  static bool suits(const Matrix& m) {
    return m.cols % chunk_cols == 0 && m.scales && m.block_cols % chunk_cols == 0 &&
           m.block_rows >= block_rows;
  }
  explicit Widener(const Matrix& m) : m_(m) {}
  void block(std::size_t row, std::size_t begin, std::size_t end) {
    begin_ = begin;
    first_ = row / m_.block_rows;
    made_[0] = made_[1] = false;
    end_ = end;
  }
  void row(std::size_t stream, std::size_t row) {
    values_[stream] = m_.values + row * m_.row_bytes;
    const std::size_t which = row / m_.block_rows - first_;
    tables_of_[stream] = tables_[which];
    if (made_[which]) return;
    made_[which] = true;
    for (std::size_t c = begin_; c < end_; c += chunk_cols) {
      Tables& t = tables_[which][(c - begin_) / chunk_cols];
      if (c == begin_ || c % m_.block_cols == 0) {
        make_tables(first_ + which, c / m_.block_cols, t);
      } else {
        t = (&t)[-1];
      }
    }
  }
  void chunk(std::size_t stream, std::size_t c, std::byte* tiles) const {
    // Unpacking works within 128 bits: first columns 0 to 31, then 32 to 63.
    const __m512i halves = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __m512i sign = _mm512_set1_epi8(-128);
    const Tables& t = tables_of_[stream][(c - begin_) / chunk_cols];
    const __m512i codes = _mm512_permutexvar_epi64(halves, _mm512_loadu_si512(values_[stream] + c));
    const __m512i low = _mm512_permutex2var_epi8(t.low[0], codes, t.low[1]);
    const __m512i magnitude = _mm512_permutex2var_epi8(t.high[0], codes, t.high[1]);
    const __m512i high = _mm512_xor_si512(magnitude, _mm512_and_si512(codes, sign));
    _mm512_store_si512(tiles, _mm512_unpacklo_epi8(low, high));
    _mm512_store_si512(tiles + step_bytes, _mm512_unpackhi_epi8(low, high));
  }

 private:
  struct Tables {
    __m512i low[2];
    __m512i high[2];
  };

  // Weights of magnitudes [begin, begin + 32). Shifted into place a code's exponent and mantissa are a f16, a
  // subnormal one or not, of 2^-8 its value; only the code of all ones must be made NaN.
  static __m512i weights(int begin, __m512 scale) {
    const __m512i low = _mm512_add_epi32(
        _mm512_set1_epi32(begin), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const auto widen = [&](__m512i codes) {
      const __m256i f16 = _mm512_cvtepi32_epi16(_mm512_slli_epi32(codes, 7));
      const __m512 value = _mm512_mul_ps(_mm512_cvtph_ps(f16), _mm512_set1_ps(256));
      const __mmask16 nan = _mm512_cmpeq_epi32_mask(codes, _mm512_set1_epi32(127));
      return _mm512_mul_ps(_mm512_mask_mov_ps(value, nan, _mm512_set1_ps(__builtin_nanf(""))), scale);
    };
    return to_bf16(widen(low), widen(_mm512_add_epi32(low, _mm512_set1_epi32(16))));
  }

  void make_tables(std::size_t scale_row, std::size_t scale_col, Tables& t) const {
    const std::byte* at = m_.scales + (scale_row * m_.scale_cols + scale_col) * scale_bytes(m_.scale_format);
    const __m512 scale = _mm512_broadcastss_ps(_mm512_castps512_ps128(load_scales(m_.scale_format, at, 1)));
    for (int half = 0; half < 2; ++half) {
      const __m512i first = weights(64 * half, scale);
      const __m512i second = weights(64 * half + 32, scale);
      const auto join = [](__m256i a, __m256i b) {
        return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
      };
      t.low[half] = join(_mm512_cvtepi16_epi8(first), _mm512_cvtepi16_epi8(second));
      t.high[half] = join(_mm512_cvtepi16_epi8(_mm512_srli_epi16(first, 8)),
                          _mm512_cvtepi16_epi8(_mm512_srli_epi16(second, 8)));
    }
  }

  const Matrix& m_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t first_ = 0;  // row of scales that the block begins in
  bool made_[2] = {};      // whether the tables of this one and of the next are
  const std::byte* values_[streams] = {};
  const Tables* tables_of_[streams] = {};
  Tables tables_[2][block_cols / chunk_cols];
};

// A row in groups, and the scales of its columns, one for each step: what integer formats and mxfp4 share.
class ScaledRow {
 public:
  static bool suits(const Matrix& m) {
    return m.cols % chunk_cols == 0 && m.scales && m.block_rows == 1 && !m.zeros && !m.group_index &&
           m.block_cols % tile_cols == 0;
  }
  explicit ScaledRow(const Matrix& m) : m_(m) {}
  void block(std::size_t, std::size_t begin, std::size_t end) {
    begin_ = begin;
    vectors_ = 0;
    for (std::size_t c = begin; c < end; c += 16 * tile_cols) {
      Vector& v = vector_[vectors_++];
      v.group = c / m_.block_cols;
      alignas(64) std::int32_t of_step[16] = {};
      for (std::size_t i = 0; i < 16 && c + i * tile_cols < end; ++i) {
        of_step[i] = static_cast<std::int32_t>((c + i * tile_cols) / m_.block_cols - v.group);
        v.count = static_cast<std::size_t>(of_step[i]) + 1;
      }
      v.of_step = _mm512_load_si512(of_step);
    }
  }
  void row(std::size_t stream, std::size_t row) {
    values_[stream] = m_.values + row * m_.row_bytes;
    const std::byte* scales = m_.scales + row * m_.scale_cols * scale_bytes(m_.scale_format);
    for (std::size_t i = 0; i < vectors_; ++i) {
      const Vector& v = vector_[i];
      const __m512 stored =
          load_scales(m_.scale_format, scales + v.group * scale_bytes(m_.scale_format), v.count);
      _mm512_store_ps(scales_[stream] + 16 * i, _mm512_permutexvar_ps(v.of_step, stored));
    }
  }

 protected:
  const std::byte* values(std::size_t stream) const { return values_[stream]; }
  // From column c on.
  const float* scales_at(std::size_t stream, std::size_t c) const {
    return scales_[stream] + (c - begin_) / tile_cols;
  }

 private:
  struct Vector {  // the groups of 16 steps
    std::size_t group;
    std::size_t count;
    __m512i of_step;
  };
  const Matrix& m_;
  const std::byte* values_[streams] = {};
  std::size_t begin_ = 0;
  std::size_t vectors_ = 0;
  Vector vector_[block_steps / 16];
  alignas(64) float scales_[streams][block_steps];
};
static_assert(block_steps % 16 == 0);

template <>
class Widener<Format::int8> : public ScaledRow {
 public:
  using ScaledRow::ScaledRow;
  void chunk(std::size_t stream, std::size_t c, std::byte* tiles) const {
    for (std::size_t step = 0; step < 2; ++step) {
      const __m512 scale = _mm512_set1_ps(scales_at(stream, c)[step]);
      const __m512 offset = _mm512_mul_ps(scale, _mm512_set1_ps(-128));
      const auto widen = [&](const std::byte* at) {
        const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
        return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes)), scale, offset);
      };
      const std::byte* from = values(stream) + c + step * tile_cols;
      _mm512_store_si512(tiles + step * step_bytes, to_bf16(widen(from), widen(from + 16)));
    }
  }
};

// The values of codes of 4 bits.
template <Format format>
__m512 nibble_values() {
  if constexpr (format == Format::int4)
    return _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  return _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
}

// The 16 weights of a group are a table that codes are looked up in, two groups to a register. A weight of
// mxfp4 is exact in bf16 unless it is among the denormals, which tiles take for zeros.
template <Format format>
class NibbleWidener : public ScaledRow {
 public:
  using ScaledRow::ScaledRow;
  void chunk(std::size_t stream, std::size_t c, std::byte* tiles) const {
    const __m512 codes = nibble_values<format>();
    const __m512i low_bits = _mm512_set1_epi16(15);
    const __m512i second_group = _mm512_set1_epi16(16);
    const float* scale = scales_at(stream, c);
    const std::byte* values = this->values(stream) + c / 2;
    const __m512i weights = to_bf16(_mm512_mul_ps(codes, _mm512_set1_ps(scale[0])),
                                    _mm512_mul_ps(codes, _mm512_set1_ps(scale[1])));
    const __m512i first = _mm512_and_si512(nibbles(values), low_bits);
    // (nibbles & low_bits) | second_group
    const __m512i second = _mm512_ternarylogic_epi64(nibbles(values + 16), low_bits, second_group, 0xea);
    _mm512_store_si512(tiles, _mm512_permutexvar_epi16(first, weights));
    _mm512_store_si512(tiles + step_bytes, _mm512_permutexvar_epi16(second, weights));
  }

 private:
  // 32 codes, each in the low bits of a word: byte i goes to words 2i and 2i + 1 and is shifted in the
  // latter.
  static __m512i nibbles(const std::byte* p) {
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m512i twice = _mm512_setr_epi32(
        0x00000000, 0x01010101, 0x02020202, 0x03030303, 0x04040404, 0x05050505, 0x06060606, 0x07070707,
        0x08080808, 0x09090909, 0x0a0a0a0a, 0x0b0b0b0b, 0x0c0c0c0c, 0x0d0d0d0d, 0x0e0e0e0e, 0x0f0f0f0f);
    return _mm512_srlv_epi16(_mm512_shuffle_epi8(bytes, twice), _mm512_set1_epi32(4 << 16));
  }
};

template <>
class Widener<Format::int4> : public NibbleWidener<Format::int4> {
  using NibbleWidener::NibbleWidener;
};
template <>
class Widener<Format::mxfp4> : public NibbleWidener<Format::mxfp4> {
  using NibbleWidener::NibbleWidener;
};

// ---- A matrix.

// The parts of scratch.
struct Scratch {
  std::byte* sums;     // [block_rows / 16][block_slots] tiles
  std::byte* blocks;   // two blocks of widened weights
  std::byte* widened;  // where rows are widened whole: 32 of them, and one of float32
  explicit Scratch(float* scratch) {
    const auto past = reinterpret_cast<std::uintptr_t>(scratch) % tile_row_bytes;
    sums = reinterpret_cast<std::byte*>(scratch) + (past ? tile_row_bytes - past : 0);
    blocks = sums + block_rows / tile_rows * block_slots * tile_bytes;
    widened = blocks + 2 * block_bytes;
  }
};

// Sums of a block to out, its rows from `row` and its tokens from `token` on.
void write_block(const MatmulArgs& a, const std::byte* sums, std::size_t row, std::size_t rows,
                 std::size_t token, std::size_t tokens) {
  for (std::size_t r = 0; r < rows; r += tile_rows) {
    for (std::size_t t = 0; t < tokens; t += tile_rows) {
      write_sums(sums + (r / tile_rows * block_slots + t / tile_rows) * tile_bytes,
                 smaller(tile_rows, rows - r), smaller(tile_rows, tokens - t),
                 a.out + (token + t) * a.out_stride + row + r - a.row_begin, a.out_stride);
    }
  }
}

// Any matrix: 32 rows are widened whole, through float32, then multiplied.
void multiply_any(const MatmulArgs& a) {
  const Matrix& m = *a.matrix;
  const Scratch scratch(a.scratch);
  const std::size_t steps = quotient_up(m.cols, tile_cols);
  float* row_floats = reinterpret_cast<float*>(scratch.widened + 2 * steps * tile_bytes);
  const auto idle = [] {};
  configure_tiles();
  for (std::size_t row = a.row_begin; row < a.row_end; row += 2 * tile_rows) {
    const std::size_t rows = smaller(2 * tile_rows, a.row_end - row);
    for (std::size_t r = 0; r < rows; ++r) {
      avx512_dot_kernels().widen_row[static_cast<std::size_t>(m.format)](m, row + r, row_floats);
      std::byte* tiles = scratch.widened + r * tile_row_bytes;
      for (std::size_t c = 0; c < m.cols; c += tile_cols, tiles += step_bytes) {
        _mm512_store_si512(tiles, load_bf16(row_floats + c, smaller(tile_cols, m.cols - c)));
      }
    }
    for (std::size_t t = 0; t < a.tokens; t += block_slots * tile_rows) {
      const std::size_t tokens = smaller(block_slots * tile_rows, a.tokens - t);
      const TileProduct product = {.a = scratch.widened,
                                   .b = a.packed + t / tile_rows * slot_bytes(m.cols),
                                   .b_next = slot_bytes(m.cols),
                                   .c = scratch.sums,
                                   .c_next = block_slots * tile_bytes,
                                   .steps = steps,
                                   .first = true};
      multiply_slots(product, quotient_up(tokens, tile_rows), idle);
      write_block(a, scratch.sums, row, rows, t, tokens);
    }
  }
  release_tiles();
}

// A block of a matrix: rows from `row` on and columns [begin, end).
struct Block {
  std::size_t row;
  std::size_t rows;
  std::size_t begin;
  std::size_t end;
  std::size_t steps() const { return quotient_up(end - begin, tile_cols); }
};

// The blocks of rows [row_begin, row_end) in the order of work: along the columns first.
Block block_at(const MatmulArgs& a, std::size_t i) {
  const std::size_t across = quotient_up(a.matrix->cols, block_cols);
  const std::size_t row = a.row_begin + i / across * block_rows;
  const std::size_t begin = i % across * block_cols;
  return {row, row < a.row_end ? smaller(block_rows, a.row_end - row) : 0, begin,
          smaller(begin + block_cols, a.matrix->cols)};
}

// Widens a block, a few chunks at each call, while the block before it is multiplied.
template <Format format>
class BlockWidener {
 public:
  explicit BlockWidener(const MatmulArgs& a) : a_(a), widener_(*a.matrix) {}

  // Begins with block i, to be spread over `calls` calls.
  void begin(std::size_t i, std::byte* tiles, std::size_t calls) {
    block_ = block_at(a_, i);
    tiles_ = tiles;
    row_ = 0;
    stream_ = 0;
    due_ = 0;
    calls_ = calls;
    share_ = quotient_up(block_.rows, streams);
    chunks_ = streams * share_ * quotient_up(block_.end - block_.begin, chunk_cols);
    if (share_ == 0) return;
    widener_.block(block_.row, block_.begin, block_.end);
    begin_rows();
  }
  void operator()() {
    for (due_ += chunks_; due_ >= calls_; due_ -= calls_) next();
  }
  void finish() {
    while (row_ < share_) next();
  }

 private:
  void begin_rows() {
    col_ = block_.begin;
    for (std::size_t s = 0; s < streams; ++s) {
      const std::size_t row = s * share_ + row_;
      if (row < block_.rows) widener_.row(s, block_.row + row);
    }
  }
  void next() {
    if (row_ == share_) return;
    const std::size_t row = stream_ * share_ + row_;
    std::byte* step = tiles_ + (col_ - block_.begin) / tile_cols * step_bytes;
    if (row < block_.rows) widener_.chunk(stream_, col_, step + row * tile_row_bytes);
    if (++stream_ < streams) return;
    stream_ = 0;
    col_ += chunk_cols;
    if (col_ < block_.end) return;
    ++row_;
    if (row_ < share_) begin_rows();
  }

  const MatmulArgs& a_;
  Widener<format> widener_;
  Block block_ = {};
  std::byte* tiles_ = nullptr;
  std::size_t share_ = 0;   // rows of a stream
  std::size_t stream_ = 0;  // that comes next,
  std::size_t row_ = 0;     // its row
  std::size_t col_ = 0;     // and the column
  std::size_t due_ = 0;
  std::size_t calls_ = 1;
  std::size_t chunks_ = 0;
};

// Asks for 32 rows of bf16, a part after each product of those before. It goes along the rows: a
// step of all 32 would touch as many pages, beside those of the products more than the TLB holds.
class RowPrefetch {
 public:
  // For products with `slots` slots: as many calls as make twice the slots for each step.
  RowPrefetch(const Matrix& m, std::size_t row, std::size_t row_end, std::size_t slots)
      : at_(m.values + row * m.row_bytes),
        end_(row < row_end ? at_ + block_rows * m.row_bytes : at_),
        lines_(quotient_up(block_rows, 2 * slots)) {}
  void operator()() {
    for (std::size_t i = 0; i < lines_ && at_ < end_; ++i, at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const std::byte* at_;
  const std::byte* end_;
  std::size_t lines_;
};

// bf16 rows are tiles as they lie: to copy them was measured to be slower for 48 tokens and no faster for
// 192. The sums stay in registers for the whole of k, and come out as those of the blocks do.
bool is_direct(const MatmulArgs& a) {
  const Matrix& m = *a.matrix;
  return m.format == Format::bf16 && m.cols % tile_cols == 0 && (a.row_end - a.row_begin) % block_rows == 0;
}

void multiply_direct(const MatmulArgs& a) {
  const Matrix& m = *a.matrix;
  const Scratch scratch(a.scratch);
  configure_tiles();
  for (std::size_t t = 0; t < a.tokens; t += block_slots * tile_rows) {
    const std::size_t tokens = smaller(block_slots * tile_rows, a.tokens - t);
    const std::size_t slots = quotient_up(tokens, tile_rows);
    for (std::size_t row = a.row_begin; row < a.row_end; row += block_rows) {
      RowPrefetch next(m, row + block_rows, a.row_end, slots);
      const TileProduct product = {.a = m.values + row * m.row_bytes,
                                   .a_stride = m.row_bytes,
                                   .a_other = tile_rows * m.row_bytes,
                                   .a_step = tile_row_bytes,
                                   .b = a.packed + t / tile_rows * slot_bytes(m.cols),
                                   .b_next = slot_bytes(m.cols),
                                   .c = scratch.sums,
                                   .c_next = block_slots * tile_bytes,
                                   .steps = m.cols / tile_cols,
                                   .first = true};
      multiply_slots(product, slots, next);
      write_block(a, scratch.sums, row, block_rows, t, tokens);
    }
  }
  release_tiles();
}

template <Format format>
void multiply(const MatmulArgs& a) {
  const Matrix& m = *a.matrix;
  if (a.row_begin == a.row_end || a.tokens == 0) return;
  if (is_direct(a)) return multiply_direct(a);
  const Scratch scratch(a.scratch);
  const std::size_t blocks =
      quotient_up(a.row_end - a.row_begin, block_rows) * quotient_up(m.cols, block_cols);
  BlockWidener<format> widener(a);
  configure_tiles();
  for (std::size_t t = 0; t < a.tokens; t += block_slots * tile_rows) {
    const std::size_t tokens = smaller(block_slots * tile_rows, a.tokens - t);
    const std::size_t slots = quotient_up(tokens, tile_rows);
    widener.begin(0, scratch.blocks, 1);
    widener.finish();
    for (std::size_t i = 0; i < blocks; ++i) {
      const Block block = block_at(a, i);
      widener.begin(i + 1, scratch.blocks + (i + 1) % 2 * block_bytes, 2 * slots * block.steps());
      const TileProduct product = {
          .a = scratch.blocks + i % 2 * block_bytes,
          .b = a.packed + t / tile_rows * slot_bytes(m.cols) + block.begin / tile_cols * tile_bytes,
          .b_next = slot_bytes(m.cols),
          .c = scratch.sums,
          .c_next = block_slots * tile_bytes,
          .steps = block.steps(),
          .first = block.begin == 0};
      multiply_slots(product, slots, widener);
      widener.finish();
      if (block.end == m.cols) write_block(a, scratch.sums, block.row, block.rows, t, tokens);
    }
  }
  release_tiles();
}

template <Format format>
const Matmul& matmul_of(const Matrix& m) {
  static constexpr Matmul blocks = {&tile_packing, multiply<format>};
  static constexpr Matmul any = {&tile_packing, multiply_any};
  return Widener<format>::suits(m) ? blocks : any;
}

const Matmul& matmul(Path path, const Matrix& m) {
  if (path != Path::batch) return avx512_dot_kernels().matmul(path, m);
  switch (m.format) {
    case Format::f32:
      return matmul_of<Format::f32>(m);
    case Format::f16:
      return matmul_of<Format::f16>(m);
    case Format::bf16:
      return matmul_of<Format::bf16>(m);
    case Format::fp8_e4m3:
      return matmul_of<Format::fp8_e4m3>(m);
    case Format::int8:
      return matmul_of<Format::int8>(m);
    case Format::mxfp4:
      return matmul_of<Format::mxfp4>(m);
    default:
      return matmul_of<Format::int4>(m);
  }
}

// The tile unit at its most: four sums that do not wait for each other, since a product takes 52 cycles and
// one can begin every 16.
double peak(std::size_t rounds) {
  // Numbers of both signs: a unit that multiplies zeros takes less power and may run faster.
  alignas(64) std::uint16_t numbers[tile_bytes / 2];
  for (std::size_t i = 0; i < tile_bytes / 2; ++i) {
    numbers[i] = static_cast<std::uint16_t>(0x3f00 + i * 0x9e37 % 128 + (i * 0x9e37 / 128 % 2) * 0x8000);
  }
  configure_tiles();
  load_tile<4>(numbers);
  load_tile<5>(numbers);
  load_tile<6>(numbers);
  load_tile<7>(numbers);
  zero_tile<0>();
  zero_tile<1>();
  zero_tile<2>();
  zero_tile<3>();
  for (std::size_t r = 0; r < rounds; ++r) {
    multiply_tiles<0, 4, 6>();
    multiply_tiles<1, 4, 7>();
    multiply_tiles<2, 5, 6>();
    multiply_tiles<3, 5, 7>();
  }
  release_tiles();
  constexpr double products = 4;
  constexpr double operations = 2.0 * tile_rows * tile_rows * tile_cols;
  return static_cast<double>(rounds) * products * operations;
}

}  // namespace

const Packing tile_packing = {.slot_tokens = tile_rows, .slot_bytes = slot_bytes, .pack = pack};

const Kernels& amx_kernels() {
  static const Kernels table = [] {
    Kernels kernels = avx512_dot_kernels();
    kernels.name = "amx";
    kernels.peak = peak;
    kernels.matmul = matmul;
    for (std::size_t f = 0; f < format_count; ++f)
      kernels.matmul_transposed[static_cast<std::size_t>(Path::batch)][f] = transposed_on_tiles[f];
    for (const Path path : {Path::batch, Path::stream})
      kernels.attention[static_cast<std::size_t>(path)] = attention_on_tiles;
    return kernels;
  }();
  return table;
}

}  // namespace baleen::kernels
