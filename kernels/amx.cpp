// AMX: prompts' products on tiles of bf16; attention stands in amx_attention.cpp. Everything else is
// AVX-512's.
//
// A weight is widened to bf16 with its scale folded in, an activation is rounded to bf16 when it is packed;
// float32 sums run over k in ascending order. Weights are the left operand, so their tiles are rows of the
// matrix as they come and only the activations, packed once for all rows, need pairs of k side by side.
//
// Weights of any format are widened into panels of 32 rows and 128 columns. Up to 48 tokens meet a panel at
// once, while it is in the first-level cache; of more the first 32 do, and the others find it in the
// second-level cache. The next panel is widened beside the products of this one, a few rows after each pair
// of them, because a tile product takes 16 cycles of its own unit and leaves the others idle.
#include "kernels/amx.h"

#include "kernels/amx_layout.h"
#include "kernels/amx_tiles.h"
#include "kernels/simd/avx512.h"
#include "kernels/simd/elementwise.h"

namespace baleen::kernels {
namespace {

// A panel: four steps of k. Its rows are 256 bytes apart, so that each is written in one go.
constexpr std::size_t panel_rows = 2 * tile_rows;
constexpr std::size_t panel_cols = 128;
constexpr std::size_t panel_steps = panel_cols / tile_cols;
constexpr std::size_t panel_row_bytes = panel_cols * 2;
constexpr std::size_t panel_bytes = panel_rows * panel_row_bytes;
// Columns whose panels are kept for all tokens, in the second-level cache, and slots of tokens whose sums
// are.
constexpr std::size_t block_cols = 2048;
constexpr std::size_t block_slots = 16;
// One panel more is being widened.
constexpr std::size_t kept_panels = block_cols / panel_cols + 1;
// Slots that a panel meets at once where there are no more, and panels that are kept then.
constexpr std::size_t few_slots = 3;
constexpr std::size_t few_panels = 2;
constexpr std::size_t sums_bytes = panel_rows / tile_rows * block_slots * tile_bytes;
// Matrices that are multiplied by turns.
constexpr std::size_t most_matrices = 2;
// Scales of a block's rows, one for each step.
constexpr std::size_t block_steps = block_cols / tile_cols;
constexpr std::size_t scales_floats = panel_rows * block_steps;
static_assert(amx_block_floats * sizeof(float) ==
              kept_panels * panel_bytes + most_matrices * sums_bytes + scales_floats * sizeof(float));

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

// Steps ahead of the loads that packed tokens are brought from the second-level cache into the first.
constexpr std::size_t tokens_ahead = 2;

[[gnu::always_inline]] inline void prefetch_tile(const std::byte* tile) {
  unrolled<tile_rows>([&](auto row) { __builtin_prefetch(tile + row * tile_row_bytes); });
}

// A panel's rows and S slots of packed tokens, b_next bytes apart, added to the sums in tiles 0 to 2 * S - 1,
// the first 16 rows' before the others'. If it was not widened just now, the next one is brought into the
// first-level cache too. meanwhile() is called twice a step.
//
// 2 x 2 tiles take one load for each product, the fewest that eight registers allow. While a stranger's
// thread had the core's other half, a product was measured to take 33 and a load 22 cycles of 0.5 ns, one
// after the other, of which vector instructions could use a part, and loads in a row to take 12 % less than
// loads between products (tests/bench/tiles_bench.cpp). 2 x 3 tiles take seven loads for six products, each
// between two of them. In one pass instead of two they were measured to save 20 to 22 % on a core of their
// own, and to lose 2 to 4 % beside a stranger.
template <int S, bool just_widened, class Work>
[[gnu::always_inline]] inline void multiply_panel(const std::byte* a, const std::byte* b, std::size_t b_next,
                                                  std::size_t steps, Work& meanwhile) {
  static_assert(S == 1 || S == 2 || (S == 3 && just_widened));
  constexpr std::size_t other_rows = tile_rows * panel_row_bytes;
  const std::byte* next = a + panel_bytes;
  for (std::size_t step = 0; step < steps; ++step, a += tile_row_bytes, b += tile_bytes) {
    if constexpr (S == 3) {
      load_tile<6>(a, panel_row_bytes);
      load_tile<7>(b);
      multiply_tiles<0, 6, 7>();
      prefetch_tile(b + tokens_ahead * tile_bytes);
      load_tile<7>(b + b_next);
      multiply_tiles<1, 6, 7>();
      meanwhile();
      load_tile<7>(b + 2 * b_next);
      multiply_tiles<2, 6, 7>();
      prefetch_tile(b + b_next + tokens_ahead * tile_bytes);
      load_tile<6>(a + other_rows, panel_row_bytes);
      multiply_tiles<5, 6, 7>();
      load_tile<7>(b + b_next);
      multiply_tiles<4, 6, 7>();
      meanwhile();
      prefetch_tile(b + 2 * b_next + tokens_ahead * tile_bytes);
      load_tile<7>(b);
      multiply_tiles<3, 6, 7>();
      continue;
    }
    load_tile<4>(a, panel_row_bytes);
    load_tile<6>(b);
    load_tile<5>(a + other_rows, panel_row_bytes);
    if constexpr (S == 2) load_tile<7>(b + b_next);
    prefetch_tile(b + tokens_ahead * tile_bytes);
    if constexpr (!just_widened) prefetch_tile(next);
    multiply_tiles<0, 4, 6>();
    if constexpr (S == 2) multiply_tiles<1, 4, 7>();
    meanwhile();
    if constexpr (S == 2) prefetch_tile(b + b_next + tokens_ahead * tile_bytes);
    if constexpr (!just_widened) prefetch_tile(next + tile_bytes);
    multiply_tiles<S, 5, 6>();
    if constexpr (S == 2) multiply_tiles<3, 5, 7>();
    meanwhile();
    next += panel_bytes / panel_steps;
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

// ---- Weights, widened.

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
  return value_bytes(format, 1);
}

// A block: up to 32 rows and block_cols columns [begin, end) of a matrix, the turn-th.
struct Block {
  const Matrix* matrix;
  std::size_t turn;
  std::size_t row;
  std::size_t rows;
  std::size_t begin;
  std::size_t end;
};

// A Widener<format> turns stored values into rows of panels.
//   suits(m)         whether it can do so for this matrix; else its rows are widened by widen_row
//   block(block)     panels of this block follow
//   panel(c)         the panel that begins with column c follows
//   rows(r, n, to)   widens n rows of the panel from row r of the block on
// How many instructions a row takes decides the speed for few tokens. rows() stays out of line: inlined among
// tile instructions it was measured to leave neither enough registers.
constexpr std::size_t chunk_cols = 64;

template <Format format>
class Widener {  // f32, f16, bf16
 public:
  static constexpr std::size_t value_bits = format == Format::f32 ? 32 : 16;
  static bool suits(const Matrix&) { return true; }
  explicit Widener(float*) {}
  void block(const Block& block) {
    m_ = block.matrix;
    row_ = block.row;
    end_ = block.end;
  }
  void panel(std::size_t c) { begin_ = c; }
  [[gnu::noinline]] void rows(std::size_t r, std::size_t n, std::byte* to) const {
    constexpr std::size_t step = tile_cols * value_bits / 8;
    const std::byte* values = m_->values + (row_ + r) * m_->row_bytes + begin_ * value_bits / 8;
    const std::size_t cols = smaller(panel_cols, end_ - begin_);
    for (; n > 0; --n, values += m_->row_bytes, to += panel_row_bytes) {
      if (cols == panel_cols) {
        for (std::size_t i = 0; i < panel_steps; ++i)
          _mm512_store_si512(to + i * tile_row_bytes, load_plain<format>(values + i * step, tile_cols));
      } else {
        for (std::size_t c = 0, i = 0; c < cols; c += tile_cols, ++i)
          _mm512_store_si512(to + i * tile_row_bytes,
                             load_plain<format>(values + i * step, smaller(tile_cols, cols - c)));
      }
    }
  }

 private:
  const Matrix* m_ = nullptr;
  std::size_t row_ = 0;    // of the block,
  std::size_t end_ = 0;    // its last column's end
  std::size_t begin_ = 0;  // and the panel's first column
};

// A code is looked up among the weights of all 128 magnitudes, low and high bytes apart; the sign is flipped
// after. Rows that share a scale share the tables; a block may begin in one row of scales and end in the
// next.
template <>
class Widener<Format::fp8_e4m3> {
 public:
  static bool suits(const Matrix& m) {
    return m.cols % chunk_cols == 0 && m.scales && m.block_cols % chunk_cols == 0 &&
           m.block_rows >= panel_rows;
  }
  explicit Widener(float*) {}
  void block(const Block& block) {
    m_ = block.matrix;
    values_ = m_->values + block.row * m_->row_bytes;
    scale_row_ = block.row / m_->block_rows;
    second_ = smaller((scale_row_ + 1) * m_->block_rows - block.row, block.rows);
    rows_ = block.rows;
    end_ = block.end;
  }
  void panel(std::size_t c) {
    begin_ = c;
    for (std::size_t i = 0; i < panel_cols / chunk_cols && c < end_; ++i, c += chunk_cols) {
      if (i > 0 && c % m_->block_cols != 0) {
        tables_[0][i] = tables_[0][i - 1];
        tables_[1][i] = tables_[1][i - 1];
        continue;
      }
      make_tables(scale_row_, c / m_->block_cols, tables_[0][i]);
      if (second_ < rows_) make_tables(scale_row_ + 1, c / m_->block_cols, tables_[1][i]);
    }
  }
  [[gnu::noinline]] void rows(std::size_t r, std::size_t n, std::byte* to) const {
    // Unpacking works within 128 bits: first columns 0 to 31, then 32 to 63.
    const __m512i halves = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __m512i sign = _mm512_set1_epi8(-128);
    const std::byte* values = values_ + r * m_->row_bytes + begin_;
    const std::size_t cols = smaller(panel_cols, end_ - begin_);
    for (; n > 0; --n, ++r, values += m_->row_bytes, to += panel_row_bytes) {
      const Tables* table = tables_[r >= second_];
      for (std::size_t c = 0; c < cols; c += chunk_cols) {
        const Tables& t = table[c / chunk_cols];
        const __m512i codes = _mm512_permutexvar_epi64(halves, _mm512_loadu_si512(values + c));
        const __m512i low = _mm512_permutex2var_epi8(t.low[0], codes, t.low[1]);
        const __m512i magnitude = _mm512_permutex2var_epi8(t.high[0], codes, t.high[1]);
        // magnitude ^ (codes & sign)
        const __m512i high = _mm512_ternarylogic_epi64(magnitude, codes, sign, 0x78);
        _mm512_store_si512(to + 2 * c, _mm512_unpacklo_epi8(low, high));
        _mm512_store_si512(to + 2 * c + tile_row_bytes, _mm512_unpackhi_epi8(low, high));
      }
    }
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
    const std::byte* at =
        m_->scales + (scale_row * m_->scale_cols + scale_col) * scale_bytes(m_->scale_format);
    const __m512 scale = _mm512_broadcastss_ps(_mm512_castps512_ps128(load_scales(m_->scale_format, at, 1)));
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

  const Matrix* m_ = nullptr;
  const std::byte* values_ = nullptr;
  std::size_t rows_ = 0;
  std::size_t scale_row_ = 0;  // of scales, that the block begins in
  std::size_t second_ = 0;     // row of the block from which on the next one's apply
  std::size_t begin_ = 0;      // of the panel
  std::size_t end_ = 0;
  Tables tables_[2][panel_cols / chunk_cols];
};

// Rows in groups, and the scales of a block, one for each step: what integer formats and mxfp4 share.
class ScaledRows {
 public:
  static bool suits(const Matrix& m) {
    return m.cols % chunk_cols == 0 && m.scales && m.block_rows == 1 && !m.zeros && !m.group_index &&
           m.block_cols % tile_cols == 0;
  }
  explicit ScaledRows(float* scales) : scales_(scales) {}
  void block(const Block& block) {
    m_ = block.matrix;
    values_ = m_->values + block.row * m_->row_bytes;
    block_ = block;
    const std::size_t bytes = scale_bytes(m_->scale_format);
    for (std::size_t c = block.begin, step = 0; c < block.end; c += 16 * tile_cols, step += 16) {
      const std::size_t group = c / m_->block_cols;
      alignas(64) std::int32_t of_step[16] = {};
      std::size_t count = 0;
      for (std::size_t i = 0; i < 16 && c + i * tile_cols < block.end; ++i) {
        count = (c + i * tile_cols) / m_->block_cols - group + 1;
        of_step[i] = static_cast<std::int32_t>(count - 1);
      }
      const __m512i spread = _mm512_load_si512(of_step);
      const std::byte* stored = m_->scales + (block.row * m_->scale_cols + group) * bytes;
      for (std::size_t r = 0; r < block.rows; ++r, stored += m_->scale_cols * bytes)
        _mm512_store_ps(scales_ + r * block_steps + step,
                        _mm512_permutexvar_ps(spread, load_scales(m_->scale_format, stored, count)));
    }
  }
  void panel(std::size_t c) { begin_ = c; }

 protected:
  // chunk(values, scales, to) widens chunk_cols columns, whose steps have these scales.
  template <std::size_t value_bits, class Chunk>
  [[gnu::always_inline]] void rows(std::size_t r, std::size_t n, std::byte* to, const Chunk& chunk) const {
    const std::byte* values = values_ + r * m_->row_bytes + begin_ * value_bits / 8;
    const float* scales = scales_ + r * block_steps + (begin_ - block_.begin) / tile_cols;
    const bool whole = begin_ + chunk_cols < block_.end;
    for (; n > 0; --n, values += m_->row_bytes, scales += block_steps, to += panel_row_bytes) {
      chunk(values, scales, to);
      if (whole) chunk(values + chunk_cols * value_bits / 8, scales + 2, to + 2 * tile_row_bytes);
    }
  }

 private:
  const Matrix* m_ = nullptr;
  float* scales_;  // [panel_rows, block_steps]
  Block block_ = {};
  const std::byte* values_ = nullptr;
  std::size_t begin_ = 0;  // of the panel
};

template <>
class Widener<Format::int8> : public ScaledRows {
 public:
  using ScaledRows::ScaledRows;
  [[gnu::noinline]] void rows(std::size_t r, std::size_t n, std::byte* to) const {
    const __m512 minus_offset = _mm512_set1_ps(-128);
    ScaledRows::rows<8>(r, n, to, [&](const std::byte* values, const float* scales, std::byte* chunk) {
      for (std::size_t step = 0; step < 2; ++step) {
        const __m512 scale = _mm512_set1_ps(scales[step]);
        const __m512 offset = _mm512_mul_ps(scale, minus_offset);
        const auto widen = [&](const std::byte* at) {
          const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
          return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes)), scale, offset);
        };
        const std::byte* from = values + step * tile_cols;
        _mm512_store_si512(chunk + step * tile_row_bytes, to_bf16(widen(from), widen(from + 16)));
      }
    });
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
class NibbleWidener : public ScaledRows {
 public:
  using ScaledRows::ScaledRows;
  [[gnu::noinline]] void rows(std::size_t r, std::size_t n, std::byte* to) const {
    const __m512 codes = nibble_values<format>();
    const __m512i low_bits = _mm512_set1_epi16(15);
    const __m512i second_group = _mm512_set1_epi16(16);
    ScaledRows::rows<4>(r, n, to, [&](const std::byte* values, const float* scales, std::byte* chunk) {
      const __m512i weights = to_bf16(_mm512_mul_ps(codes, _mm512_set1_ps(scales[0])),
                                      _mm512_mul_ps(codes, _mm512_set1_ps(scales[1])));
      const __m512i first = _mm512_and_si512(nibbles(values), low_bits);
      // (nibbles & low_bits) | second_group
      const __m512i second = _mm512_ternarylogic_epi64(nibbles(values + 16), low_bits, second_group, 0xea);
      _mm512_store_si512(chunk, _mm512_permutexvar_epi16(first, weights));
      _mm512_store_si512(chunk + tile_row_bytes, _mm512_permutexvar_epi16(second, weights));
    });
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

// ---- Matrices.

// The blocks of rows [row_begin, row_end) of matrices of one size in the order of work: along the columns of
// 32 rows of each matrix, then of the next rows.
struct Blocks {
  const Matrix* matrices[most_matrices];
  std::size_t turns;  // matrices that there are
  std::size_t row_begin;
  std::size_t row_end;
  std::size_t cols() const { return matrices[0]->cols; }
  std::size_t across() const { return quotient_up(cols(), block_cols); }
  std::size_t count() const { return quotient_up(row_end - row_begin, panel_rows) * turns * across(); }
  Block operator[](std::size_t i) const {
    const std::size_t turn = i / across() % turns;
    const std::size_t row = row_begin + i / across() / turns * panel_rows;
    const std::size_t begin = i % across() * block_cols;
    return {matrices[turn],
            turn,
            row,
            smaller(panel_rows, row_end - row),
            begin,
            smaller(begin + block_cols, cols())};
  }
};

constexpr std::size_t panels_of(const Block& block) {
  return quotient_up(block.end - block.begin, panel_cols);
}
constexpr std::size_t steps_of(const Block& block, std::size_t panel) {
  const std::size_t begin = block.begin + panel * panel_cols;
  return quotient_up(smaller(panel_cols, block.end - begin), tile_cols);
}

// Where panels lie: those of a block, or the one that is multiplied, and one that is being widened.
struct Ring {
  std::byte* memory;
  std::size_t panels;
  std::size_t first = 0;  // place of the block's first panel
  std::byte* operator[](std::size_t panel) const { return memory + (first + panel) % panels * panel_bytes; }
};

// Widens the panels of block after block, a few rows at each call.
template <class W>
class PanelWidener {
 public:
  explicit PanelWidener(float* scales) : widener_(scales) {}

  // Begins with a panel of a block, at `to`.
  void begin(const Block& block, std::size_t panel, std::byte* to) {
    if (panel == 0) widener_.block(block);
    widener_.panel(block.begin + panel * panel_cols);
    rows_ = block.rows;
    row_ = 0;
    to_ = to;
  }
  // Eight calls widen a panel.
  void operator()() { some(panel_rows / 8); }
  void finish() { some(panel_rows); }

 private:
  [[gnu::always_inline]] void some(std::size_t most) {
    const std::size_t n = smaller(most, rows_ - row_);
    if (n == 0) return;
    widener_.rows(row_, n, to_);
    row_ += n;
    to_ += n * panel_row_bytes;
  }

  W widener_;
  std::size_t rows_ = 0;
  std::size_t row_ = 0;
  std::byte* to_ = nullptr;
};

// Asks for the stored values of a block, spread evenly over `calls` calls, along several streams of rows:
// panels go down the rows, which no processor foresees. Against one stream, eight were measured to shorten
// bf16's products by 12 to 30 % at 16 and 48 tokens and fp8's by 5 to 10; 16 were no better and 32 as slow as
// one.
class BlockPrefetch {
 public:
  BlockPrefetch() = default;
  BlockPrefetch(const Block& block, std::size_t calls)
      : row_bytes_(block.matrix->row_bytes), rows_left_(quotient_up(block.rows, streams)) {
    const Matrix& m = *block.matrix;
    const std::size_t bits = value_bits(m.format);
    at_ = m.values + block.row * m.row_bytes + block.begin * bits / 8;
    width_ = (block.end - block.begin) * bits / 8;
    end_ = at_ + width_;
    stream_bytes_ = rows_left_ * row_bytes_;
    turns_ = quotient_up(width_, 64) * rows_left_;
    calls_ = calls;
    if (!m.scales || m.block_rows > 1) return;
    const std::size_t bytes = scale_bytes(m.scale_format);
    const std::byte* scales = m.scales + (block.row * m.scale_cols + block.begin / m.block_cols) * bytes;
    for (std::size_t r = 0; r < block.rows; ++r, scales += m.scale_cols * bytes)
      for (std::size_t i = 0; i < quotient_up(block.end - block.begin, m.block_cols) * bytes; i += 64)
        __builtin_prefetch(scales + i, 0, 2);
  }
  [[gnu::always_inline]] void operator()() {
    due_ += turns_;
    if (due_ >= calls_) bring();
  }

 private:
  static constexpr std::size_t streams = 8;

  [[gnu::noinline]] void bring() {
    for (; due_ >= calls_ && rows_left_ > 0; due_ -= calls_) {
      for (std::size_t stream = 0; stream < streams; ++stream)
        __builtin_prefetch(at_ + stream * stream_bytes_, 0, 2);
      at_ += 64;
      if (at_ < end_) continue;
      --rows_left_;
      at_ = end_ - width_ + row_bytes_;
      end_ += row_bytes_;
    }
  }

  const std::byte* at_ = nullptr;  // of the first stream
  const std::byte* end_ = nullptr;
  std::size_t row_bytes_ = 0;
  std::size_t width_ = 0;
  std::size_t rows_left_ = 0;     // of each stream
  std::size_t stream_bytes_ = 0;  // from one to the next
  std::size_t turns_ = 0;         // lines of each stream in all,
  std::size_t calls_ = 1;         // calls over which they are spread,
  std::size_t due_ = 0;           // and what is due, in calls times lines
};

// The parts of scratch.
struct Scratch {
  std::byte* sums;  // of each matrix [2][block_slots] tiles: 16 rows' of all slots, then the other rows'
  std::byte* ring;  // of kept_panels
  float* scales;    // [panel_rows, block_steps]
  float* row;       // of float32
  explicit Scratch(float* scratch) {
    const auto past = reinterpret_cast<std::uintptr_t>(scratch) % tile_row_bytes;
    sums = reinterpret_cast<std::byte*>(scratch) + (past ? tile_row_bytes - past : 0);
    ring = sums + most_matrices * sums_bytes;
    scales = reinterpret_cast<float*>(ring + kept_panels * panel_bytes);
    row = scales + scales_floats;
  }
};

// A row of a block's sums for the tokens of a slot.
const std::byte* row_of_sums(const std::byte* sums, std::size_t row, std::size_t slot) {
  return sums + (row / tile_rows * block_slots + slot) * tile_bytes + row % tile_rows * tile_row_bytes;
}

// Sums of a block to out, its tokens from `token` on.
void write_block(const MatmulArgs& a, const std::byte* sums, const Block& block, std::size_t token,
                 std::size_t tokens) {
  for (std::size_t r = 0; r < block.rows; r += tile_rows) {
    for (std::size_t t = 0; t < tokens; t += tile_rows) {
      write_sums(row_of_sums(sums, r, t / tile_rows), smaller(tile_rows, block.rows - r),
                 smaller(tile_rows, tokens - t),
                 a.out + (token + t) * a.out_stride + block.row + r - a.row_begin, a.out_stride);
    }
  }
}

// silu(gate) * up of a block's sums, packed: its rows are 32 columns of what is packed, one tile for each
// slot, and two of them as they lie make a line of it.
void write_gated(const GatedArgs& a, const std::byte* gate, const std::byte* up, const Block& block,
                 std::size_t token, std::size_t tokens) {
  static_assert(panel_rows == tile_cols);
  const std::size_t slot = slot_bytes(a.gate->rows);
  std::byte* tile = a.inner + token / tile_rows * slot + block.row / tile_cols * tile_bytes;
  for (std::size_t s = 0; s * tile_rows < tokens; ++s, tile += slot) {
    const auto row = [&](std::size_t r) {
      if (r >= block.rows) return _mm512_setzero_ps();
      return gated<Avx512>(_mm512_load_ps(row_of_sums(gate, r, s)), _mm512_load_ps(row_of_sums(up, r, s)));
    };
    for (std::size_t pair = 0; pair < tile_rows; ++pair)
      _mm512_store_si512(tile + pair * tile_row_bytes, interleave(row(2 * pair), row(2 * pair + 1)));
  }
}

// The sums of S slots over a block's panels. before(panel) comes before each of them, and meanwhile() at
// least eight times beside a whole one.
template <int S, bool just_widened, class Before, class Work>
void multiply_panels(const Block& block, const Ring& ring, const std::byte* packed, std::size_t slot,
                     std::byte* sums, const Before& before, Work& meanwhile) {
  const auto each_sum = [&](const auto& f) __attribute__((always_inline)) {
    unrolled<2 * S>([&](auto i) __attribute__((always_inline)) {
      f.template operator()<i>(sums + (i / S * block_slots + i % S) * tile_bytes);
    });
  };
  if (block.begin == 0) {
    each_sum([]<int tile>(const std::byte*) { zero_tile<tile>(); });
  } else {
    each_sum([]<int tile>(const std::byte* c) { load_tile<tile>(c); });
  }
  for (std::size_t i = 0; i < panels_of(block); ++i, packed += panel_steps * tile_bytes) {
    before(i);
    multiply_panel<S, just_widened>(ring[i], packed, slot, steps_of(block, i), meanwhile);
  }
  each_sum([]<int tile>(std::byte* c) { store_tile<tile>(c); });
}

// The sums of a block: few slots at once, or two at a time and a last one alone. before() and beside_first()
// come with the first.
template <class Before, class First, class Later>
void multiply_block(const Block& block, const Ring& ring, const std::byte* packed, std::size_t slots,
                    std::byte* sums, const Before& before, First& beside_first, Later& beside_others) {
  const std::size_t slot = slot_bytes(block.matrix->cols);
  packed += block.begin / tile_cols * tile_bytes;
  if (slots == 1) return multiply_panels<1, true>(block, ring, packed, slot, sums, before, beside_first);
  if (slots == 3) return multiply_panels<3, true>(block, ring, packed, slot, sums, before, beside_first);
  multiply_panels<2, true>(block, ring, packed, slot, sums, before, beside_first);
  const auto nothing = [](std::size_t) {};
  for (std::size_t s = 2; s < slots; s += 2) {
    packed += 2 * slot;
    sums += 2 * tile_bytes;
    if (slots - s == 1) {
      multiply_panels<1, false>(block, ring, packed, slot, sums, nothing, beside_others);
    } else {
      multiply_panels<2, false>(block, ring, packed, slot, sums, nothing, beside_others);
    }
  }
}
constexpr std::size_t passes(std::size_t slots) {
  return slots <= few_slots ? 1 : quotient_up(slots, 2);
}

// Calls use(token, tokens, packed) for tokens whose sums are kept together.
template <class Use>
void for_tokens(const std::byte* packed, std::size_t tokens, std::size_t cols, const Use& use) {
  constexpr std::size_t block = block_slots * tile_rows;
  configure_tiles();
  for (std::size_t t = 0; t < tokens; t += block)
    use(t, smaller(block, tokens - t), packed + t / tile_rows * slot_bytes(cols));
  release_tiles();
}

// Matrices of one format. done(block) follows on the last block of some rows, whose sums are in scratch then.
template <Format format, class Done>
void multiply_blocks(const Blocks& blocks, const std::byte* packed, std::size_t tokens,
                     const Scratch& scratch, const Done& done) {
  const std::size_t slots = quotient_up(tokens, tile_rows);
  const std::size_t count = blocks.count();
  if (count == 0) return;
  PanelWidener<Widener<format>> widener(scratch.scales);
  Ring ring{scratch.ring, slots <= few_slots ? few_panels : kept_panels};
  widener.begin(blocks[0], 0, ring[0]);
  widener.finish();
  for (std::size_t i = 0; i < count; ++i) {
    const Block block = blocks[i];
    const std::size_t panels = panels_of(block);
    BlockPrefetch prefetch;
    if (i + 1 < count) prefetch = {blocks[i + 1], 8 * panels * passes(slots)};
    const auto next_panel = [&](std::size_t panel) {
      widener.finish();
      if (panel + 1 < panels) {
        widener.begin(block, panel + 1, ring[panel + 1]);
      } else if (i + 1 < count) {
        widener.begin(blocks[i + 1], 0, ring[panels]);
      }
    };
    auto both = [&]() __attribute__((always_inline)) {
      widener();
      prefetch();
    };
    std::byte* sums = scratch.sums + block.turn * sums_bytes;
    multiply_block(block, ring, packed, slots, sums, next_panel, both, prefetch);
    widener.finish();
    ring.first += panels;
    if (block.end == blocks.cols()) done(block);
  }
}

template <Format format>
void multiply(const MatmulArgs& a) {
  const Scratch scratch(a.scratch);
  const Blocks blocks = {{a.matrix}, 1, a.row_begin, a.row_end};
  for_tokens(a.packed, a.tokens, blocks.cols(),
             [&](std::size_t token, std::size_t tokens, const auto* packed) {
               multiply_blocks<format>(blocks, packed, tokens, scratch, [&](const Block& block) {
                 write_block(a, scratch.sums, block, token, tokens);
               });
             });
}

template <Format format>
void multiply_gated(const GatedArgs& a) {
  const Scratch scratch(a.scratch);
  const Blocks blocks = {{a.gate, a.up}, 2, a.row_begin, a.row_end};
  for_tokens(a.packed, a.tokens, blocks.cols(),
             [&](std::size_t token, std::size_t tokens, const auto* packed) {
               multiply_blocks<format>(blocks, packed, tokens, scratch, [&](const Block& block) {
                 if (block.turn == 1)
                   write_gated(a, scratch.sums, scratch.sums + sums_bytes, block, token, tokens);
               });
             });
}

// Any matrix: rows are widened whole, through float32.
void multiply_any(const MatmulArgs& a) {
  const Matrix& m = *a.matrix;
  const Scratch scratch(a.scratch);
  const Blocks blocks = {{a.matrix}, 1, a.row_begin, a.row_end};
  const Ring ring{scratch.ring, kept_panels};
  const auto idle = [](auto...) {};
  for_tokens(a.packed, a.tokens, m.cols, [&](std::size_t token, std::size_t tokens, const auto* packed) {
    for (std::size_t i = 0; i < blocks.count(); ++i) {
      const Block block = blocks[i];
      for (std::size_t r = 0; r < block.rows; ++r) {
        avx512_dot_kernels().widen_row[static_cast<std::size_t>(m.format)](m, block.row + r, scratch.row);
        for (std::size_t c = block.begin; c < block.end; c += tile_cols) {
          const std::size_t at = c - block.begin;
          _mm512_store_si512(ring[at / panel_cols] + r * panel_row_bytes + at % panel_cols * 2,
                             load_bf16(scratch.row + c, smaller(tile_cols, m.cols - c)));
        }
      }
      multiply_block(block, ring, packed, quotient_up(tokens, tile_rows), scratch.sums, idle, idle, idle);
      if (block.end == m.cols) write_block(a, scratch.sums, block, token, tokens);
    }
  });
}

template <Format format>
const Matmul& matmul_of(const Matrix& m) {
  static constexpr Matmul blocks = {&tile_packing, multiply<format>, multiply_gated<format>};
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
    kernels.attention[static_cast<std::size_t>(Path::batch)] = prompt_attention_on_tiles;
    kernels.attention[static_cast<std::size_t>(Path::stream)] = generated_attention_on_tiles;
    kernels.attention_floats *= 4;  // gone through for every segment alone
    return kernels;
  }();
  return table;
}

}  // namespace baleen::kernels
