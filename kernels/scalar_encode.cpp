// The reference of encode.h: one number after the other.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/tables.h"

namespace baleen::kernels {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// The nearest, ties to even, of a number that is one.
std::uint16_t bf16_bits(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// For magnitudes that f16 can hold. Its steps are those of the exponent, but none is below 2^-24.
float to_f16(float v) {
  int exponent = 0;
  std::frexp(v, &exponent);
  const float step = std::ldexp(1.0f, std::max(exponent - 11, -24));
  return std::nearbyint(v / step) * step;
}

std::uint16_t f16_bits(float v) {
  const std::uint32_t sign = std::bit_cast<std::uint32_t>(v) >> 16 & 0x8000u;
  const float magnitude = std::fabs(to_f16(v));
  if (magnitude < 0x1p-14f)
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(magnitude * 0x1p24f));
  const auto bits = std::bit_cast<std::uint32_t>(magnitude);
  return static_cast<std::uint16_t>(sign | ((bits >> 13) - (112u << 10)));
}

float plain_rounded(Format plain, float v) {
  if (plain == Format::bf16) return std::bit_cast<float>(std::uint32_t{bf16_bits(v)} << 16);
  return plain == Format::f16 ? to_f16(v) : v;
}

float epsilon(Format plain) {
  if (plain == Format::bf16) return 0x1p-7f;
  return plain == Format::f16 ? 0x1p-10f : FLT_EPSILON;
}

void store_plain(Format plain, float v, std::byte* to) {
  if (plain == Format::f32) {
    std::memcpy(to, &v, sizeof v);
  } else {
    const std::uint16_t bits = plain == Format::bf16 ? bf16_bits(v) : f16_bits(v);
    std::memcpy(to, &bits, sizeof bits);
  }
}

// The nearest number with `mantissa` bits behind the point and an exponent of at least `least`, ties to even;
// magnitudes below 2^20.
float rounded_to(int mantissa, int least, float v) {
  int exponent = 0;
  std::frexp(v, &exponent);
  const float step = std::ldexp(1.0f, std::max(exponent - 1, least) - mantissa);
  return std::nearbyint(v / step) * step;
}

// A format of codes: how x / scale becomes a value, and a value a code.
template <unsigned bits>
struct Integer {
  static constexpr float half = static_cast<float>((1 << bits) - 1) / 2;
  static constexpr EncodeRatios ratios = bits == 4 ? int4_ratios : int8_ratios;
  static constexpr std::size_t scale_bytes(Format plain) { return plain == Format::f32 ? 4 : 2; }

  static float first_scale(Format plain, float top) {
    const float scale = plain_rounded(plain, top / half);
    return scale == 0 ? epsilon(plain) : scale;
  }
  static float scale(Format plain, float ratio, float top) {
    return plain_rounded(plain, ratio * (top / half));
  }
  static float first_value(Format plain, float x, float scale) {
    return std::nearbyint(clamped(plain_rounded(plain, clamped_wide(x / scale))));
  }
  // Adding 1.5 * 2^23 leaves no room for what is below 1: the product is rounded once, to a whole number.
  static float value(float x, float inverse) { return clamped(std::fma(x, inverse, 0x1.8p23f) - 0x1.8p23f); }
  static std::uint8_t code(Format, float, float value, float) {
    return static_cast<std::uint8_t>(static_cast<int>(value) + (1 << (bits - 1)));
  }
  static void store(Format plain, float scale, std::byte* to) { store_plain(plain, scale, to); }

 private:
  static float clamped(float v) { return std::min(std::max(v, -half - 0.5f), half - 0.5f); }
  // Where rounding to f16 is defined.
  static float clamped_wide(float v) { return std::min(std::max(v, -1024.0f), 1024.0f); }
};

struct Fp8 {
  static constexpr EncodeRatios ratios = fp8_ratios;
  static constexpr std::size_t scale_bytes(Format) { return 4; }

  static float first_scale(Format, float top) {
    const float scale = top / 448.0f;
    return scale == 0 ? FLT_EPSILON : scale;
  }
  static float scale(Format, float ratio, float top) { return ratio * (top / 448.0f); }
  static float first_value(Format, float x, float scale) { return rounded(x / scale); }
  static float value(float x, float inverse) { return rounded(x * inverse); }
  static std::uint8_t code(Format, float x, float value, float) {
    const float magnitude = std::fabs(value);
    const std::uint32_t bits = magnitude < 0x1p-6f
                                   ? static_cast<std::uint32_t>(magnitude * 0x1p9f)
                                   : (std::bit_cast<std::uint32_t>(magnitude) >> 20) - (120u << 3);
    return static_cast<std::uint8_t>(bits | (std::signbit(x) ? 0x80u : 0u));
  }
  static void store(Format, float scale, std::byte* to) { std::memcpy(to, &scale, sizeof scale); }

 private:
  static float rounded(float v) { return rounded_to(3, -6, std::min(std::max(v, -448.0f), 448.0f)); }
};

struct Mxfp4 {
  static constexpr std::size_t scale_bytes(Format) { return 1; }

  // In f16, numbers below the normal ones get no scale of their own but 1.
  static float first_scale(Format plain, float top) {
    if (plain == Format::f16) {
      const std::uint32_t exponent = (f16_bits(top) + 0x100u) >> 10;
      return exponent == 0 ? 1.0f : power(static_cast<int>(exponent) - 17);
    }
    const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(top) + 0x200000u) >> 23;
    return power(std::max(static_cast<int>(exponent) - 129, -127));
  }
  static float power(int n) { return std::ldexp(1.0f, n); }
  static float first_value(Format, float x, float scale) { return rounded(x / scale); }
  static float value(float x, float inverse) { return rounded(x * inverse); }
  // Zeros are negative where a number below zero was rounded to them, unless it vanished in dividing.
  static std::uint8_t code(Format plain, float x, float value, float scale) {
    const float magnitude = std::fabs(value);
    const std::uint32_t bits = magnitude < 1 ? static_cast<std::uint32_t>(magnitude * 2)
                                             : (std::bit_cast<std::uint32_t>(magnitude) >> 22) - (126u << 1);
    const float least = plain == Format::f16 ? 0x1p-25f : plain == Format::bf16 ? 0x1p-134f : 0.0f;
    return static_cast<std::uint8_t>(bits | (x / scale < -least ? 8u : 0u));
  }
  static void store(Format, float scale, std::byte* to) {
    *to = static_cast<std::byte>(std::ilogb(scale) + 127);
  }

 private:
  static float rounded(float v) { return rounded_to(1, 0, std::min(std::max(v, -6.0f), 6.0f)); }
};

// The weights that share a scale.
struct Group {
  const EncodeArgs& a;
  std::size_t begin;

  template <class Use>
  void each(const Use& use) const {
    for (std::size_t r = 0; r < a.rows; ++r) {
      for (std::size_t c = begin; c < begin + a.group; ++c) {
        use(a.x[r * a.x_stride + c], a.importance ? a.importance[c] : 1.0f, r, c);
      }
    }
  }
};

// Sum of weight * term(x)^2.
template <class Term>
float sum_of_squares(const Group& group, const Term& term) {
  float lanes[16] = {};
  group.each([&](float x, float weight, std::size_t, std::size_t c) {
    const float t = term(x);
    float& lane = lanes[(c - group.begin) % 16];
    lane = std::fma(group.a.importance ? weight * t : t, t, lane);
  });
  for (std::size_t n = 8; n > 0; n /= 2) {
    for (std::size_t i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  }
  return lanes[0];
}

// The choice for a group: whether its values are those of the first scale.
struct Choice {
  float scale;
  float error;
  bool first = true;
};

template <class Code>
float error_of(const Group& group, float scale) {
  const float inverse = 1.0f / scale;
  return sum_of_squares(group, [&](float x) { return std::fma(-Code::value(x, inverse), scale, x); });
}

template <class Code>
void search(const Group& group, float top, Choice& best) {
  constexpr EncodeRatios ratios = Code::ratios;
  float best_ratio = 1;
  const auto consider = [&](float ratio) {
    const float scale = Code::scale(group.a.plain, ratio, top);
    if (scale == 0) return;
    const float error = error_of<Code>(group, scale);
    if (error < best.error) best = {scale, error, false}, best_ratio = ratio;
  };
  for (std::size_t i = 0; i < ratios.batches * encode_batch; ++i) {
    consider(ratios.first - static_cast<float>(i) * ratios.step);
  }
  if (ratios.fine == 0) return;
  const float centre = best_ratio;
  for (const float offset : {2.0f, 1.0f, -1.0f, -2.0f}) consider(centre + offset * ratios.fine);
}

template <>
void search<Mxfp4>(const Group& group, float top, Choice& best) {
  const int exponent = std::ilogb(Mxfp4::first_scale(group.a.plain, top));
  for (const int step : mxfp4_steps) {
    const float scale = Mxfp4::power(exponent + step);
    const float error = error_of<Mxfp4>(group, scale);
    if (error < best.error) best = {scale, error, false};
  }
}

template <class Code>
std::uint8_t* codes_of_row(const EncodeArgs& a, std::size_t row) {
  if constexpr (std::is_same_v<Code, Integer<4>> || std::is_same_v<Code, Mxfp4>) return a.scratch;
  return reinterpret_cast<std::uint8_t*>(a.values + row * a.value_stride);
}

template <class Code>
void write(const Group& group, const Choice& choice) {
  const EncodeArgs& a = group.a;
  const float inverse = 1.0f / choice.scale;
  group.each([&](float x, float, std::size_t r, std::size_t c) {
    const float value = choice.first ? Code::first_value(a.plain, x, choice.scale) : Code::value(x, inverse);
    codes_of_row<Code>(a, r)[c] = Code::code(a.plain, x, value, choice.scale);
  });
  Code::store(a.plain, choice.scale, a.scales + group.begin / a.group * Code::scale_bytes(a.plain));
}

// Of NaNs too, whose bits are larger than infinity's.
float largest(const Group& group) {
  std::uint32_t top = 0;
  group.each([&](float x, float, std::size_t, std::size_t) {
    top = std::max(top, std::bit_cast<std::uint32_t>(x) & 0x7fffffffu);
  });
  return std::bit_cast<float>(top);
}

// Groups that float32 cannot sum the squares of, zeros and what is no number.
template <class Code>
void encode_odd_group(const EncodeArgs& a, std::size_t begin, float top) {
  const Group group{a, begin};
  EncodeSums& sums = a.sums[begin / a.group];
  if (!(top < infinity)) {
    const float scale = Code::first_scale(a.plain, 0);
    group.each([&](float, float, std::size_t r, std::size_t c) {
      codes_of_row<Code>(a, r)[c] = Code::code(a.plain, 0, 0, scale);
    });
    Code::store(a.plain, scale, a.scales + begin / a.group * Code::scale_bytes(a.plain));
    sums = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
    return;
  }
  const Choice choice{Code::first_scale(a.plain, top), 0, true};
  write<Code>(group, choice);
  sums = {};
  group.each([&](float x, float weight, std::size_t, std::size_t) {
    const double stored = static_cast<double>(Code::first_value(a.plain, x, choice.scale)) * choice.scale;
    sums.error += weight * (stored - x) * (stored - x);
    sums.norm += weight * static_cast<double>(x) * x;
  });
}

template <class Code>
void encode_group(const EncodeArgs& a, std::size_t begin) {
  const Group group{a, begin};
  const float top = largest(group);
  if (!(top >= encode_least && top <= encode_most)) return encode_odd_group<Code>(a, begin, top);
  const float scale = Code::first_scale(a.plain, top);
  Choice best{scale, sum_of_squares(group, [&](float x) {
                return std::fma(-Code::first_value(a.plain, x, scale), scale, x);
              })};
  if (a.search) search<Code>(group, top, best);
  write<Code>(group, best);
  a.sums[begin / a.group] = {best.error, sum_of_squares(group, [](float x) { return x; })};
}

// Pairs of codes in bytes, the first low; the rest of the row is 0.
void pack_nibbles(const EncodeArgs& a) {
  for (std::size_t i = 0; i < a.value_stride; ++i) {
    const unsigned low = 2 * i < a.cols ? a.scratch[2 * i] : 0u;
    const unsigned high = 2 * i + 1 < a.cols ? a.scratch[2 * i + 1] : 0u;
    a.values[i] = static_cast<std::byte>(low | high << 4);
  }
}

template <class Code>
void encode(const EncodeArgs& a) {
  for (std::size_t c = 0; c < a.cols; c += a.group) encode_group<Code>(a, c);
  if constexpr (std::is_same_v<Code, Integer<4>> || std::is_same_v<Code, Mxfp4>) pack_nibbles(a);
  if constexpr (std::is_same_v<Code, Integer<8>>) {
    std::fill(a.values + a.cols, a.values + a.value_stride, std::byte{0});
  }
}

}  // namespace

const Encoders scalar_encoders = {
    .int4 = encode<Integer<4>>, .int8 = encode<Integer<8>>, .fp8 = encode<Fp8>, .mxfp4 = encode<Mxfp4>};

}  // namespace baleen::kernels
