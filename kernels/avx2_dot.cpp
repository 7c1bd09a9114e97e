// AVX2 with the byte dot products of AVX-VNNI, which Alder Lake and Zen 5 have: the integer products.
// The rest is the plain table's.
#include "kernels/simd/avx2.h"
#include "kernels/simd/dot.h"

namespace baleen::kernels {
namespace {

struct Avx2Vnni : Avx2 {
  static I dpbusd(I sum, I codes, I activations) { return _mm256_dpbusd_avx_epi32(sum, codes, activations); }
};

}  // namespace

const Kernels& avx2_dot_kernels() {
  static const Kernels table = table_with_dots<Avx2Vnni, avx2_kernels>();
  return table;
}

}  // namespace baleen::kernels
