// Integer products by instructions that multiply unsigned bytes by signed ones and add four products to an
// int32: a table of these and of another table's rest.
//
// A V has V::dpbusd(sum, codes, activations) beside what simd/stream.h needs.
#pragma once

#include "kernels/simd/float_batch.h"
#include "kernels/simd/integer_batch.h"

namespace baleen::kernels {
namespace {

template <class V>
struct ByteDots : V {
  using I = typename V::I;

  template <Format>
  static constexpr std::size_t activation_bytes = 1;
  template <Format>
  static constexpr std::size_t dot_parts = 1;

  template <Format format>
  static void split(I w, I* out) {
    if constexpr (format == Format::int8)
      out[0] = w;
    else
      V::template split<format>(w, out);
  }

  template <Format>
  static I dot(const I* w, const std::byte* x, I begin) {
    return V::dpbusd(begin, w[0], V::codes(x));
  }
};

template <class V, const Kernels& (*plain)()>
const Matmul& matmul_with_dots(Path path, const Matrix& m) {
  if (path != Path::exact) {
    if (const Matmul* kernel = integer_kernel<ByteDots<V>>(m)) return *kernel;
    if (const Matmul* kernel = fp8_kernel<V>(path, m)) return *kernel;
  }
  return plain().matmul(path, m);
}

template <class V, const Kernels& (*plain)()>
Kernels table_with_dots() {
  Kernels table = plain();
  table.matmul = matmul_with_dots<V, plain>;
  return table;
}

}  // namespace
}  // namespace baleen::kernels
