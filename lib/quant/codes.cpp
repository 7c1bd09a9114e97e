#include "quant/codes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace baleen {
namespace {

// A small float: `mantissa` bits, normal exponents from `least` on, no number above `most`.
struct Minifloat {
  int mantissa;
  int least;
  float most;
  int sign;
};
constexpr Minifloat e4m3{3, -6, 448, 0x80};
constexpr Minifloat e2m1{1, 0, 6, 0x8};

// Codes of positive numbers ascend with them, and a number rounded up to the next exponent gets there by
// itself.
std::uint8_t code_of(const Minifloat& format, float x) {
  const float magnitude = std::min(std::fabs(x), format.most);
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  exponent = magnitude > 0 ? std::max(exponent - 1, format.least) : format.least;
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, format.mantissa - exponent)));
  const int code = ((exponent - format.least) << format.mantissa) + steps;
  return static_cast<std::uint8_t>(code + (std::signbit(x) ? format.sign : 0));
}

float code_value(const Minifloat& format, int code) {
  const int magnitude = code & (format.sign - 1);
  const int exponent = magnitude >> format.mantissa;  // 0: subnormal
  const int hidden = exponent > 0 ? 1 << format.mantissa : 0;
  const int steps = (magnitude & ((1 << format.mantissa) - 1)) + hidden;
  const int power = format.least + std::max(exponent - 1, 0) - format.mantissa;
  const float value = std::ldexp(static_cast<float>(steps), power);
  return code & format.sign ? -value : value;
}

// What is added to a signed integer for its code.
int offset(Encoding encoding) {
  return encoding == Encoding::int4 ? 8 : 128;
}

float f16_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f;
  const int steps = (bits & 0x3ff) + (exponent > 0 ? 0x400 : 0);
  const float value = std::ldexp(static_cast<float>(steps), std::max(exponent, 1) - 25);
  return bits & 0x8000 ? -value : value;
}

template <typename T>
T load(const std::byte* from, std::size_t index) {
  T value;
  std::memcpy(&value, from + index * sizeof value, sizeof value);
  return value;
}

}  // namespace

std::uint8_t code_of(Encoding encoding, float x) {
  if (std::isnan(x)) x = 0;
  if (encoding == Encoding::fp8) return code_of(e4m3, x);
  if (encoding == Encoding::mxfp4) return code_of(e2m1, x);
  const auto most = static_cast<float>(offset(encoding));
  return static_cast<std::uint8_t>(static_cast<int>(std::clamp(std::nearbyint(x), -most, most - 1) + most));
}

float code_value(Encoding encoding, std::uint8_t code) {
  if (encoding == Encoding::fp8) return code_value(e4m3, code);
  if (encoding == Encoding::mxfp4) return code_value(e2m1, code);
  return static_cast<float>(code - offset(encoding));
}

void pack_codes(Encoding encoding, const std::uint8_t* codes, std::size_t cols, std::byte* row) {
  if (encoding == Encoding::fp8 || encoding == Encoding::int8) {
    std::memcpy(row, codes, cols);
    if (encoding == Encoding::int8) std::memset(row + cols, 0, (4 - cols % 4) % 4);
    return;
  }
  const std::size_t bytes = encoding == Encoding::int4 ? (cols + 7) / 8 * 4 : cols / 2;
  for (std::size_t i = 0; i < bytes; ++i) {
    const unsigned low = 2 * i < cols ? codes[2 * i] : 0;
    const unsigned high = 2 * i + 1 < cols ? codes[2 * i + 1] : 0;
    row[i] = static_cast<std::byte>(low | high << 4);
  }
}

float stored_scale(const Target& target, DType plain, const std::byte* scales, std::size_t index) {
  if (target.encoding == Encoding::mxfp4) return std::ldexp(1.0f, std::to_integer<int>(scales[index]) - 127);
  if (target.encoding == Encoding::fp8 || plain == DType::f32) return load<float>(scales, index);
  const auto bits = load<std::uint16_t>(scales, index);
  return plain == DType::f16 ? f16_value(bits) : std::bit_cast<float>(std::uint32_t{bits} << 16);
}

}  // namespace baleen
