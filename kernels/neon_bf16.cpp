// NEON with BFMMLA, which adds four products of bf16 numbers to each sum of a 2x2 tile: the batch path of
// weights that bf16 holds exactly or nearly so. Activations are rounded to bf16, nearest even; so are fp8 and
// integer weights after their scale; those of mxfp4 are exact.
//
// BFMMLA takes denormals for zeros and rounds its sums to odd, whatever the rounding mode (Arm Architecture
// Reference Manual, BFDotAdd): an error of 2^-23 instead of 2^-24 each.
#include <arm_neon.h>

#include "kernels/simd/neon_tiles.h"
#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t tile_cols = 4;  // columns of a tile
constexpr std::size_t row_pairs = 4;  // whose sums fill the registers, with as many pairs of tokens
constexpr std::size_t slot_pairs = 4;
constexpr std::size_t tile_bytes = pair * tile_cols * sizeof(std::uint16_t);

// Two rows or tokens, interleaved by tile_cols columns, up to a multiple of scratch_align with zeros.
constexpr std::size_t pair_bytes(std::size_t cols) {
  return padded(cols) * pair * sizeof(std::uint16_t);
}

// Writes columns [0, count) of row or token `which` of a pair, rounded to bf16, then zeros up to `end`.
void put_f32(const float* x, std::size_t count, std::size_t end, std::size_t which, std::byte* out) {
  for (std::size_t c = 0; c < end; c += tile_cols) {
    float four[tile_cols] = {};
    if (c + tile_cols <= count) {
      std::memcpy(four, x + c, sizeof four);
    } else {
      for (std::size_t i = c; i < count; ++i) four[i - c] = x[i];
    }
    const bfloat16x4_t rounded = vcvt_bf16_f32(vld1q_f32(four));
    std::memcpy(out + c / tile_cols * tile_bytes + which * sizeof rounded, &rounded, sizeof rounded);
  }
}

void pack(const PackArgs& a) {
  const std::size_t count = a.col_end - a.col_begin;
  const std::size_t end = a.col_end == a.cols ? padded(a.cols) - a.col_begin : count;
  for (std::size_t t = 0; t < (a.tokens + pair - 1) / pair * pair; ++t) {
    std::byte* out = a.packed + t / pair * pair_bytes(a.cols) + a.col_begin / tile_cols * tile_bytes;
    const bool filled = t < a.tokens;
    const float* x = filled ? row_to_pack(a, t) : nullptr;
    put_f32(x, filled ? count : 0, end, t % pair, out);
  }
}

constexpr Packing bf16_packing = {.slot_tokens = pair, .slot_bytes = pair_bytes, .pack = pack};

// Two stored bf16 rows as they are; zeros for one that is missing.
void interleave_bf16(const std::byte* first, const std::byte* second, std::size_t cols, std::byte* out) {
  constexpr std::size_t step = 2 * tile_cols;
  for (std::size_t c = 0; c < padded(cols); c += step, out += 2 * tile_bytes) {
    std::uint64_t rows[pair][2] = {};
    const std::size_t bytes = c < cols ? smaller(cols - c, step) * sizeof(std::uint16_t) : 0;
    if (bytes == sizeof rows[0]) {
      if (first) std::memcpy(rows[0], first + c * 2, sizeof rows[0]);
      if (second) std::memcpy(rows[1], second + c * 2, sizeof rows[1]);
    } else if (bytes) {
      if (first) std::memcpy(rows[0], first + c * 2, bytes);
      if (second) std::memcpy(rows[1], second + c * 2, bytes);
    }
    const uint64x2_t a = vld1q_u64(rows[0]);
    const uint64x2_t b = vld1q_u64(rows[1]);
    vst1q_u64(reinterpret_cast<std::uint64_t*>(out), vzip1q_u64(a, b));
    vst1q_u64(reinterpret_cast<std::uint64_t*>(out + tile_bytes), vzip2q_u64(a, b));
  }
}

// Rows [row, row + count) as pairs in scratch, made up to whole blocks of row_pairs; widened has room for a
// row.
template <Format format>
void prepare_rows(const Matrix& m, std::size_t row, std::size_t count, std::byte* pairs, float* widened) {
  constexpr std::size_t block = pair * row_pairs;
  for (std::size_t r = 0; r < (count + block - 1) / block * block; r += pair, pairs += pair_bytes(m.cols)) {
    if constexpr (format == Format::bf16) {
      const std::byte* first = r < count ? m.values + (row + r) * m.row_bytes : nullptr;
      const std::byte* second = r + 1 < count ? first + m.row_bytes : nullptr;
      interleave_bf16(first, second, m.cols, pairs);
    } else {
      for (std::size_t i = 0; i < pair; ++i) {
        const bool filled = r + i < count;
        if (filled) neon_kernels().widen_row[static_cast<std::size_t>(format)](m, row + r + i, widened);
        put_f32(widened, filled ? m.cols : 0, padded(m.cols), i, pairs);
      }
    }
  }
}

bfloat16x8_t load_tile(const std::byte* at) {
  return vld1q_bf16(reinterpret_cast<const bfloat16_t*>(at));
}

// sums[t][r] is the tile of token pair t and row pair r: for each token its two rows.
template <std::size_t T>
void multiply_pairs(const std::byte* rows, const std::byte* tokens, std::size_t cols, float32x4_t* sums) {
  float32x4_t sum[T * row_pairs];
  unrolled<T * row_pairs>([&](auto i) { sum[i] = vdupq_n_f32(0); });
  for (std::size_t at = 0; at < pair_bytes(cols); at += tile_bytes) {
    bfloat16x8_t w[row_pairs];
    unrolled<row_pairs>([&](auto r) { w[r] = load_tile(rows + r * pair_bytes(cols) + at); });
    unrolled<T>([&](auto t) {
      const bfloat16x8_t x = load_tile(tokens + t * pair_bytes(cols) + at);
      unrolled<row_pairs>(
          [&](auto r) { sum[t * row_pairs + r] = vbfmmlaq_f32(sum[t * row_pairs + r], x, w[r]); });
    });
  }
  unrolled<T * row_pairs>([&](auto i) { sums[i] = sum[i]; });
}

template <std::size_t T = slot_pairs>
void multiply_pairs(const std::byte* rows, const std::byte* tokens, std::size_t token_pairs, std::size_t cols,
                    float32x4_t* sums) {
  if (token_pairs == T) {
    multiply_pairs<T>(rows, tokens, cols, sums);
  } else if constexpr (T > 1) {
    multiply_pairs<T - 1>(rows, tokens, token_pairs, cols, sums);
  }
}

template <Format format>
void matmul(const MatmulArgs& a) {
  const std::size_t cols = a.matrix->cols;
  float* widened = aligned(a.scratch);
  auto* pairs = reinterpret_cast<std::byte*>(widened + padded(cols));
  static_assert(scratch_rows % (pair * row_pairs) == 0);
  for (std::size_t row = a.row_begin; row < a.row_end; row += scratch_rows) {
    const std::size_t rows = smaller(scratch_rows, a.row_end - row);
    prepare_rows<format>(*a.matrix, row, rows, pairs, widened);
    for (std::size_t t = 0; t < a.tokens; t += pair * slot_pairs) {
      const std::size_t tokens = smaller(pair * slot_pairs, a.tokens - t);
      const std::byte* x = a.packed + t / pair * pair_bytes(cols);
      for (std::size_t r = 0; r < rows; r += pair * row_pairs) {
        float32x4_t sums[slot_pairs * row_pairs];
        multiply_pairs(pairs + r / pair * pair_bytes(cols), x, (tokens + pair - 1) / pair, cols, sums);
        store_tiles<row_pairs>(sums, tokens, smaller(pair * row_pairs, rows - r),
                               a.out + t * a.out_stride + row + r - a.row_begin, a.out_stride);
      }
    }
  }
}

const Matmul& choose_matmul(Path path, const Matrix& m) {
  static constexpr Matmul bf16 = {&bf16_packing, matmul<Format::bf16>};
  static constexpr Matmul fp8 = {&bf16_packing, matmul<Format::fp8_e4m3>};
  static constexpr Matmul int8 = {&bf16_packing, matmul<Format::int8>};
  static constexpr Matmul int4 = {&bf16_packing, matmul<Format::int4>};
  static constexpr Matmul mxfp4 = {&bf16_packing, matmul<Format::mxfp4>};
  if (path == Path::batch) {
    if (m.format == Format::bf16) return bf16;
    if (m.format == Format::fp8_e4m3) return fp8;
    if (m.format == Format::int8) return int8;
    if (m.format == Format::int4) return int4;
    if (m.format == Format::mxfp4) return mxfp4;
  }
  return neon_dotprod_kernels().matmul(path, m);
}

// As many sums as multiply_pairs has. Products of both signs: sums stay as they are, and what is multiplied
// is not zero.
double peak(std::size_t rounds) {
  constexpr std::size_t sums = slot_pairs * row_pairs;
  float four[tile_cols] = {0.5f, -0.5f, 0.25f, -0.25f};
  __asm__ volatile("" : "+m"(four));  // or the compiler would know the result
  const bfloat16x8_t w = vcombine_bf16(vcvt_bf16_f32(vld1q_f32(four)), vcvt_bf16_f32(vld1q_f32(four)));
  const bfloat16x8_t x =
      vcombine_bf16(vcvt_bf16_f32(vdupq_n_f32(four[0])), vcvt_bf16_f32(vdupq_n_f32(four[0])));
  float32x4_t sum[sums];
  unrolled<sums>([&](std::size_t i) { sum[i] = vdupq_n_f32(static_cast<float>(i)); });
  for (std::size_t r = 0; r < rounds; ++r) {
    unrolled<sums>([&](std::size_t i) { sum[i] = vbfmmlaq_f32(sum[i], x, w); });
  }
  float sink = 0;
  unrolled<sums>([&](std::size_t i) { sink += vgetq_lane_f32(sum[i], 0); });
  __asm__ volatile("" : : "m"(sink));  // or it would see that nobody wants it
  return 2.0 * static_cast<double>(rounds * sums * pair * pair * tile_cols);
}

}  // namespace

const Kernels& neon_bf16_kernels() {
  static const Kernels table = [] {
    Kernels kernels = neon_dotprod_kernels();
    kernels.matmul = choose_matmul;
    kernels.peak = peak;
    return kernels;
  }();
  return table;
}

}  // namespace baleen::kernels
