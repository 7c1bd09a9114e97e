// Products of bf16 and fp8 weights for many tokens: what simd/stream.h's FloatStream gives, bit for bit, so
// that either may be taken for any number of tokens. Rows are widened once for all of them, in the order in
// which the activations lie, into scratch that stays in the second-level cache.
#pragma once

#include "kernels/simd/matmul.h"
#include "kernels/simd/stream.h"

namespace baleen::kernels {
namespace {

template <class V, Format format>
struct FloatBatch {
  using Stream = FloatStream<V, format, Path::batch>;
  // Up to so many tokens are faster as a stream. (Of 4, 8, 12 and 16 the best for prompts of 8 to 128
  // tokens.)
  static constexpr std::size_t few = 12;

  static void multiply(const MatmulArgs& a) {
    if (a.tokens <= few) return stream<Stream>(a);
    const std::size_t cols = a.matrix->cols;
    multiply_widened<V>(a, round_up(cols, Stream::chunk), Stream::slot_bytes(cols),
                        [&](std::size_t row, float* out) { widen(*a.matrix, row, out); });
  }

 private:
  // A row and zeros up to a whole chunk.
  static void widen(const Matrix& m, std::size_t index, float* out) {
    const Row<V, format> row[1] = {Row<V, format>(m, index)};
    const std::size_t block = group_cols<format>(m);
    alignas(64) float scales[V::lanes];
    typename V::I seen = {};
    for (std::size_t c = 0, g = 0; c < m.cols; ++g) {
      Stream::template load_scales<1>(m, row, g, scales);
      const typename V::F scale = V::set1(Stream::scaled ? scales[g % V::lanes] : 1);
      const std::size_t end = m.cols - c > block ? c + block : m.cols;
      const auto put = [&](typename V::I codes) __attribute__((always_inline)) {
        typename V::F w[Stream::vectors];
        Stream::widen(codes, scale, seen, w);
        unrolled<Stream::vectors>([&](auto i) { V::store(out + c + i * V::lanes, w[i]); });
        c += Stream::chunk;
      };
      while (c + Stream::chunk <= end) put(V::codes(row[0].at(c)));
      if (c < end) put(V::codes(row[0].at(c), value_bytes(format, end - c)));
    }
    if (Stream::is_nan(seen)) out[0] = __builtin_nanf("");  // and so is every sum
  }
};

// The kernel for a bf16 or fp8 matrix; null where simd/matmul.h has the one. bf16 has one for both
// paths.
template <class V, Format format>
const Matmul* float_kernel(Path path, const Matrix& m) {
  using Batch = FloatBatch<V, format>;
  using Stream = FloatStream<V, format, Path::stream>;
  static constexpr Matmul batch = {&Batch::Stream::packing, Batch::multiply};
  static constexpr Matmul alone = {&Stream::packing, stream<Stream>};
  if (m.format != format || !Stream::fits(m)) return nullptr;
  return path == Path::stream && Stream::scaled ? &alone : &batch;
}

template <class V>
const Matmul* fp8_kernel(Path path, const Matrix& m) {
  if constexpr (V::streams_fp8) return float_kernel<V, Format::fp8_e4m3>(path, m);
  return nullptr;
}

}  // namespace
}  // namespace baleen::kernels
