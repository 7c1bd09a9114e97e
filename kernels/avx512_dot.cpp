// AVX-512 with the byte dot products of VNNI, for CPUs that have them: all but the integer products of tokens
// that come alone is the plain table's.
#include "kernels/simd/avx512.h"
#include "kernels/simd/stream.h"

namespace baleen::kernels {
namespace {

struct Avx512Dot : Avx512 {
  template <Format>
  static constexpr std::size_t activation_bytes = 1;

  template <Format format>
  static void split(I w, I* out) {
    if constexpr (format == Format::int8)
      out[0] = w;
    else
      Avx512::split<format>(w, out);
  }

  template <Format format>
  static I dot(const I* w, const std::byte* x, I begin) {
    const I sum = _mm512_dpbusd_epi32(begin, w[0], codes(x));
    return format == Format::int8 ? sum : _mm512_dpbusd_epi32(sum, w[1], codes(x + 64));
  }
};

const Matmul& matmul_of(Path path, const Matrix& m) {
  if (path == Path::stream) {
    if (const Matmul* kernel = stream_integers<Avx512Dot>(m)) return *kernel;
  }
  return avx512_kernels().matmul(path, m);
}

Kernels with_dot_products(Kernels table) {
  table.matmul = matmul_of;
  return table;
}

}  // namespace

const Kernels& avx512_dot_kernels() {
  static const Kernels table = with_dot_products(avx512_kernels());
  return table;
}

}  // namespace baleen::kernels
