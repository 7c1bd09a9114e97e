// The emulated tile product against plain arithmetic.
#include <bit>

#include "kernels/emulated_tiles/tile_product.h"
#include "kernels/support.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t side = 16;
constexpr std::size_t pairs = 16;

float flushed(float x) {
  return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x;
}

float widened(std::uint16_t bf16) {
  return flushed(std::bit_cast<float>(std::uint32_t{bf16} << 16));
}

// As the Intel 64 SDM has it, volume 2, TDPBF16PS: even and odd columns are summed apart.
float expected(float c, const std::uint16_t* a_row, const std::uint16_t* b_column) {
  float sums[2] = {};
  for (std::size_t p = 0; p < pairs; ++p) {
    for (const std::size_t i : {0, 1}) {
      const float weight = widened(b_column[p * 2 * side + i]);
      sums[i] = flushed(std::fma(widened(a_row[2 * p + i]), weight, sums[i]));
    }
  }
  return flushed(flushed(c) + flushed(sums[0] + sums[1]));
}

// Biased exponents, both ends included: 0 are denormals, 255 infinity and NaN.
struct Exponents {
  unsigned least;
  unsigned most;
};

// A bf16 of any sign and mantissa.
std::uint16_t random_bf16(Exponents exponents, std::mt19937& random) {
  const unsigned exponent = exponents.least + random() % (exponents.most - exponents.least + 1);
  return static_cast<std::uint16_t>((random() & 0x807f) | exponent << 7);
}

TEST_CASE("tiles: the order of a product's sums, rounding and denormals") {
  struct Numbers {
    Exponents a, b, c;
  };
  constexpr Numbers all_numbers[] = {
      {{115, 135}, {115, 135}, {115, 135}},
      {{59, 65}, {59, 65}, {0, 1}},   // products and sums around the smallest normal number
      {{0, 2}, {120, 140}, {0, 12}},  // denormal operands whose products would not be denormal
      {{120, 140}, {0, 2}, {0, 12}},
      {{0, 255}, {0, 255}, {0, 255}},
  };
  std::mt19937 random(1);
  for (const Numbers& numbers : all_numbers) {
    INFO("exponents of a from " << numbers.a.least << " to " << numbers.a.most);
    for (int round = 0; round < 20; ++round) {
      std::vector<std::uint16_t> a(side * 2 * pairs), b(pairs * 2 * side);
      std::vector<float> c(side * side);
      for (std::uint16_t& value : a) value = random_bf16(numbers.a, random);
      for (std::uint16_t& value : b) value = random_bf16(numbers.b, random);
      for (float& value : c) {
        const std::uint32_t bits = std::uint32_t{random_bf16(numbers.c, random)} << 16 | random() % 0x10000;
        value = std::bit_cast<float>(bits);
      }
      std::vector<float> result = c;
      tile_product(result.data(), a.data(), b.data());
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < side; ++i) {
        for (std::size_t j = 0; j < side; ++j) {
          const std::size_t at = i * side + j;
          wrong += !same(result[at], expected(c[at], &a[i * 2 * pairs], &b[2 * j]));
        }
      }
      CHECK(wrong == 0);
    }
  }
}

}  // namespace
}  // namespace baleen::kernels
