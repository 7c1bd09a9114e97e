// AVX-512 with the byte dot products of VNNI and the byte permutations of VBMI, which Ice Lake and Zen 4
// brought together: the integer products, and those of fp8 for tokens that come alone. The rest is the plain
// table's.
#include "kernels/simd/avx512.h"
#include "kernels/simd/dot.h"

namespace baleen::kernels {
namespace {

// The two upper bytes of float32 for the fp8 codes without their sign.
struct UpperBytes {
  std::uint8_t high[128];
  std::uint8_t low[128];

  constexpr UpperBytes() : high(), low() {
    for (std::uint32_t code = 0; code < 128; ++code) {
      const std::uint32_t exponent = code >> 3;
      const std::uint32_t mantissa = code & 7;
      // 2^-8 of the value, as the other tables make it.
      std::uint32_t bits = (exponent + 112) << 7 | mantissa << 4;
      if (exponent == 0) {  // mantissa * 2^-9
        const std::uint32_t log2 = mantissa >= 4 ? 2 : mantissa >= 2 ? 1 : 0;
        bits = mantissa == 0 ? 0 : (log2 + 110) << 7 | (mantissa << (7 - log2) & 0x7f);
      }
      if (code == 127) bits = 0x7fc0;
      high[code] = static_cast<std::uint8_t>(bits >> 8);
      low[code] = static_cast<std::uint8_t>(bits);
    }
  }
};
alignas(64) constexpr UpperBytes upper_bytes;

// Permutations of bytes look at six bits: with the integers four times over they need no mask.
struct NibbleTable {
  std::byte bytes[64];

  constexpr NibbleTable() : bytes() {
    for (std::size_t i = 0; i < 64; ++i) bytes[i] = e2m1_integers[i % 16];
  }
};
alignas(64) constexpr NibbleTable e2m1_fourfold;

struct Avx512Vnni : Avx512 {
  // fp8: a table of 128 bytes takes three instructions to look 64 codes up in, fewer than f16 takes. Pairs of
  // bytes are bf16 then, out of order by how AVX-512 interleaves.
  template <Format format>
  static void widen(I w, F* out) {
    if constexpr (format == Format::fp8_e4m3) {
      const auto look_up = [&](const std::uint8_t* table) {
        return _mm512_permutex2var_epi8(_mm512_load_si512(table), w, _mm512_load_si512(table + 64));
      };
      constexpr int a_or_b_and_c = 0xf8;
      const I high =
          _mm512_ternarylogic_epi32(look_up(upper_bytes.high), w, _mm512_set1_epi8(-128), a_or_b_and_c);
      const I low = look_up(upper_bytes.low);
      Avx512::widen<Format::bf16>(_mm512_unpacklo_epi8(low, high), out);
      Avx512::widen<Format::bf16>(_mm512_unpackhi_epi8(low, high), out + 2);
    } else {
      Avx512::widen<format>(w, out);
    }
  }

  // 16 columns are four lanes of each vector: even and odd ones of the first eight, then of the others.
  template <Format format>
  static void put(float* chunk, std::size_t c, const Halves& columns) {
    if constexpr (format == Format::fp8_e4m3) {
      float* at = chunk + c / 4;
      _mm_storeu_ps(at, _mm256_castps256_ps128(columns.even));
      _mm_storeu_ps(at + 16, _mm256_castps256_ps128(columns.odd));
      _mm_storeu_ps(at + 32, _mm256_extractf128_ps(columns.even, 1));
      _mm_storeu_ps(at + 48, _mm256_extractf128_ps(columns.odd, 1));
    } else {
      Avx512::put<format>(chunk, c, columns);
    }
  }

  template <Format format>
  static void split(I w, I* out) {
    if constexpr (format == Format::mxfp4) {
      const I table = _mm512_load_si512(e2m1_fourfold.bytes);
      out[0] = _mm512_permutexvar_epi8(w, table);
      out[1] = _mm512_permutexvar_epi8(_mm512_srli_epi16(w, 4), table);
    } else {
      Avx512::split<format>(w, out);
    }
  }

  // The table knows NaN.
  static void note(I, I&) {}
  static bool any_nan(I) { return false; }

  static I dpbusd(I sum, I codes, I activations) { return _mm512_dpbusd_epi32(sum, codes, activations); }
};

}  // namespace

const Kernels& avx512_dot_kernels() {
  static const Kernels table = table_with_dots<Avx512Vnni, avx512_kernels>();
  return table;
}

}  // namespace baleen::kernels
