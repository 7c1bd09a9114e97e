// What the instruction sets' files share: their tables and the sizes that scratch memory is laid out by.
#pragma once

#include "kernels/kernels.h"

namespace baleen::kernels {

// Each is defined in the file of that name and may be called only on a machine that has the instruction set.
const Kernels& scalar_kernels();
const Kernels& avx2_kernels();
const Kernels& avx2_dot_kernels();
const Kernels& avx512_kernels();
const Kernels& amx_kernels();
const Kernels& avx512_dot_kernels();
const Kernels& neon_kernels();
const Kernels& neon_dotprod_kernels();
const Kernels& neon_bf16_kernels();
const Kernels& neon_i8mm_kernels();

extern const Encoders scalar_encoders;
extern const Encoders avx2_encoders;
extern const Encoders avx512_encoders;

// Encoders of one group, from column `begin` on, whose largest magnitude is zero or beyond what they search,
// or no number: the same function for every instruction set.
void encode_odd_int4(const EncodeArgs&, std::size_t begin, float top);
void encode_odd_int8(const EncodeArgs&, std::size_t begin, float top);
void encode_odd_fp8(const EncodeArgs&, std::size_t begin, float top);
void encode_odd_mxfp4(const EncodeArgs&, std::size_t begin, float top);

// Widened rows of a matrix that a matmul holds in scratch at a time, for the largest instruction set.
inline constexpr std::size_t scratch_rows = 16;
// Floats that a row in scratch is padded to: the widest vector there is, and a cache line.
inline constexpr std::size_t scratch_align = 16;
// Widened rows that tokens share by way of scratch, at most: they stay in the second-level cache. A prompt of
// 512 tokens was 3 % slower with 16, and 2 % with 64.
inline constexpr std::size_t widened_rows = 32;
// Tokens that share fewer rows at a time, see multiply_widened of simd/matmul.h.
inline constexpr std::size_t shared_tokens = 64;
// Lane sums that wait in scratch for the next columns: of four rows and shared_tokens tokens, or of
// widened_rows rows and six.
inline constexpr std::size_t scratch_sums = 4 * shared_tokens;

// attention_floats where queries are gone through for every block of positions. (512 queries of MLA, four
// times as many floats, made prompts of 2048 tokens 6 % slower.)
inline constexpr std::size_t block_attention_floats = std::size_t{128} << 10;

// Floats of amx's panels of widened weights, their scales and the sums, all in whole cache lines.
inline constexpr std::size_t amx_block_floats = 53248;

constexpr std::size_t padded(std::size_t width) {
  return (width + scratch_align - 1) / scratch_align * scratch_align;
}

// Floats for widened_rows rows, of whole vectors of codes and a cache line apart, and for the sums.
constexpr std::size_t widened_scratch(std::size_t cols) {
  constexpr std::size_t chunk = 64;  // columns of a vector of codes, at most
  const std::size_t row = (cols + chunk - 1) / chunk * chunk + scratch_align;
  return scratch_align + widened_rows * row + scratch_sums * scratch_align;
}

// Floats for amx's panels and sums and a row of float32.
constexpr std::size_t amx_scratch(std::size_t cols) {
  return scratch_align + amx_block_floats + padded(cols);
}

// Rows of float32 that begin at multiples of pack_align.
constexpr std::size_t f32_slot_bytes(std::size_t cols) {
  return padded(cols) * sizeof(float);
}
extern const Packing f32_packing;

// A token's row of what is to be packed, from its first column, col_begin, on.
static inline const float* row_to_pack(const PackArgs& a, std::size_t token) {
  return a.x + (a.x_rows ? a.x_rows[token] : token) * a.x_stride;
}

// A token's slot, where a slot has one token.
static inline const std::byte* slot_of(const MatmulArgs& a, std::size_t token, std::size_t slot_bytes) {
  return a.packed + (a.slots ? a.slots[token] : token) * slot_bytes;
}

// The activations of a token where they are packed so.
static inline const float* activations(const MatmulArgs& a, std::size_t token) {
  return reinterpret_cast<const float*>(slot_of(a, token, f32_slot_bytes(a.matrix->cols)));
}

}  // namespace baleen::kernels
