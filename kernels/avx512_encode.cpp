// AVX-512's encoders.
#include "kernels/simd/avx512.h"
#include "kernels/simd/encode.h"

namespace baleen::kernels {
namespace {

struct Avx512Encode : Avx512 {
  static I bits(F v) { return _mm512_castps_si512(v); }
  static F from_bits(I v) { return _mm512_castsi512_ps(v); }
  static I ints(int v) { return _mm512_set1_epi32(v); }
  static I to_ints(F v) { return _mm512_cvtps_epi32(v); }
  static I and_bits(I a, I b) { return _mm512_and_si512(a, b); }
  static I add_ints(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub_ints(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I max_ints(I a, I b) { return _mm512_max_epi32(a, b); }
  template <int n>
  static I shift_right(I v) {
    return _mm512_srli_epi32(v, n);
  }
  static std::uint32_t largest_int(I v) { return static_cast<std::uint32_t>(_mm512_reduce_max_epi32(v)); }
  static float minimum(F v) { return _mm512_reduce_min_ps(v); }
  // A bit for each lane that equals v.
  static unsigned equal(F a, float v) { return _mm512_cmp_ps_mask(a, set1(v), _CMP_EQ_OQ); }
  // a < b ? yes : no
  static F where_less(F a, F b, F yes, F no) {
    return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), yes);
  }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F rounded_f16(F v) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  // The low bytes of the first n lanes.
  static void store_codes(std::uint8_t* to, I codes, std::size_t n) {
    _mm512_mask_cvtepi32_storeu_epi8(to, low_lanes(n), codes);
  }
};

}  // namespace

constinit const Encoders avx512_encoders = encoders<Avx512Encode>;

}  // namespace baleen::kernels
