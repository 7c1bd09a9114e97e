// Storage formats: every code of the small ones against its definition, and every instruction set's widened
// rows against the scalar's, which must agree to the bit because a weight is rounded once.
#include "kernels/support.h"

namespace baleen::kernels {
namespace {

std::vector<float> widen(const Kernels& kernels, const Matrix& m, std::size_t row) {
  std::vector<float> out(m.cols);
  kernels.widen_row[index_of(m.format)](m, row, out.data());
  return out;
}

// One row whose values are all codes of a format with 8 or 16 bits, ascending.
struct AllCodes {
  explicit AllCodes(Format format)
      : bytes((std::size_t{1} << bits_per_value(format)) * bits_per_value(format) / 8) {
    const std::size_t size = bits_per_value(format) / 8;
    for (std::size_t i = 0; i * size < bytes.size(); ++i) std::memcpy(bytes.data() + i * size, &i, size);
    view = {.format = format,
            .rows = 1,
            .cols = bytes.size() / size,
            .row_bytes = bytes.size(),
            .values = bytes.data()};
  }
  OddBytes bytes;
  Matrix view;
};

template <class Expected>
void check_codes(Format format, const Expected& expected) {
  const AllCodes codes(format);
  const auto check = [&](const Kernels& kernels) {
    const auto values = widen(kernels, codes.view, 0);
    std::size_t wrong = 0;
    for (std::size_t code = 0; code < values.size(); ++code) wrong += !same(values[code], expected(code));
    CHECK(wrong == 0);
  };
  check(scalar());
  for_each_vector_isa(check);
}

TEST_CASE("all 256 fp8 e4m3 codes") {
  check_codes(Format::fp8_e4m3, [](std::size_t code) {
    const int exponent = static_cast<int>(code >> 3 & 15);
    const float fraction = static_cast<float>(code & 7) / 8;
    float value = exponent ? std::ldexp(1 + fraction, exponent - 7) : std::ldexp(fraction, -6);
    if ((code & 0x7f) == 0x7f) value = nan;
    return code & 0x80 ? -value : value;
  });
}

TEST_CASE("all 65536 f16 codes") {
  check_codes(Format::f16, [](std::size_t code) {
    const int exponent = static_cast<int>(code >> 10 & 31);
    const float fraction = static_cast<float>(code & 1023) / 1024;
    float value = exponent ? std::ldexp(1 + fraction, exponent - 15) : std::ldexp(fraction, -14);
    if (exponent == 31) value = fraction == 0 ? infinity : nan;
    return code & 0x8000 ? -value : value;
  });
}

TEST_CASE("all 65536 bf16 codes") {
  check_codes(Format::bf16, [](std::size_t code) {
    const auto bits = static_cast<std::uint32_t>(code << 16);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  });
}

TEST_CASE("all 256 int8 codes are the code less 128") {
  check_codes(Format::int8, [](std::size_t code) { return static_cast<float>(code) - 128; });
}

TEST_CASE("int4 codes: lowest bits first, less 8") {
  const std::uint32_t words[] = {0x76543210, 0xfedcba98, 0x00000008};
  Matrix m{.format = Format::int4, .rows = 1, .cols = 17, .row_bytes = sizeof words};
  m.values = reinterpret_cast<const std::byte*>(words);
  const auto check = [&](const Kernels& kernels) {
    const auto values = widen(kernels, m, 0);
    for (int c = 0; c < 16; ++c) CHECK(values[c] == static_cast<float>(c - 8));
    CHECK(values[16] == 0);
  };
  check(scalar());
  for_each_vector_isa(check);
}

TEST_CASE("mxfp4 codes: a sign and eight magnitudes, the even column's in the low bits") {
  const float magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  const std::uint8_t bytes[] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0xa7};
  Matrix m{.format = Format::mxfp4, .rows = 1, .cols = 17, .row_bytes = sizeof bytes};
  m.values = reinterpret_cast<const std::byte*>(bytes);
  const auto check = [&](const Kernels& kernels) {
    const auto values = widen(kernels, m, 0);
    for (std::size_t c = 0; c < 16; ++c) CHECK(same(values[c], c < 8 ? magnitudes[c] : -magnitudes[c - 8]));
    CHECK(values[16] == 6);
  };
  check(scalar());
  for_each_vector_isa(check);
}

// One row of 256 groups, each with its own scale; every code in each.
TEST_CASE("all 256 e8m0 scales: powers of two from 2^-127, the last one NaN") {
  constexpr std::size_t groups = 256;
  constexpr std::size_t group = 32;
  OddBytes values(groups * group / 2);
  OddBytes scales(groups);
  for (std::size_t i = 0; i < values.size(); ++i) values.data()[i] = static_cast<std::byte>(i % 16 * 0x11);
  for (std::size_t g = 0; g < groups; ++g) scales.data()[g] = static_cast<std::byte>(g);
  Matrix m{.format = Format::mxfp4, .scale_format = Format::e8m0, .rows = 1, .cols = groups * group};
  m.row_bytes = values.size();
  m.values = values.data();
  m.scales = scales.data();
  m.scale_cols = groups;
  m.block_cols = group;
  Matrix bare = m;
  bare.scales = nullptr;
  const auto codes = widen(scalar(), bare, 0);
  const auto check = [&](const Kernels& kernels) {
    const auto row = widen(kernels, m, 0);
    std::size_t wrong = 0;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const auto g = static_cast<int>(c / group);
      wrong += !same(row[c], g == 255 ? nan : std::ldexp(codes[c], g - 127));
    }
    CHECK(wrong == 0);
  };
  check(scalar());
  for_each_vector_isa(check);
}

// The layout of compressed-tensors' asymmetric checkpoints: zero points packed along rows.
TEST_CASE("zero points of int4 and int8 are packed along rows") {
  const auto check_format = [](Format format, std::size_t bits) {
    const std::size_t rows = 11;
    const std::size_t groups = 2;
    const std::size_t per_word = 32 / bits;
    std::vector<std::uint32_t> values(rows * groups, 0x55555555);
    std::vector<std::uint32_t> zeros((rows + per_word - 1) / per_word * groups);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t g = 0; g < groups; ++g) {
        const auto zero = static_cast<std::uint32_t>((r + g) % 16);
        zeros[r / per_word * groups + g] |= zero << (bits * (r % per_word));
      }
    }
    const std::vector<float> scale(rows * groups, 0.5f);
    Matrix m{.format = format, .rows = rows, .cols = 2 * per_word, .row_bytes = 8};
    m.values = reinterpret_cast<const std::byte*>(values.data());
    m.zeros = reinterpret_cast<const std::byte*>(zeros.data());
    m.scales = reinterpret_cast<const std::byte*>(scale.data());
    m.scale_cols = groups;
    m.block_cols = per_word;
    const auto check = [&](const Kernels& kernels) {
      for (std::size_t r = 0; r < rows; ++r) {
        const auto row = widen(kernels, m, r);
        for (std::size_t c = 0; c < m.cols; ++c) {
          const float value = format == Format::int4 ? 5 : 0x55;
          CHECK(row[c] == (value - static_cast<float>((r + c / per_word) % 16)) * 0.5f);
        }
      }
    };
    check(scalar());
    for_each_vector_isa(check);
  };
  check_format(Format::int4, 4);
  check_format(Format::int8, 8);
}

TEST_CASE("fp8 blocks: the scale of row / block_rows and col / block_cols, partial blocks at the edges") {
  const std::size_t rows = 5;
  const std::size_t cols = 7;
  const std::vector<std::byte> ones(rows * cols, std::byte{0x38});
  const float scales[3][3] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  Matrix m{.format = Format::fp8_e4m3, .rows = rows, .cols = cols, .row_bytes = cols, .values = ones.data()};
  m.scales = reinterpret_cast<const std::byte*>(scales);
  m.scale_cols = 3;
  m.block_rows = 2;
  m.block_cols = 3;
  const auto check = [&](const Kernels& kernels) {
    for (std::size_t r = 0; r < rows; ++r) {
      const auto row = widen(kernels, m, r);
      for (std::size_t c = 0; c < cols; ++c) CHECK(row[c] == scales[r / 2][c / 3]);
    }
  };
  check(scalar());
  for_each_vector_isa(check);
}

TEST_CASE("widened rows are the scalar's, bit for bit, however they are stored") {
  std::vector<std::size_t> widths;
  for (std::size_t n = 1; n <= 70; ++n) widths.push_back(n);
  for (const std::size_t n : {127, 128, 129, 130, 131, 255, 256, 257, 511, 512, 513}) widths.push_back(n);
  for (const std::size_t cols : widths) {
    for (const Shape& shape : all_shapes(9, cols)) {
      const StoredMatrix m(shape, static_cast<unsigned>(cols));
      std::vector<std::vector<float>> expected;
      for (std::size_t r = 0; r < shape.rows; ++r) expected.push_back(widen(scalar(), m.view, r));
      const auto widen_row = [&](const Kernels& kernels) {
        return kernels.widen_row[index_of(shape.format)];
      };
      for_each_kernel(widen_row, [&](const Kernels& kernels) {
        for (std::size_t r = 0; r < shape.rows; ++r) {
          const auto values = widen(kernels, m.view, r);
          std::size_t wrong = 0;
          for (std::size_t c = 0; c < cols; ++c) wrong += !same(values[c], expected[r][c]);
          if (wrong) FAIL_CHECK(describe(shape) << " row " << r << ": " << wrong << " differ");
        }
      });
    }
  }
}

TEST_CASE("extreme scales are applied to the exact value, rounding once") {
  for (const float scale : {0.0f, -0.0f, 1e-45f, 1e-38f, 1e30f, 3e38f, infinity, nan, -0.3f}) {
    for (const Format format : {Format::fp8_e4m3, Format::int8}) {
      if (format == Format::fp8_e4m3 && std::isfinite(scale) && scale >= 0x1p120f) continue;  // may overflow
      AllCodes codes(format);
      codes.view.scales = reinterpret_cast<const std::byte*>(&scale);
      codes.view.scale_cols = 1;
      codes.view.block_cols = 256;
      const auto expected = widen(scalar(), codes.view, 0);
      for_each_vector_isa([&](const Kernels& kernels) {
        INFO("scale " << scale);
        const auto values = widen(kernels, codes.view, 0);
        std::size_t wrong = 0;
        for (std::size_t c = 0; c < 256; ++c) wrong += !same(values[c], expected[c]);
        CHECK(wrong == 0);
      });
    }
  }
}

}  // namespace
}  // namespace baleen::kernels
