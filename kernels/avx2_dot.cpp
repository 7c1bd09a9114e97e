// AVX2 with the byte dot products of AVX-VNNI, which Alder Lake and Zen 5 have: the integer products of
// tokens that come alone. The rest is the plain table's.
#include "kernels/simd/avx2.h"
#include "kernels/simd/stream.h"

namespace baleen::kernels {
namespace {

struct Avx2Dot : Avx2 {
  template <Format>
  static constexpr std::size_t activation_bytes = 1;

  template <Format format>
  static void split(I w, I* out) {
    if constexpr (format == Format::int8)
      out[0] = w;
    else
      Avx2::split<format>(w, out);
  }

  template <Format format>
  static I dot(const I* w, const std::byte* x, I begin) {
    const I sum = _mm256_dpbusd_avx_epi32(begin, w[0], codes(x));
    return format == Format::int8 ? sum : _mm256_dpbusd_avx_epi32(sum, w[1], codes(x + 32));
  }
};

const Matmul& matmul_of(Path path, const Matrix& m) {
  if (path == Path::stream) {
    if (const Matmul* kernel = stream_scaled<Avx2Dot>(m)) return *kernel;
  }
  return avx2_kernels().matmul(path, m);
}

}  // namespace

const Kernels& avx2_dot_kernels() {
  static const Kernels table = [] {
    Kernels kernels = avx2_kernels();
    kernels.matmul = matmul_of;
    return kernels;
  }();
  return table;
}

}  // namespace baleen::kernels
