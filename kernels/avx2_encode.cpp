// AVX2's encoders.
#include "kernels/simd/avx2.h"
#include "kernels/simd/encode.h"

namespace baleen::kernels {
namespace {

struct Avx2Encode : Avx2 {
  static I bits(F v) { return _mm256_castps_si256(v); }
  static F from_bits(I v) { return _mm256_castsi256_ps(v); }
  static I ints(int v) { return _mm256_set1_epi32(v); }
  static I to_ints(F v) { return _mm256_cvtps_epi32(v); }
  static I and_bits(I a, I b) { return _mm256_and_si256(a, b); }
  static I add_ints(I a, I b) { return _mm256_add_epi32(a, b); }
  static I sub_ints(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I max_ints(I a, I b) { return _mm256_max_epi32(a, b); }
  template <int n>
  static I shift_right(I v) {
    return _mm256_srli_epi32(v, n);
  }
  static std::uint32_t largest_int(I v) {
    const __m128i half = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    const __m128i pair = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_max_epi32(pair, _mm_shuffle_epi32(pair, 0xb1))));
  }
  static float minimum(F v) { return -maximum(sub(set1(0), v)); }
  // A bit for each lane that equals v.
  static unsigned equal(F a, float v) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, set1(v), _CMP_EQ_OQ)));
  }
  // a < b ? yes : no
  static F where_less(F a, F b, F yes, F no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F rounded_f16(F v) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  // The low bytes of the first n lanes.
  static void store_codes(std::uint8_t* to, I codes, std::size_t n) {
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
    const __m128i bytes = _mm_packus_epi16(words, words);
    if (n == lanes) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to), bytes);
    } else {
      std::memcpy(to, &bytes, n);
    }
  }
};

}  // namespace

constinit const Encoders avx2_encoders = encoders<Avx2Encode>;

}  // namespace baleen::kernels
