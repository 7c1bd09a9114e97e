// What the vocabularies of AVX2 and AVX-512 have in common: single numbers and short loads, for every
// compiler flag that includes AVX2 and F16C.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"

namespace baleen::kernels {
namespace {

struct X86 {
  static float from_f16(std::uint16_t bits) { return _cvtsh_ss(bits); }

  static std::uint16_t f16_bits(float v) {
    return static_cast<std::uint16_t>(_cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // An encoder's codes of 4 bits, a byte each in scratch, in bytes of two, the first low; the row's rest is 0.
  static void pack_nibbles(const EncodeArgs& a) {
    std::memset(a.scratch + a.cols, 0, 64);
    for (std::size_t i = 0; i < a.value_stride; i += 16) {
      const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a.scratch + 2 * i));
      const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x1001));
      const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
      const std::size_t rest = a.value_stride - i;
      std::memcpy(a.values + i, &bytes, rest < 16 ? rest : 16);
    }
  }

  static __m128i load64(const std::byte* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static __m128i load128(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
};

}  // namespace
}  // namespace baleen::kernels
