// Which matrices x86 has kernels of its own for. They are the same for prompts and generated tokens: so are
// the bits.
#pragma once

#include "kernels/simd/float_batch.h"
#include "kernels/simd/integer_batch.h"

namespace baleen::kernels {
namespace {

// The kernel for a matrix; null where simd/matmul.h has the one.
template <class V>
const Matmul* own_kernel(Path path, const Matrix& m) {
  if (path == Path::exact) return nullptr;
  if (const Matmul* kernel = integer_kernel<V>(m)) return kernel;
  if (const Matmul* kernel = fp8_kernel<V>(path, m)) return kernel;
  return float_kernel<V, Format::bf16>(path, m);
}

}  // namespace
}  // namespace baleen::kernels
