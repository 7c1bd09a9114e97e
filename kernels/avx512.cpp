// AVX-512 F, BW, DQ and VL.
#include "kernels/simd/avx512.h"

#include "kernels/simd/own_kernel.h"
#include "kernels/simd/table.h"

namespace baleen::kernels {

const Kernels& avx512_kernels() {
  static const Kernels table = table_of<Avx512, own_kernel<Avx512>>();
  return table;
}

}  // namespace baleen::kernels
