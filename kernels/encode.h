// Rounding weights to what a checkpoint stores. Unlike other kernels, these give the same bits on every
// instruction set, as their results are written to files: sums are those of 16 lanes, column c in lane c %
// 16, added as a tree (i + 8 onto i, then 4, 2, 1), and every operation below is one of IEEE float32.
//
// A group's largest magnitude `top` makes its scale:
//   int4, int8   P(top / 7.5) or P(top / 127.5), P rounding to the plain type; P's epsilon instead of 0
//   fp8_e4m3     top / 448; epsilon instead of 0
//   mxfp4        the power of two, a quarter of top's, that is the next one from mantissas of 1.75 on;
//                stored as its exponent + 127
// and each weight its value: P(x / scale) clamped and rounded to the nearest, ties to even. Integers and
// mxfp4 are what compressed-tensors stores, which computes in the plain type; two ends differ on purpose:
// where its exponent overflows (half of the plain type's range and more).
//
// A search tries other scales for the least sum of importance * (stored - x)^2: those of integers and fp8 are
// P(ratio * top / 7.5 and so on), those of mxfp4 neighbouring exponents; values are then x * (1 / scale)
// rounded, for integers without rounding the product before. A scale must be better than the first one to
// take its place, and of equals the first tried wins. Groups with top outside of [encode_least, encode_most],
// whose squares float32 might not hold, are not searched.
#pragma once

#include <cstddef>
#include <cstdint>

namespace baleen::kernels {

enum class Format : std::uint8_t;

// Of a group, with importance: of stored - x and of x. Not a number where a weight is not finite; then zeros
// are stored.
struct EncodeSums {
  double error = 0;
  double norm = 0;
};

// One row in groups, or for fp8 one block, which is one group.
struct EncodeArgs {
  Format plain{};  // what x was widened from: bf16, f16 or f32
  bool search = false;
  const float* x = nullptr;  // [rows, cols]
  std::size_t x_stride = 0;
  std::size_t rows = 1;  // more than one for fp8 only
  std::size_t cols = 0;
  std::size_t group = 0;              // columns that share a scale, a divisor of cols; fp8: cols
  const float* importance = nullptr;  // [cols], between 0 and 2; null: all 1
  std::byte* values = nullptr;        // as in Matrix; rows of integers in whole words, the last padded with 0
  std::size_t value_stride = 0;       // bytes
  std::byte* scales = nullptr;        // [cols / group], plain; fp8: one f32; mxfp4: bytes
  EncodeSums* sums = nullptr;         // [cols / group]
  std::uint8_t* scratch = nullptr;    // [cols + 64]
};

// The encoders of a table, by what they make.
struct Encoders {
  void (*int4)(const EncodeArgs&);
  void (*int8)(const EncodeArgs&);
  void (*fp8)(const EncodeArgs&);
  void (*mxfp4)(const EncodeArgs&);
};

inline constexpr float encode_least = 0x1p-40f;
inline constexpr float encode_most = 0x1p40f;

// Ratios are tried in batches of encode_batch: the coarse ones, then some around the best.
inline constexpr std::size_t encode_batch = 4;
struct EncodeRatios {
  float first;
  float step;  // first, first - step, ...
  std::size_t batches;
  float fine;  // the best + 2, 1, -1 and -2 times this; 0: no more
};
// Measured on normal and t-distributed weights. Integers gain from ratios above 1 too: a scale of bf16 has
// few values, and the largest weight, if positive, is half a step above the largest code.
inline constexpr EncodeRatios int4_ratios = {1.12f, 0.04f, 4, 0.01f};
inline constexpr EncodeRatios int8_ratios = {1.06f, 0.0075f, 4, 0.0025f};
inline constexpr EncodeRatios fp8_ratios = {1.0f, 0.0625f, 2, 0.0f};
inline constexpr int mxfp4_steps[encode_batch] = {0, -1, 1, -2};

}  // namespace baleen::kernels
