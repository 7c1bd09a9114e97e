// AVX2, FMA and F16C.
#include "kernels/simd/avx2.h"

#include "kernels/simd/own_kernel.h"
#include "kernels/simd/table.h"

namespace baleen::kernels {

const Kernels& avx2_kernels() {
  static const Kernels table = table_of<Avx2, own_kernel<Avx2>>();
  return table;
}

}  // namespace baleen::kernels
