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
  // Number `index` of an array of plain numbers.
  static float number(Format format, const std::byte* array, std::size_t index) {
    if (format == Format::f32) {
      float value;
      std::memcpy(&value, array + 4 * index, sizeof value);
      return value;
    }
    std::uint16_t bits;
    std::memcpy(&bits, array + 2 * index, sizeof bits);
    if (format == Format::f16) return _cvtsh_ss(bits);
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(std::uint32_t{bits} << 16))));
  }

  static __m128i load64(const std::byte* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static __m128i load128(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
};

}  // namespace
}  // namespace baleen::kernels
