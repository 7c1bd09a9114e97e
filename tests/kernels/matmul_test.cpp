// Matrix products of every instruction set against the scalar's, and against themselves: an output is the
// same to the bit whichever rows and tokens are asked for with it.
#include "kernels/support.h"

namespace baleen::kernels {
namespace {

// A product with scratch of its own.
struct Product {
  Product(const Matrix& m, const float* activations, std::size_t stride, std::size_t token_count)
      : scratch(matmul_scratch(m.cols)) {
    args = {.matrix = &m, .row_end = m.rows, .tokens = token_count};
    pack = {.x = activations, .x_stride = stride, .tokens = token_count, .cols = m.cols, .col_end = m.cols};
  }

  // [tokens, row_end - row_begin]
  std::vector<float> run(const Kernels& kernels, Path path = Path::exact) {
    const Matmul& matmul = kernels.matmul(path, *args.matrix);
    const PackedRows packed(*matmul.packing, pack);
    std::vector<float> out(args.tokens * (args.row_end - args.row_begin), nan);
    args.packed = packed.data();
    args.out = out.data();
    args.out_stride = args.row_end - args.row_begin;
    args.scratch = scratch.data();
    matmul.multiply(args);
    return out;
  }

  PackArgs pack;
  MatmulArgs args;
  std::vector<float> scratch;
};

std::vector<float> scalar_row(const Matrix& m, std::size_t row) {
  std::vector<float> w(m.cols);
  scalar().widen_row[index_of(m.format)](m, row, w.data());
  return w;
}

// Two float32 sums of the same n products, whatever their orders, each differ from the exact sum by at most
// n * 2^-24 * sum |w x| to first order; the last term is for products among the denormals. [tokens, rows]
std::vector<float> tolerances(const Matrix& m, const std::vector<float>& x, std::size_t stride,
                              std::size_t tokens) {
  std::vector<float> list(tokens * m.rows);
  const auto n = static_cast<double>(m.cols);
  for (std::size_t r = 0; r < m.rows; ++r) {
    const auto w = scalar_row(m, r);
    for (std::size_t t = 0; t < tokens; ++t) {
      double absolute = 0;
      for (std::size_t c = 0; c < m.cols; ++c)
        absolute += std::fabs(static_cast<double>(w[c]) * x[t * stride + c]);
      list[t * m.rows + r] = static_cast<float>(2 * n * 0x1p-24 * absolute + n * 0x1p-149);
    }
  }
  return list;
}

// `out` may have fewer tokens than the others.
void check_close(const std::vector<float>& out, const std::vector<float>& expected,
                 const std::vector<float>& tolerance) {
  REQUIRE(out.size() <= expected.size());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const bool close = std::fabs(out[i] - expected[i]) <= tolerance[i];
    wrong += !close && !same(out[i], expected[i]);
  }
  CHECK(wrong == 0);
}

std::size_t count_different(const std::vector<float>& a, const std::vector<float>& b) {
  std::size_t different = a.size() != b.size();
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) different += !same(a[i], b[i]);
  return different;
}

// Sizes on both sides of vectors, chunks, and the panels of long rows.
std::vector<std::size_t> widths() {
  std::vector<std::size_t> list;
  for (std::size_t n = 1; n <= 70; ++n) list.push_back(n);
  for (const std::size_t n : {127, 128, 129, 130, 131, 511, 512, 513, 1023, 1024, 1025, 2049, 2080})
    list.push_back(n);
  return thinned(list, 0);
}

// A few of all_shapes, so that every format and every path is multiplied at every size.
std::vector<Shape> some_shapes(std::size_t rows, std::size_t cols) {
  std::vector<Shape> shapes;
  for (const Format format : all_formats) shapes.push_back({.format = format, .rows = rows, .cols = cols});
  shapes.push_back({Format::fp8_e4m3, rows, cols, Format::f32, 128, 128});
  shapes.push_back({Format::fp8_e4m3, rows, cols, Format::bf16, 3, 24});
  for (const Format format : {Format::int8, Format::int4}) {
    shapes.push_back({format, rows, cols, Format::bf16, 1, 32});
    shapes.push_back({format, rows, cols, Format::f16, 1, 24});
    shapes.push_back({format, rows, cols, Format::f32, 1, cols});
    shapes.push_back({format, rows, cols, Format::bf16, rows, cols});
    shapes.push_back({format, rows, cols, Format::bf16, 1, 64, true});
    shapes.push_back({format, rows, cols, Format::bf16, 1, 32, true, true});
  }
  shapes.push_back({Format::mxfp4, rows, cols, Format::e8m0, 1, 32});
  return shapes;
}

TEST_CASE("matmul: close to scalar, and independent of the rows and tokens asked for together") {
  constexpr std::size_t rows = 9;
  constexpr std::size_t tokens = 33;
  for (const std::size_t cols : widths()) {
    const std::size_t stride = cols + 3;
    const auto x = random_floats(tokens * stride, static_cast<unsigned>(cols));
    for (const Shape& shape : thinned_shapes(some_shapes(rows, cols), cols)) {
      const StoredMatrix m(shape, static_cast<unsigned>(cols));
      const auto expected = Product(m.view, x.data(), stride, tokens).run(scalar());
      const auto tolerance = tolerances(m.view, x, stride, tokens);
      for_each_matmul(Path::exact, m.view, [&](const Kernels& kernels) {
        INFO(describe(shape));
        const auto together = Product(m.view, x.data(), stride, tokens).run(kernels);
        check_close(together, expected, tolerance);
        std::size_t different = 0;
        for (std::size_t n = 1; n <= 7; ++n) {
          const auto few = Product(m.view, x.data(), stride, n).run(kernels);
          different += count_different(
              few, {together.begin(), together.begin() + static_cast<std::ptrdiff_t>(n * rows)});
        }
        for (std::size_t begin = 0; begin < rows; begin += 2) {
          for (const std::size_t n : {std::size_t{1}, std::size_t{7}}) {
            Product part(m.view, x.data(), stride, n);
            part.args.row_begin = begin;
            part.args.row_end = begin + 1 + begin % 3 < rows ? begin + 1 + begin % 3 : rows;
            const auto out = part.run(kernels);
            const std::size_t width = part.args.row_end - begin;
            for (std::size_t i = 0; i < out.size(); ++i) {
              different += !same(out[i], together[i / width * rows + begin + i % width]);
            }
          }
        }
        CHECK(different == 0);
      });
    }
  }
}

TEST_CASE("matmul: x_rows gathers tokens") {
  const Shape shape{.format = Format::bf16, .rows = 21, .cols = 77};
  const StoredMatrix m(shape, 1);
  const auto x = random_floats(20 * 77, 2);
  const std::uint32_t rows[] = {19, 0, 7, 7, 3, 12, 1};
  const auto check = [&](const Kernels& kernels) {
    const auto all = Product(m.view, x.data(), 77, 20).run(kernels);
    for (std::size_t n = 1; n <= 7; ++n) {
      Product product(m.view, x.data(), 77, n);
      product.pack.x_rows = rows;
      const auto out = product.run(kernels);
      for (std::size_t i = 0; i < out.size(); ++i) CHECK(same(out[i], all[rows[i / 21] * 21 + i % 21]));
    }
  };
  check(scalar());
  for_each_vector_isa(check);
}

TEST_CASE("matmul: no tokens, no rows") {
  const StoredMatrix m({.format = Format::f16, .rows = 6, .cols = 40}, 1);
  const auto x = random_floats(5 * 40, 2);
  const auto check = [&](const Kernels& kernels) {
    CHECK(Product(m.view, x.data(), 40, 0).run(kernels).empty());
    Product none(m.view, x.data(), 40, 5);
    none.args.row_begin = none.args.row_end = 6;
    CHECK(none.run(kernels).empty());
  };
  check(scalar());
  for_each_vector_isa(check);
}

// NaN and infinity reach the outputs they belong to and no others, wherever in the row they stand.
TEST_CASE("matmul: NaN, infinity, denormals and zeros in weights and activations") {
  const float specials[] = {nan, infinity, -infinity, 0.0f, -0.0f, 1e-45f, 1e-39f, 3e38f};
  for (const std::size_t cols : {1, 15, 16, 17, 31, 33, 64, 70}) {
    for (const float special : specials) {
      for (std::size_t at = 0; at < cols; at += 3) {
        StoredMatrix m({.format = Format::f32, .rows = 5, .cols = cols}, 3);
        auto x = random_floats(8 * cols, 4);
        put_number(Format::f32, special, m.values.data() + (2 * cols + at) * 4);
        x[6 * cols + at] = special;
        const auto expected = Product(m.view, x.data(), cols, 8).run(scalar());
        const auto tolerance = tolerances(m.view, x, cols, 8);
        for_each_matmul(Path::exact, m.view, [&](const Kernels& kernels) {
          INFO("special " << special << " at " << at << " of " << cols);
          for (const std::size_t tokens : {1, 3, 8}) {
            check_close(Product(m.view, x.data(), cols, tokens).run(kernels), expected, tolerance);
          }
        });
      }
    }
  }
}

TEST_CASE("matmul: products of denormals and of the largest numbers") {
  for (const float weight : {1e-40f, 1e-45f, 1e38f}) {
    for (const float activation : {1e-3f, 1e-30f, 1.0f, 1e38f, 0.0f}) {
      const std::size_t cols = 37;
      StoredMatrix m({.format = Format::f32, .rows = 4, .cols = cols}, 1);
      for (std::size_t i = 0; i < 4 * cols; ++i) put_number(Format::f32, weight, m.values.data() + 4 * i);
      const std::vector<float> x(cols, activation);
      const auto expected = Product(m.view, x.data(), cols, 1).run(scalar());
      const auto tolerance = tolerances(m.view, x, cols, 1);
      for_each_vector_isa([&](const Kernels& kernels) {
        INFO(weight << " x " << activation);
        check_close(Product(m.view, x.data(), cols, 1).run(kernels), expected, tolerance);
      });
    }
  }
}

// [tokens, cols]
std::vector<float> transposed(const Kernels& kernels, const Matrix& m, std::size_t begin, std::size_t end,
                              const float* x, std::size_t stride, std::size_t tokens,
                              Path path = Path::exact) {
  std::vector<float> scratch(transposed_scratch(end - begin, m.cols));
  std::vector<float> out(tokens * m.cols, nan);
  const TransposedArgs args{.matrix = &m,
                            .row_begin = begin,
                            .row_end = end,
                            .x = x,
                            .x_stride = stride,
                            .tokens = tokens,
                            .out = out.data(),
                            .out_stride = m.cols,
                            .scratch = scratch.data()};
  kernels.matmul_transposed[static_cast<std::size_t>(path)][index_of(m.format)](args);
  return out;
}

TEST_CASE("matmul_transposed: close to scalar, independent of the tokens asked for together") {
  constexpr std::size_t rows = 37;
  for (const std::size_t cols : widths()) {
    if (cols > 600) continue;
    // Around the width of two tiles also more tokens than two of them have rows.
    const std::size_t tokens = cols > 30 && cols < 35 ? 51 : 7;
    const auto x = random_floats(tokens * rows, static_cast<unsigned>(cols));
    for (const Shape& shape : thinned_shapes(some_shapes(rows, cols), cols)) {
      const StoredMatrix m(shape, static_cast<unsigned>(cols));
      for (const std::size_t begin : {std::size_t{0}, std::size_t{5}}) {
        const std::size_t count = rows - 2 * begin;
        const auto expected = transposed(scalar(), m.view, begin, begin + count, x.data(), rows, tokens);
        std::vector<double> absolute(tokens * cols);  // sum of |w x| of each output
        for (std::size_t r = 0; r < count; ++r) {
          const auto w = scalar_row(m.view, begin + r);
          for (std::size_t i = 0; i < absolute.size(); ++i) {
            absolute[i] += std::fabs(static_cast<double>(w[i % cols]) * x[i / cols * rows + r]);
          }
        }
        for (const Path path : {Path::exact, Path::batch, Path::stream}) {
          const auto kernel_of = [&](const Kernels& kernels) {
            return kernels.matmul_transposed[static_cast<std::size_t>(path)][index_of(shape.format)];
          };
          for_each_kernel(kernel_of, [&](const Kernels& kernels) {
            const auto exact = kernels.matmul_transposed[static_cast<std::size_t>(Path::exact)];
            if (path != Path::exact && kernel_of(kernels) == exact[index_of(shape.format)]) return;
            INFO(describe(shape) << ", path " << static_cast<int>(path));
            // Paths but the exact one may round x and W to bf16, and take denormals for zeros.
            const double relative = 2 * count * 0x1p-24 + (path == Path::exact ? 0 : 2 * 0x1p-8);
            const double smallest = path == Path::exact ? 0 : count * 0x1p-120;
            const auto together =
                transposed(kernels, m.view, begin, begin + count, x.data(), rows, tokens, path);
            std::size_t wrong = 0;
            for (std::size_t i = 0; i < together.size(); ++i) {
              wrong += !(std::fabs(together[i] - expected[i]) <= relative * absolute[i] + smallest);
            }
            CHECK(wrong == 0);
            for (std::size_t t = 0; t < tokens; ++t) {
              const auto alone =
                  transposed(kernels, m.view, begin, begin + count, x.data() + t * rows, rows, 1, path);
              const auto from = together.begin() + static_cast<std::ptrdiff_t>(t * cols);
              CHECK(count_different(alone, {from, from + static_cast<std::ptrdiff_t>(cols)}) == 0);
            }
          });
        }
      }
    }
  }
}

}  // namespace
}  // namespace baleen::kernels
