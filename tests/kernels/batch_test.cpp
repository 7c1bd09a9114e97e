// Path::batch of every instruction set, which may round activations and weights to bf16: close to scalar, and
// an output the same to the bit whichever rows and tokens are asked for with it.
#include <array>
#include <numeric>

#include "kernels/support.h"

namespace baleen::kernels {
namespace {

constexpr float untouched = -12345.0f;

// A product of the batch path. Activations are packed in ranges of columns, over memory full of NaN.
struct BatchProduct {
  const Matrix& m;
  const std::vector<float>& x;
  std::size_t stride;
  std::vector<std::uint32_t> rows_of_x;  // one for each token
  std::size_t row_begin = 0;
  std::size_t row_end = m.rows;
  std::size_t range = SIZE_MAX;  // columns packed at a time

  // [tokens, row_end - row_begin]; nothing else is written
  std::vector<float> run(const Kernels& kernels) const {
    const Matmul& matmul = kernels.matmul(Path::batch, m);
    const Packing& packing = *matmul.packing;
    const std::size_t tokens = rows_of_x.size();
    PackArgs pack{.x = x.data(),
                  .x_stride = stride,
                  .x_rows = rows_of_x.data(),
                  .tokens = tokens,
                  .cols = m.cols,
                  .col_end = m.cols};
    const PackedRows packed(packing, pack);
    const std::size_t slots = (tokens + packing.slot_tokens - 1) / packing.slot_tokens;
    std::memset(packed.data(), 0xff, slots * packing.slot_bytes(m.cols));
    pack.packed = packed.data();
    for (std::size_t c = 0; c < m.cols; c = pack.col_end) {
      pack.col_begin = c;
      pack.col_end = m.cols - c > range ? c + range : m.cols;
      pack.x = x.data() + c;
      packing.pack(pack);
    }
    const std::size_t width = row_end - row_begin;
    const std::size_t out_stride = width + 3;
    std::vector<float> wide(tokens * out_stride + 1, untouched);
    std::vector<float> scratch(matmul_scratch(m.cols), nan);
    matmul.multiply({.matrix = &m,
                     .row_begin = row_begin,
                     .row_end = row_end,
                     .packed = packed.data(),
                     .tokens = tokens,
                     .out = wide.data() + 1,
                     .out_stride = out_stride,
                     .scratch = scratch.data()});
    std::vector<float> out;
    std::size_t written_elsewhere = wide[0] != untouched;
    for (std::size_t i = 0; i < tokens * out_stride; ++i) {
      if (i % out_stride < width) {
        out.push_back(wide[i + 1]);
      } else {
        written_elsewhere += wide[i + 1] != untouched;
      }
    }
    CHECK(written_elsewhere == 0);
    return out;
  }
};

std::vector<std::uint32_t> first_tokens(std::size_t count) {
  std::vector<std::uint32_t> list(count);
  std::iota(list.begin(), list.end(), 0u);
  return list;
}

std::vector<float> scalar_row(const Matrix& m, std::size_t row) {
  std::vector<float> w(m.cols);
  scalar().widen_row[index_of(m.format)](m, row, w.data());
  return w;
}

// Whether a table rounds activations for this matrix to int8, or finer, by groups of 32.
bool rounds_to_groups(const UsableTable& table, const Matrix& m) {
  if (m.format != Format::int8 && m.format != Format::int4 && m.format != Format::mxfp4) return false;
  return table.isa == "avx2" || table.isa == "avx512" || table.features.find("i8mm") != std::string::npos;
}

bool rounds_to_groups(const Kernels& kernels, const Matrix& m) {
  return std::ranges::any_of(usable_tables(), [&](const UsableTable& table) {
    return table.kernels == &kernels && rounds_to_groups(table, m);
  });
}

// Half a step of each activation's group: maximum / 127 / 2.
std::vector<double> half_steps(const float* x, std::size_t cols) {
  std::vector<double> steps(cols);
  for (std::size_t begin = 0; begin < cols; begin += 32) {
    const std::size_t end = std::min(cols, begin + 32);
    double maximum = 0;
    for (std::size_t c = begin; c < end; ++c) maximum = std::max(maximum, std::fabs(double{x[c]}));
    for (std::size_t c = begin; c < end; ++c) steps[c] = maximum / 254;
  }
  return steps;
}

// The exact sums of a product, [tokens, rows], and what rounding makes of them at most.
struct Reference {
  std::vector<double> exact;
  std::vector<double> bound;   // see below
  std::vector<double> groups;  // more for kernels that round to groups; empty if there are none
};

// Rounding explains: weight and activation to bf16, 2^-8 each, or the activation by half a step; float32 sums
// of n products, n * 2^-24; a tile takes numbers, products and sums below 2^-126 for zeros.
Reference reference(const BatchProduct& p) {
  const auto tables = usable_tables();
  const bool groups =
      std::ranges::any_of(tables, [&](const auto& table) { return rounds_to_groups(table, p.m); });
  const std::size_t tokens = p.rows_of_x.size();
  const std::size_t rows = p.m.rows;
  const auto n = static_cast<double>(p.m.cols);
  Reference result;
  result.exact.resize(tokens * rows);
  result.bound.resize(tokens * rows);
  if (groups) result.groups.resize(tokens * rows);
  std::vector<std::vector<double>> steps(tokens);
  for (std::size_t t = 0; groups && t < tokens; ++t) {
    steps[t] = half_steps(p.x.data() + p.rows_of_x[t] * p.stride, p.m.cols);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    const auto w = scalar_row(p.m, r);
    for (std::size_t t = 0; t < tokens; ++t) {
      const float* x = p.x.data() + p.rows_of_x[t] * p.stride;
      double sum = 0, absolute = 0, flushed = 2 * n, stepped = 0;
      for (std::size_t c = 0; c < w.size(); ++c) {
        const double product = static_cast<double>(w[c]) * x[c];
        sum += product;
        absolute += std::fabs(product);
        flushed += std::fabs(w[c]) + std::fabs(x[c]);
        if (groups) stepped += std::fabs(w[c]) * steps[t][c];
      }
      result.exact[t * rows + r] = sum;
      result.bound[t * rows + r] = absolute * (0x1p-7 + 0x1p-16 + 2 * n * 0x1p-24) + 0x1p-126 * flushed;
      if (groups) result.groups[t * rows + r] = stepped;
    }
  }
  return result;
}

// Outputs that are farther from the exact sum than rounding explains. `out` may have fewer tokens. A sum that
// is not finite has no error: it must be the same, or not finite either.
std::size_t count_wrong(const Kernels& kernels, const Matrix& m, const Reference& reference,
                        const std::vector<float>& out) {
  const bool groups = rounds_to_groups(kernels, m);
  REQUIRE(out.size() <= reference.exact.size());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double sum = reference.exact[i];
    const bool close = std::fabs(out[i] - sum) <= reference.bound[i] + (groups ? reference.groups[i] : 0);
    // An integer sum meets an infinite scale as a whole: it has one sign, where products cancel to NaN.
    const bool as_bad = groups ? !std::isfinite(out[i]) : same(out[i], static_cast<float>(sum));
    wrong += std::isfinite(sum) ? !close : !as_bad;
  }
  return wrong;
}

// With every kernel of the batch path.
void check_product(const BatchProduct& product, const std::string& description) {
  const Reference expected = reference(product);
  for_each_matmul(Path::batch, product.m, [&](const Kernels& kernels) {
    INFO(description);
    const auto out = product.run(kernels);
    CHECK(out.size() == expected.exact.size());
    CHECK(count_wrong(kernels, product.m, expected, out) == 0);
  });
}

TEST_CASE("batch: close to scalar, every way of storing a matrix") {
  constexpr std::size_t rows = 37;
  for (const std::size_t cols : {5, 64, 77, 288, 320}) {
    const auto x = random_floats(19 * (cols + 3), 1);
    for (const Shape& shape : all_shapes(rows, cols)) {
      const StoredMatrix m(shape, static_cast<unsigned>(cols));
      const BatchProduct product{m.view, x, cols + 3, first_tokens(19)};
      check_product(product, describe(shape));
    }
  }
}

// One way for each kernel that there may be.
std::vector<Shape> some_shapes(std::size_t rows, std::size_t cols) {
  std::vector<Shape> shapes;
  for (const Format format : all_formats) shapes.push_back({.format = format, .rows = rows, .cols = cols});
  shapes.push_back({Format::fp8_e4m3, rows, cols, Format::f32, 128, 128});
  shapes.push_back({Format::fp8_e4m3, rows, cols, Format::bf16, 24, 64});
  for (const Format format : {Format::int8, Format::int4}) {
    shapes.push_back({format, rows, cols, Format::bf16, 1, 32});
    shapes.push_back({format, rows, cols, Format::f16, 1, 96});
    shapes.push_back({format, rows, cols, Format::f32, 1, cols});
    shapes.push_back({format, rows, cols, Format::f32, 1, 128, true});
    shapes.push_back({format, rows, cols, Format::bf16, 1, 32, true, true});
  }
  shapes.push_back({Format::mxfp4, rows, cols, Format::e8m0, 1, 32});
  return shapes;
}

TEST_CASE("batch: widths around tiles and blocks of columns") {
  for (const std::size_t cols :
       {1, 31, 32, 33, 63, 96, 192, 255, 256, 257, 416, 512, 544, 576, 832, 1056, 2048, 2080, 2144}) {
    const auto x = random_floats(35 * cols, static_cast<unsigned>(cols));
    for (const Shape& shape : thinned_shapes(some_shapes(33, cols), cols)) {
      const StoredMatrix m(shape, static_cast<unsigned>(cols));
      const BatchProduct product{m.view, x, cols, first_tokens(35)};
      check_product(product, describe(shape));
    }
  }
}

TEST_CASE("batch: an output does not depend on the rows, tokens and ranges of columns that come together") {
  constexpr std::size_t rows = 147;
  constexpr std::size_t cols = 352;
  constexpr std::size_t tokens = 300;
  const auto x = random_floats(tokens * cols, 1);
  for (const Shape& shape : thinned_shapes(some_shapes(rows, cols), 2)) {
    const StoredMatrix m(shape, 2);
    const BatchProduct everything{m.view, x, cols, first_tokens(tokens)};
    for_each_matmul(Path::batch, m.view, [&](const Kernels& kernels) {
      INFO(describe(shape));
      const auto all = everything.run(kernels);
      const auto count_different = [&](const BatchProduct& part) {
        const auto out = part.run(kernels);
        const std::size_t width = part.row_end - part.row_begin;
        std::size_t different = out.size() != width * part.rows_of_x.size();
        for (std::size_t i = 0; i < out.size(); ++i) {
          const std::size_t row = part.row_begin + i % width;
          different += !same(out[i], all[part.rows_of_x[i / width] * rows + row]);
        }
        return different;
      };
      std::size_t different = 0;
      for (std::size_t n = 1; n <= 40; ++n) {
        different += count_different({m.view, x, cols, first_tokens(n), n % 7 * 16, n % 7 * 16 + 9});
      }
      const std::vector<std::uint32_t> gathered = {299, 0, 7,   7,   3, 256, 255, 31,  16,  15,
                                                   1,   2, 130, 131, 4, 5,   6,   200, 201, 17};
      for (const auto& [begin, end] :
           {std::pair{0, 147}, {0, 1}, {3, 40}, {64, 128}, {63, 65}, {100, 147}, {146, 147}}) {
        different += count_different(
            {m.view, x, cols, gathered, static_cast<std::size_t>(begin), static_cast<std::size_t>(end)});
      }
      for (const std::size_t range : {32, 96, 320}) {
        different += count_different({m.view, x, cols, gathered, 0, 20, range});
      }
      CHECK(different == 0);
    });
  }
}

TEST_CASE("batch: wide rows give the same to few tokens and to many") {
  constexpr std::size_t rows = 70;
  for (const std::size_t cols : {1024, 1312, 2112}) {
    constexpr std::size_t tokens = 67;
    const auto x = random_floats(tokens * cols, 3);
    for (const Shape& shape : thinned_shapes(some_shapes(rows, cols), cols)) {
      const StoredMatrix m(shape, 3);
      const BatchProduct everything{m.view, x, cols, first_tokens(tokens)};
      for_each_matmul(Path::batch, m.view, [&](const Kernels& kernels) {
        INFO(describe(shape));
        const auto all = everything.run(kernels);
        std::size_t different = 0;
        for (const std::size_t n : {1, 4, 8, 12, 13, 19, 64, 65}) {
          const auto out = BatchProduct{m.view, x, cols, first_tokens(n)}.run(kernels);
          for (std::size_t i = 0; i < n * rows; ++i) different += !same(out[i], all[i]);
        }
        CHECK(different == 0);
      });
    }
  }
}

// silu(gate x) * (up x), packed as for a product whose columns are these rows; [range] rows at a time.
std::vector<std::byte> run_gated(const Matmul& matmul, const BatchProduct& gate, const Matrix& up,
                                 std::size_t range) {
  const Packing& packing = *matmul.packing;
  const std::size_t tokens = gate.rows_of_x.size();
  const std::size_t rows = gate.m.rows;
  const PackedRows x(packing, {.x = gate.x.data(),
                               .x_stride = gate.stride,
                               .x_rows = gate.rows_of_x.data(),
                               .tokens = tokens,
                               .cols = gate.m.cols,
                               .col_end = gate.m.cols});
  const std::size_t slots = (tokens + packing.slot_tokens - 1) / packing.slot_tokens;
  const std::vector<float> nothing(tokens * rows);
  const PackedRows inner(
      packing, {.x = nothing.data(), .x_stride = rows, .tokens = tokens, .cols = rows, .col_end = rows});
  const std::size_t bytes = slots * packing.slot_bytes(rows);
  std::memset(inner.data(), 0xff, bytes);
  std::vector<float> scratch(matmul_scratch(gate.m.cols), nan);
  for (std::size_t row = 0; row < rows; row += range) {
    matmul.multiply_gated({.gate = &gate.m,
                           .up = &up,
                           .row_begin = row,
                           .row_end = std::min(rows, row + range),
                           .packed = x.data(),
                           .tokens = tokens,
                           .inner = inner.data(),
                           .scratch = scratch.data()});
  }
  return {inner.data(), inner.data() + bytes};
}

TEST_CASE("batch: gated products have the bits of two products, silu_mul and pack") {
  for (const auto& [rows, cols, tokens] :
       {std::array<std::size_t, 3>{147, 352, 300}, {64, 2112, 48}, {96, 128, 5}}) {
    const auto x = random_floats(tokens * cols, 3);
    for (const Shape& shape : thinned_shapes(some_shapes(rows, cols), rows)) {
      const StoredMatrix gate(shape, 4);
      const StoredMatrix up(shape, 5);
      const BatchProduct product{gate.view, x, cols, first_tokens(tokens)};
      for_each_matmul(Path::batch, gate.view, [&](const Kernels& kernels) {
        INFO(describe(shape));
        const Matmul& matmul = kernels.matmul(Path::batch, gate.view);
        if (!matmul.multiply_gated) return;
        auto inner = product.run(kernels);
        const auto other = BatchProduct{up.view, x, cols, first_tokens(tokens)}.run(kernels);
        kernels.silu_mul(inner.data(), other.data(), inner.size());
        const Packing& packing = *matmul.packing;
        const PackedRows expected(
            packing, {.x = inner.data(), .x_stride = rows, .tokens = tokens, .cols = rows, .col_end = rows});
        for (const std::size_t range : {rows, std::size_t{32}, std::size_t{96}}) {
          const auto packed = run_gated(matmul, product, up.view, range);
          CHECK(std::memcmp(packed.data(), expected.data(), packed.size()) == 0);
        }
      });
    }
  }
}

// Token c is the unit vector of column c: out is the weights themselves, each rounded once.
TEST_CASE("batch: every fp8, integer and mxfp4 code") {
  constexpr std::size_t cols = 256;
  std::vector<float> x(cols * cols);
  for (std::size_t c = 0; c < cols; ++c) x[c * cols + c] = 1;
  const Shape shapes[] = {{Format::fp8_e4m3, 16, cols, Format::f32, 128, 128},
                          {Format::fp8_e4m3, 16, cols},
                          {Format::int8, 16, cols, Format::bf16, 1, 32},
                          {Format::int8, 16, cols, Format::f16, 1, 128, true},
                          {Format::int4, 16, cols, Format::f32, 1, 64},
                          {Format::int4, 16, cols, Format::bf16, 1, 32, true},
                          {Format::mxfp4, 16, cols, Format::e8m0, 1, 32}};
  for (const Shape& shape : shapes) {
    StoredMatrix m(shape, 1);
    for (std::size_t i = 0; i < m.values.size(); ++i) m.values.data()[i] = static_cast<std::byte>(i);
    if (shape.format == Format::fp8_e4m3) {
      for (std::size_t i = 0; i < m.values.size(); ++i) {
        // NaN times a zero would reach every token.
        if ((m.values.data()[i] & std::byte{0x7f}) == std::byte{0x7f}) m.values.data()[i] = std::byte{0x80};
      }
      if (shape.block_cols) put_number(Format::f32, -0.3f, m.scales.data() + 4);
    }
    for_each_matmul(Path::batch, m.view, [&](const Kernels& kernels) {
      INFO(describe(shape));
      const auto out = BatchProduct{m.view, x, cols, first_tokens(cols)}.run(kernels);
      std::size_t wrong = 0;
      for (std::size_t r = 0; r < 16; ++r) {
        const auto w = scalar_row(m.view, r);
        for (std::size_t c = 0; c < cols; ++c) {
          const float rounding = shape.format == Format::mxfp4 ? 0 : 0x1p-8f + 0x1p-23f;
          wrong += std::fabs(out[c * 16 + r] - w[c]) > std::fabs(w[c]) * rounding;
        }
      }
      CHECK(wrong == 0);
    });
  }
}

// NaN and infinity reach the outputs they belong to and no others, wherever in the row they stand.
TEST_CASE("batch: NaN, infinity, denormals and zeros in weights and activations") {
  for (const Format format : {Format::f32, Format::f16, Format::bf16}) {
    for (const std::size_t cols : {1, 15, 33, 64, 70, 260}) {
      for (const float special : {nan, infinity, -infinity, 0.0f, -0.0f, 1e-45f, -1e-39f}) {
        std::vector<std::size_t> places;
        for (std::size_t at = 0; at < cols; at += 7) places.push_back(at);
        for (const std::size_t at : thinned(places, cols + bits_of(special))) {
          const bool half = format == Format::f16;
          if (half && special != 0.0f) continue;  // put_number makes numbers
          StoredMatrix m({.format = format, .rows = 19, .cols = cols}, 3);
          auto x = random_floats(20 * cols, 4);
          put_number(format, half ? 0x1p-14f : special,
                     m.values.data() + (2 * cols + at) * bits_per_value(format) / 8);
          x[6 * cols + at] = special;
          const Reference expected = reference({m.view, x, cols, first_tokens(20)});
          for_each_matmul(Path::batch, m.view, [&](const Kernels& kernels) {
            INFO(special << " at " << at << " of " << cols);
            for (const std::size_t tokens : {1, 7, 20}) {
              const auto out = BatchProduct{m.view, x, cols, first_tokens(tokens)}.run(kernels);
              CHECK(out.size() == tokens * m.view.rows);
              CHECK(count_wrong(kernels, m.view, expected, out) == 0);
            }
          });
        }
      }
    }
  }
}

TEST_CASE("batch: NaN and infinity in scales and fp8 codes stay in their rows") {
  constexpr std::size_t cols = 320;
  const auto x = random_floats(20 * cols, 4);
  for (const float special : {nan, infinity, -infinity}) {
    for (const Format format : {Format::fp8_e4m3, Format::int8, Format::int4, Format::mxfp4}) {
      for (const Format scale : {Format::f32, Format::bf16, Format::e8m0}) {
        if ((format == Format::mxfp4) != (scale == Format::e8m0)) continue;
        Shape shape{format, 40, cols, scale, 1, 32};
        if (format == Format::fp8_e4m3) shape.block_rows = shape.block_cols = 64;
        if (format == Format::fp8_e4m3) shape.block_rows = 5;
        StoredMatrix m(shape, 5);
        put_number(scale, special, m.scales.data() + (3 * m.view.scale_cols + 1) * bits_per_value(scale) / 8);
        if (format == Format::fp8_e4m3) m.values.data()[35 * cols + 100] = std::byte{0xff};
        const BatchProduct product{m.view, x, cols, first_tokens(20)};
        check_product(product, describe(shape));
      }
    }
  }
}

TEST_CASE("batch: mxfp4 scales from the smallest to the largest") {
  constexpr std::size_t cols = 256;
  const auto x = random_floats(20 * cols, 4);
  for (std::size_t exponent = 0; exponent <= 240; exponent += 8) {
    StoredMatrix m({Format::mxfp4, 5, cols, Format::e8m0, 1, 32}, 5);
    for (std::size_t i = 0; i < m.scales.size(); ++i)
      m.scales.data()[i] = static_cast<std::byte>(exponent + i % 8);
    const BatchProduct product{m.view, x, cols, first_tokens(20)};
    check_product(product, "exponent " + std::to_string(exponent));
  }
}

TEST_CASE("batch: no tokens, no rows") {
  const StoredMatrix m({.format = Format::bf16, .rows = 6, .cols = 40}, 1);
  const auto x = random_floats(5 * 40, 2);
  for_each_vector_isa([&](const Kernels& kernels) {
    CHECK(BatchProduct{m.view, x, 40, {}}.run(kernels).empty());
    CHECK(BatchProduct{m.view, x, 40, first_tokens(5), 6, 6}.run(kernels).empty());
  });
}

}  // namespace
}  // namespace baleen::kernels
