// The arithmetic of baleen: pure functions on plain memory, one table of them per instruction set.
//
// A kernel knows nothing of files, models, layers or threads; it allocates nothing and keeps no state.
// Weights are read as they lie in a checkpoint: every pointer to weight bytes may have any alignment.
// Activations are float32, rows [tokens, width] with a stride in elements.
//
// One result. The rounding of a token's row depends on that row alone:
//   - every output of matmul is a sum over the columns in an order fixed by the instruction set, the stored
//     matrix and the path; how many rows and tokens a call covers changes only which outputs are made, never
//     one of them;
//   - activations are rounded, if at all, when they are packed, each row by itself;
//   - attention works through blocks of attention_block positions at fixed multiples of it, and through
//     segments of attention_segment positions that are merged in ascending order, whoever computed them.
// Kernels that round differently belong to different paths. The path is a property of the token, decided by
// what it is for, never by how many tokens come together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/encode.h"

namespace baleen::kernels {

// How the values of a weight, or its scales, are stored. e8m0 is for scales alone.
enum class Format : std::uint8_t { f32, f16, bf16, fp8_e4m3, int8, int4, mxfp4, e8m0 };
inline constexpr std::size_t format_count = 7;  // of values

// How a token's products are computed.
//   batch   for tokens that come in numbers and share each weight: prompts
//   stream  for tokens that come alone or nearly so, when reading the weights takes the time: generated ones
//   exact   float32 activations and weights, whatever the others round: for a product that decides, like the
//           router's
enum class Path : std::uint8_t { batch, stream, exact };
inline constexpr std::size_t path_count = 3;

// A weight matrix [rows, cols] = [out_features, in_features] where it lies in the file.
//   f32, f16, bf16   plain rows
//   fp8_e4m3         DeepSeek's block format: W = value * scale[row / block_rows, col / block_cols]; vector
//                    kernels overflow for scales of 2^120 and more
//   int8, int4       compressed-tensors pack-quantized: value + offset (128 or 8) in little-endian int32
//                    words, lowest bits first, rows padded to whole words; W = (value - zero) * scale of
//                    the column's group; group = group_index ? group_index[col] : col / block_cols.
//                    zeros are packed along rows and stored with the same offset as the values: the zero of
//                    row r and group g is (word[r / per_word][g] >> (bits * (r % per_word))) & mask, with
//                    bits = 8 or 4 and per_word = 32 / bits. Without them the zero is the offset itself.
//   mxfp4            OCP Microscaling's MXFP4: e2m1 codes of a sign and 0, 0.5, 1, 1.5, 2, 3, 4 or 6, two to
//   a
//                    byte, the even column's in the low bits; W = value * scale of the column's group. Its
//                    scales are e8m0 and no other format's are: a byte e means 2^(e - 127), 255 is NaN.
//                    Vector kernels may stay finite where a weight is 2^128 or more.
// Without scales a scaled format means its bare values; scales of a plain format are not looked at.
struct Matrix {
  Format format = Format::f32;
  Format scale_format = Format::f32;  // f32, f16 or bf16; e8m0 of mxfp4
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t row_bytes = 0;               // from one row's values to the next's
  const std::byte* values = nullptr;       // [rows, row_bytes]
  const std::byte* scales = nullptr;       // [ceil(rows / block_rows), scale_cols]
  std::size_t scale_cols = 0;              // scales in a row of blocks
  std::size_t block_rows = 1;              // 128 for fp8, 1 for int4, int8 and mxfp4
  std::size_t block_cols = 1;              // 128 for fp8, the group size for int4 and int8, 32 for mxfp4
  const std::byte* zeros = nullptr;        // int32 [ceil(rows / per_word), scale_cols]
  const std::byte* group_index = nullptr;  // int32 [cols]
};

// Columns [col_begin, col_end) of rows of activations, to be packed. Ranges of columns of one buffer may be
// packed by different threads.
struct PackArgs {
  const float* x = nullptr;               // [*, col_end - col_begin]
  std::size_t x_stride = 0;               // elements
  const std::uint32_t* x_rows = nullptr;  // row of x for each token; null: token t is row t
  std::size_t tokens = 0;                 // fill the slots from the first on
  std::size_t cols = 0;                   // width of a whole row
  std::size_t col_begin = 0;              // multiple of pack_cols
  std::size_t col_end = 0;                // multiple of pack_cols, or cols
  std::byte* packed = nullptr;            // [ceil(tokens / slot_tokens)] slots, aligned to pack_align
};
inline constexpr std::size_t pack_cols = 32;
inline constexpr std::size_t pack_align = 64;

// Activations in the form that a kernel reads, rounded to what it multiplies in: made once for all rows of
// all matrices that read it. A buffer of them is a row of slots.
struct Packing {
  std::size_t slot_tokens = 1;                            // tokens of a slot
  std::size_t (*slot_bytes)(std::size_t cols) = nullptr;  // a multiple of pack_align
  void (*pack)(const PackArgs&) = nullptr;                // a last slot that is not filled is made whole
};

// out[t, r] = sum over c of x[t, c] * W[r, c] for r in [row_begin, row_end).
struct MatmulArgs {
  const Matrix* matrix = nullptr;
  std::size_t row_begin = 0;
  std::size_t row_end = 0;
  const std::byte* packed = nullptr;     // x, packed by the kernel's packing
  const std::uint32_t* slots = nullptr;  // slot of each token; only where a slot has one token; null: slot t
  std::size_t tokens = 0;
  float* out = nullptr;  // row r of token t goes to out[t * out_stride + r - row_begin]
  std::size_t out_stride = 0;
  float* scratch = nullptr;  // matmul_scratch(cols) floats: room for widened rows
};

// silu(gate x) * (up x) for rows [row_begin, row_end) of two matrices of the same size, packed for the
// product that reads it, whose columns these rows are.
struct GatedArgs {
  const Matrix* gate = nullptr;
  const Matrix* up = nullptr;
  std::size_t row_begin = 0;          // multiple of pack_cols
  std::size_t row_end = 0;            // multiple of pack_cols, or rows
  const std::byte* packed = nullptr;  // x, packed by the kernel's packing
  std::size_t tokens = 0;
  std::byte* inner = nullptr;  // slots of as many columns as gate has rows, in the kernel's packing too
  float* scratch = nullptr;    // matmul_scratch(cols) floats
};

// A kernel for products and the packing it reads. Two kernels read the same if they name the same packing.
struct Matmul {
  const Packing* packing = nullptr;
  void (*multiply)(const MatmulArgs&) = nullptr;
  // For two matrices of this kernel: the bits that multiply, silu_mul and pack give, without the way through
  // memory. May be null.
  void (*multiply_gated)(const GatedArgs&) = nullptr;
};

// Floats of scratch that matmul needs for a width of `cols`, for every instruction set.
std::size_t matmul_scratch(std::size_t cols);

// out[t, c] = sum over r in [row_begin, row_end) of x[t, r - row_begin] * W[r, c], rows in ascending order.
// It is how absorbed attention folds W_UK into the query.
struct TransposedArgs {
  const Matrix* matrix = nullptr;
  std::size_t row_begin = 0;
  std::size_t row_end = 0;
  const float* x = nullptr;  // [tokens, row_end - row_begin]
  std::size_t x_stride = 0;
  std::size_t tokens = 0;
  float* out = nullptr;  // [tokens, cols], overwritten
  std::size_t out_stride = 0;
  float* scratch = nullptr;  // transposed_scratch(row_end - row_begin, cols) floats
};

// Floats of scratch that matmul_transposed needs for `rows` rows, for every instruction set.
std::size_t transposed_scratch(std::size_t rows, std::size_t cols);

// Positions a block of attention covers; blocks lie at multiples of it.
inline constexpr std::size_t attention_block = 32;
// Positions after which a running softmax is closed and merged: the unit by which threads share a context.
inline constexpr std::size_t attention_segment = 512;

// How the KV cache stores a row of `width` numbers: f32, bf16, or int8 by groups of kv_group numbers, each an
// f32 scale (maximum / 127) and then its values, each plus 128; the last group may be short. So a row can be
// read from its front without knowing its width. An int8 group that holds a NaN or an infinity reads back as
// NaN.
enum class KvFormat : std::uint8_t { f32, bf16, int8 };
inline constexpr std::size_t kv_group = 32;

// The running softmax of one query over a segment: sum of exp(score - maximum) and the weighted values.
struct SoftmaxState {
  float maximum = 0;  // -infinity before the first position
  float sum = 0;
};

// Queries that share one key head, over positions [begin, end) inside one segment. Scores are
// scale * (q . k); v_dim numbers of each value row are summed. A query q sees positions
// [first[q], last[q]), cut to [begin, end); rows of keys and values are in KvFormat. A query that sees none
// of them gets maximum = -infinity, sum = 0 and out = 0. What a query gets depends on its own positions
// alone.
struct AttentionArgs {
  const float* q = nullptr;  // [queries, k_dim]
  std::size_t q_stride = 0;
  std::size_t queries = 0;
  const std::uint32_t* first = nullptr;  // [queries]
  const std::uint32_t* last = nullptr;   // [queries]
  KvFormat kv_format = KvFormat::f32;
  const std::byte* keys = nullptr;  // row of position p at keys + p * key_row_bytes
  std::size_t key_row_bytes = 0;
  std::size_t k_dim = 0;
  const std::byte* values = nullptr;  // may be the keys themselves: MLA's latent is both
  std::size_t value_row_bytes = 0;
  std::size_t v_dim = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
  float scale = 1;
  SoftmaxState* state = nullptr;  // [queries], set by the call
  float* out = nullptr;           // [queries, v_dim] unnormalized, set by the call
  std::size_t out_stride = 0;
  float* scratch = nullptr;  // attention_scratch(...) floats
};

// Floats of scratch that attention needs for these sizes, for every instruction set.
std::size_t attention_scratch(std::size_t queries, std::size_t k_dim, std::size_t v_dim);
// Bytes of one KV cache row of `width` numbers.
std::size_t kv_row_bytes(KvFormat format, std::size_t width);

// One instruction set's kernels. Every entry is set; entries an instruction set does not better are the
// scalar reference's.
struct Kernels {
  std::string_view name;  // as in --isa

  // The kernel for a matrix: it depends on how the matrix is stored, not on what is in it.
  const Matmul& (*matmul)(Path, const Matrix&);
  void (*matmul_transposed[path_count][format_count])(const TransposedArgs&);

  // out[c] = W[row, c] as float32, for c in [0, cols).
  void (*widen_row[format_count])(const Matrix&, std::size_t row, float* out);

  // out = x / sqrt(mean(x^2) + eps) * gain, transformers' RMSNorm in float32. gain is bf16, f16 or f32 bytes
  // at any alignment; out may be x.
  void (*rms_norm)(const float* x, const std::byte* gain, Format gain_format, std::size_t width, float eps,
                   float* out);
  // gate = silu(gate) * up, silu(x) = x / (1 + exp(-x)).
  void (*silu_mul)(float* gate, const float* up, std::size_t n);
  // y += a * x
  void (*axpy)(float a, const float* x, float* y, std::size_t n);

  void (*attention[path_count])(const AttentionArgs&);
  // Of queries and results that attention should be given at a time, where there are more: enough to make use
  // of keys that are widened for them, and so few that they stay in a near cache while it goes through them.
  std::size_t attention_floats;
  // Stores `width` numbers as one KV cache row, and reads them back.
  void (*kv_store)(KvFormat format, const float* x, std::size_t width, std::byte* row);
  void (*kv_load)(KvFormat format, const std::byte* row, std::size_t width, float* x);

  // Rounds weights to what a checkpoint stores: the same on every instruction set, see encode.h.
  Encoders encode;

  // Multiplies and adds in registers alone, `rounds` times as many as keep the units busy, and returns how
  // many floating-point operations that were: for measuring what the processor can do at most.
  double (*peak)(std::size_t rounds);
};

// The table for an instruction set of this machine: "auto" is the best one, else "scalar", "avx2", "avx512",
// "amx" or "neon". Returns nullptr for a name that is unknown, not built in or not supported by CPU and
// operating system.
// dispatch.h lists the names.
const Kernels* find_kernels(std::string_view name);

}  // namespace baleen::kernels
