// Products for tokens that come alone (Path::stream): every table against the scalar reference, and against
// itself: an output is the same to the bit whichever rows and tokens are asked for with it.
#include "kernels/support.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t max_tokens = 10;

using Memory = std::vector<std::byte>;

// A buffer for packed activations that begins at a multiple of pack_align, full of `fill`: a kernel that
// reads what nobody packed shows it (0xff is NaN and -1).
class PackBuffer {
 public:
  PackBuffer(std::size_t bytes, std::byte fill)
      : size_(bytes), memory_(static_cast<std::byte*>(std::aligned_alloc(pack_align, bytes))) {
    std::fill_n(memory_.get(), bytes, fill);
  }
  std::byte* data() const { return memory_.get(); }
  Memory bytes() const { return Memory(memory_.get(), memory_.get() + size_); }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::size_t size_;
  std::unique_ptr<std::byte, Free> memory_;
};

struct Call {
  std::size_t row_begin = 0;
  std::size_t row_end = 0;
  std::vector<std::uint32_t> slots = {};  // of `tokens`; empty: in order
};

std::size_t buffer_bytes(const Packing& packing, std::size_t tokens, std::size_t cols) {
  return (tokens + packing.slot_tokens - 1) / packing.slot_tokens * packing.slot_bytes(cols);
}

// x [tokens, cols] packed in ranges of `step` columns, the last one first.
PackBuffer packed_in_ranges(const Packing& packing, const std::vector<float>& x, std::size_t cols,
                            std::size_t step) {
  const std::size_t tokens = x.size() / cols;
  PackBuffer buffer(buffer_bytes(packing, tokens, cols), std::byte{0xff});
  for (std::size_t begin = (cols - 1) / step * step;; begin -= step) {
    packing.pack({.x = x.data() + begin,
                  .x_stride = cols,
                  .tokens = tokens,
                  .cols = cols,
                  .col_begin = begin,
                  .col_end = std::min(begin + step, cols),
                  .packed = buffer.data()});
    if (begin == 0) return buffer;
  }
}

std::vector<float> multiply(const Kernels& kernels, const Matrix& m, const PackBuffer& packed,
                            std::size_t tokens, const Call& call) {
  std::vector<float> scratch(matmul_scratch(m.cols));
  const std::size_t width = call.row_end - call.row_begin;
  std::vector<float> out(tokens * width, nan);
  kernels.matmul(Path::stream, m)
      .multiply({.matrix = &m,
                 .row_begin = call.row_begin,
                 .row_end = call.row_end,
                 .packed = packed.data(),
                 .slots = call.slots.empty() ? nullptr : call.slots.data(),
                 .tokens = tokens,
                 .out = out.data(),
                 .out_stride = width,
                 .scratch = scratch.data()});
  return out;
}

// [tokens, rows] of x [tokens, cols]
std::vector<float> product(const Kernels& kernels, const Matrix& m, const std::vector<float>& x) {
  const Packing& packing = *kernels.matmul(Path::stream, m).packing;
  const PackBuffer packed = packed_in_ranges(packing, x, m.cols, m.cols + pack_cols);
  return multiply(kernels, m, packed, x.size() / m.cols, {.row_end = m.rows});
}

std::vector<float> scalar_row(const Matrix& m, std::size_t row) {
  std::vector<float> w(m.cols);
  scalar().widen_row[index_of(m.format)](m, row, w.data());
  return w;
}

// What a product is and how far it may be from that, [tokens, rows].
//   float32   each of the n products and sums is rounded, and so are scales: (n + 8) * 2^-24 of sum |w x|,
//             and what is lost among the denormals
//   integers  activations are rounded to steps of max |x| / 127 of their group of 32 columns at most, half a
//             step off; groups below 2^-100 may count as zeros. The step is itself rounded: 1 + 2^-10 is
//             ample
struct Reference {
  std::vector<double> exact, tolerance;
};

// Half a step of each activation's group.
std::vector<double> half_steps(const std::vector<float>& x, std::size_t cols) {
  std::vector<double> steps(x.size());
  for (std::size_t row = 0; row < x.size(); row += cols) {
    for (std::size_t begin = row; begin < row + cols; begin += pack_cols) {
      const std::size_t end = std::min(begin + pack_cols, row + cols);
      float maximum = 0;
      for (std::size_t c = begin; c < end; ++c) maximum = std::max(maximum, std::fabs(x[c]));
      const double step = static_cast<double>(maximum) / 254 * (1 + 0x1p-10) + 0x1p-100;
      for (std::size_t c = begin; c < end; ++c) steps[c] = step;
    }
  }
  return steps;
}

Reference reference(const Matrix& m, const std::vector<float>& x) {
  const std::size_t tokens = x.size() / m.cols;
  const bool integer = m.format == Format::int8 || m.format == Format::int4 || m.format == Format::mxfp4;
  const auto steps = integer ? half_steps(x, m.cols) : std::vector<double>();
  const auto n = static_cast<double>(m.cols) + 8;
  Reference result{std::vector<double>(tokens * m.rows), std::vector<double>(tokens * m.rows)};
  for (std::size_t r = 0; r < m.rows; ++r) {
    const auto w = scalar_row(m, r);
    for (std::size_t t = 0; t < tokens; ++t) {
      double exact = 0, absolute = 0, rounding = 0;
      for (std::size_t c = 0; c < m.cols; ++c) {
        const double product = static_cast<double>(w[c]) * x[t * m.cols + c];
        exact += product;
        absolute += std::fabs(product);
        if (integer) rounding += std::fabs(w[c]) * steps[t * m.cols + c];
      }
      result.exact[t * m.rows + r] = exact;
      result.tolerance[t * m.rows + r] = 2 * n * 0x1p-24 * (absolute + rounding) + n * 0x1p-140 + rounding;
    }
  }
  return result;
}

std::size_t count_wrong(const Reference& reference, const std::vector<float>& out) {
  std::size_t wrong = out.size() != reference.exact.size();
  for (std::size_t i = 0; i < out.size() && i < reference.exact.size(); ++i) {
    wrong += !(std::fabs(out[i] - reference.exact[i]) <= reference.tolerance[i]);
  }
  return wrong;
}

std::size_t count_different(const std::vector<float>& a, const std::vector<float>& b) {
  std::size_t different = a.size() != b.size();
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) different += !same(a[i], b[i]);
  return different;
}

// all_shapes; and fp8 without zeros and subnormal numbers, which kernels may widen in another way.
struct Case {
  Shape shape;
  bool normal = false;
};
std::vector<Case> all_cases(std::size_t rows, std::size_t cols) {
  std::vector<Case> cases;
  for (const Shape& shape : all_shapes(rows, cols)) {
    cases.push_back({shape});
    if (shape.format == Format::fp8_e4m3) cases.push_back({shape, true});
  }
  cases.push_back({{Format::fp8_e4m3, rows, cols, Format::bf16, 128, 64}});
  for (const std::size_t group : {96, 160, 1024}) {
    cases.push_back({{Format::int8, rows, cols, Format::f32, 1, group}});
    cases.push_back({{Format::int4, rows, cols, Format::bf16, 1, group}});
    cases.push_back({{Format::mxfp4, rows, cols, Format::e8m0, 1, group}});
  }
  return cases;
}

StoredMatrix stored(const Case& c, unsigned seed) {
  StoredMatrix m(c.shape, seed);
  if (c.normal) {
    for (std::size_t i = 0; i < m.values.size(); ++i) m.values.data()[i] |= std::byte{0x20};
  }
  m.view.values = m.values.data();
  return m;
}

std::string describe(const Case& c) {
  return describe(c.shape) + (c.normal ? " normal" : "");
}

TEST_CASE("stream: close to scalar however a matrix is stored, independent of rows and tokens") {
  constexpr std::size_t rows = 9;
  for (const std::size_t cols :
       {1, 3, 8, 15, 31, 32, 33, 63, 64, 65, 95, 96, 127, 128, 129, 200, 256, 511, 513, 1056, 2049}) {
    const auto x = random_floats(max_tokens * cols, static_cast<unsigned>(cols));
    for (const Case& c : all_cases(rows, cols)) {
      StoredMatrix m = stored(c, static_cast<unsigned>(cols));
      const Reference expected = reference(m.view, x);
      for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
        INFO(describe(c));
        const auto together = product(kernels, m.view, x);
        CHECK(count_wrong(expected, together) == 0);
        const Packing& packing = *kernels.matmul(Path::stream, m.view).packing;
        std::size_t different = 0;
        for (std::size_t n = 1; n < max_tokens; ++n) {
          const PackBuffer packed =
              packed_in_ranges(packing, {x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n * cols)}, cols,
                               cols + pack_cols);
          for (const std::size_t begin : {0, 1, 3, 8}) {
            const Call call{.row_begin = begin, .row_end = std::min(rows, begin + n)};
            const auto few = multiply(kernels, m.view, packed, n, call);
            const std::size_t width = call.row_end - begin;
            for (std::size_t i = 0; i < few.size(); ++i) {
              different += !same(few[i], together[i / width * rows + begin + i % width]);
            }
          }
        }
        CHECK(different == 0);
      });
    }
  }
}

TEST_CASE("stream: every column meets its own weight") {
  // An activation that stands alone is exact in every packing but for two roundings.
  for (const std::size_t cols : {45, 161, 576}) {
    std::vector<float> x(cols * cols);
    for (std::size_t c = 0; c < cols; ++c) x[c * cols + c] = c % 2 ? 1.0f : -1.0f;
    for (const Case& c : all_cases(5, cols)) {
      StoredMatrix m = stored(c, 7);
      for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
        INFO(describe(c));
        const auto out = product(kernels, m.view, x);
        std::size_t wrong = 0;
        for (std::size_t r = 0; r < m.view.rows; ++r) {
          const auto w = scalar_row(m.view, r);
          for (std::size_t t = 0; t < cols; ++t) {
            const float exact = w[t] * x[t * cols + t];
            wrong += std::fabs(out[t * m.view.rows + r] - exact) > 0x1p-21f * std::fabs(exact);
          }
        }
        CHECK(wrong == 0);
      });
    }
  }
}

TEST_CASE("stream: slots gather tokens") {
  const std::vector<std::uint32_t> slots = {5, 0, 5, 2, 6, 6, 1, 3, 4, 0, 6};
  for (const Case& c : all_cases(7, 200)) {
    StoredMatrix m = stored(c, 3);
    const auto x = random_floats(7 * 200, 4);
    for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
      INFO(describe(c));
      const Packing& packing = *kernels.matmul(Path::stream, m.view).packing;
      if (packing.slot_tokens != 1) return;
      const PackBuffer packed = packed_in_ranges(packing, x, 200, 224);
      const auto in_order = multiply(kernels, m.view, packed, 7, {.row_end = 7});
      const auto out = multiply(kernels, m.view, packed, slots.size(), {.row_end = 7, .slots = slots});
      std::size_t different = 0;
      for (std::size_t i = 0; i < out.size(); ++i) {
        different += !same(out[i], in_order[slots[i / 7] * 7 + i % 7]);
      }
      CHECK(different == 0);
    });
  }
}

TEST_CASE("stream: ranges of columns are packed into bytes of their own") {
  for (const std::size_t cols : {1, 40, 64, 100, 520, 1100}) {
    const auto x = random_floats(3 * cols, 5);
    for (const Case& c : all_cases(2, cols)) {
      StoredMatrix m = stored(c, 6);
      for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
        INFO(describe(c));
        const Packing& packing = *kernels.matmul(Path::stream, m.view).packing;
        const PackBuffer whole = packed_in_ranges(packing, x, cols, cols + pack_cols);
        const PackBuffer parts = packed_in_ranges(packing, x, cols, pack_cols);
        CHECK(count_different(multiply(kernels, m.view, whole, 3, {.row_end = 2}),
                              multiply(kernels, m.view, parts, 3, {.row_end = 2})) == 0);

        // Who writes which byte: a byte that is not written keeps both fills.
        std::vector<int> writers(buffer_bytes(packing, 3, cols));
        for (std::size_t begin = 0; begin < cols; begin += pack_cols) {
          const PackBuffer zeros(writers.size(), std::byte{0});
          const PackBuffer ones(writers.size(), std::byte{0xff});
          for (const PackBuffer* buffer : {&zeros, &ones}) {
            packing.pack({.x = x.data() + begin,
                          .x_stride = cols,
                          .tokens = 3,
                          .cols = cols,
                          .col_begin = begin,
                          .col_end = std::min(begin + pack_cols, cols),
                          .packed = buffer->data()});
          }
          for (std::size_t i = 0; i < writers.size(); ++i) {
            writers[i] += zeros.data()[i] != std::byte{0} || ones.data()[i] != std::byte{0xff};
          }
        }
        CHECK(*std::max_element(writers.begin(), writers.end()) == 1);
      });
    }
  }
}

TEST_CASE("stream: a number that is not finite spoils its own token alone") {
  constexpr std::size_t cols = 150;
  for (const float bad : {nan, infinity, -infinity}) {
    for (const std::size_t at : {0, 77, 149}) {
      const auto x = random_floats(3 * cols, 8);
      auto spoilt = x;
      spoilt[cols + at] = bad;
      for (const Case& c : all_cases(6, cols)) {
        StoredMatrix m = stored(c, 9);
        const auto from_scalar = product(scalar(), m.view, spoilt);
        for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
          INFO(describe(c));
          const auto good = product(kernels, m.view, x);
          const auto out = product(kernels, m.view, spoilt);
          std::size_t wrong = 0;
          for (std::size_t i = 0; i < out.size(); ++i) {
            wrong +=
                i / 6 == 1 ? std::isfinite(out[i]) || std::isfinite(from_scalar[i]) : !same(out[i], good[i]);
          }
          CHECK(wrong == 0);
        });
      }
    }
  }
}

TEST_CASE("stream: a scale that is not finite spoils its own rows alone") {
  constexpr std::size_t cols = 384;
  const auto x = random_floats(2 * cols, 10);
  for (const float bad : {nan, infinity}) {
    for (const Case& c : all_cases(6, cols)) {
      if (!c.shape.block_cols || c.shape.scale_format == Format::f16) continue;  // no bad numbers in f16 here
      StoredMatrix m = stored(c, 11);
      const std::size_t size = bits_per_value(c.shape.scale_format) / 8;
      const std::size_t block = 2 / c.shape.block_rows;
      const auto before = m.view;
      OddBytes scales = m.scales;
      put_number(c.shape.scale_format, bad, scales.data() + block * m.view.scale_cols * size);
      m.view.scales = scales.data();
      const auto from_scalar = product(scalar(), m.view, x);
      for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
        INFO(describe(c));
        const auto good = product(kernels, before, x);
        const auto out = product(kernels, m.view, x);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < out.size(); ++i) {
          // group_index may leave the bad scale without a column.
          if (std::isfinite(from_scalar[i]))
            wrong += !same(out[i], good[i]);
          else
            wrong += std::isfinite(out[i]);
        }
        CHECK(wrong == 0);
      });
    }
  }
}

TEST_CASE("stream: fp8 zeros, subnormal numbers and NaN among normal ones, exactly") {
  // A row for each code, at a column of its own among normal codes; block sizes of both kinds.
  constexpr std::size_t cols = 300;
  const Case c{{Format::fp8_e4m3, 256, cols, Format::f32, 128, 128}, true};
  StoredMatrix plain = stored(c, 12);
  StoredMatrix m = stored(c, 12);
  for (std::size_t r = 0; r < 256; ++r) m.values.data()[r * m.view.row_bytes + r] = static_cast<std::byte>(r);
  m.view.values = m.values.data();
  m.view.scales = plain.view.scales;
  const auto x = random_floats(2 * cols, 13);
  std::vector<float> alone(cols * cols);
  for (std::size_t i = 0; i < cols; ++i) alone[i * cols + i] = 1;
  for_each_vector_isa([&](const Kernels& kernels) {
    const auto out = product(kernels, m.view, x);
    const auto single = product(kernels, m.view, alone);
    std::size_t wrong = 0;
    for (std::size_t r = 0; r < 256; ++r) {
      const auto w = scalar_row(m.view, r);
      const bool is_nan = std::isnan(w[r]);
      Matrix row = m.view;  // this row in front of others
      row.rows = 1;
      row.block_rows = 1;
      row.values += r * m.view.row_bytes;
      row.scales += r / 128 * m.view.scale_cols * sizeof(float);
      const auto by_itself = product(kernels, row, x);
      for (std::size_t t = 0; t < 2; ++t) {
        wrong += std::isnan(out[t * 256 + r]) != is_nan;
        wrong += !same(by_itself[t], out[t * 256 + r]);
      }
      wrong += !is_nan && count_wrong(reference(row, x), by_itself) != 0;
      wrong += !is_nan && single[r * 256 + r] != w[r];
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("stream: the largest integers, the offset itself, and activations of zero") {
  constexpr std::size_t cols = 320;
  for (const Format format : {Format::int8, Format::int4}) {
    StoredMatrix m({format, 3, cols, Format::f32, 1, 32}, 14);
    const int codes = format == Format::int8 ? 256 : 16;
    const int low = format == Format::int8 ? 0x80 : 0x88;
    for (std::size_t i = 0; i < m.view.row_bytes; ++i) {
      m.values.data()[i] = std::byte{0x00};
      m.values.data()[m.view.row_bytes + i] = std::byte{0xff};
      m.values.data()[2 * m.view.row_bytes + i] = static_cast<std::byte>(low);
    }
    for (std::size_t i = 0; i < m.scales.size(); i += 4) put_number(Format::f32, 0.5f, m.scales.data() + i);
    m.view.values = m.values.data();
    for (const float value : {1.0f, -3.0f, 0.0f, 1e30f, 1e-40f}) {
      const std::vector<float> x(cols, value);
      for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
        const auto out = product(kernels, m.view, x);
        const float unit = 0.5f * cols * value;
        const float wanted[] = {unit * static_cast<float>(-codes / 2),
                                unit * static_cast<float>(codes / 2 - 1)};
        for (std::size_t r = 0; r < 2; ++r) {
          CHECK(std::fabs(out[r] - wanted[r]) <= 2 * (cols + 8) * 0x1p-24f * std::fabs(wanted[r]) + 1e-25f);
        }
        CHECK(out[2] == 0);
        if (value == 0) CHECK((out[0] == 0 && out[1] == 0));
      });
    }
  }
}

TEST_CASE("stream: every mxfp4 code with the largest activations of a group, scales of all sizes") {
  constexpr std::size_t groups = 61;
  constexpr std::size_t cols = 32 * groups;
  // Rows of one code throughout, then rows of a code and its opposite in turn; scales 2^-127, 2^-123, ...
  StoredMatrix m({Format::mxfp4, 32, cols, Format::e8m0, 1, 32}, 17);
  for (std::size_t r = 0; r < 32; ++r) {
    const std::size_t pair = r < 16 ? r * 0x11 : (r - 16) * 0x11 ^ 0x80;
    std::fill_n(m.values.data() + r * m.view.row_bytes, m.view.row_bytes, static_cast<std::byte>(pair));
    for (std::size_t g = 0; g < groups; ++g) m.scales.data()[r * groups + g] = static_cast<std::byte>(4 * g);
  }
  for (const float odd : {1.0f, -1.0f}) {
    std::vector<float> x(cols);
    std::vector<float> smallest(cols);
    for (std::size_t c = 0; c < cols; ++c) x[c] = c % 2 ? odd : 1.0f;
    std::copy_n(x.begin(), 32, smallest.begin());
    const Reference expected = reference(m.view, x);
    const Reference expected_smallest = reference(m.view, smallest);
    for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
      INFO("odd columns " << odd);
      CHECK(count_wrong(expected, product(kernels, m.view, x)) == 0);
      CHECK(count_wrong(expected_smallest, product(kernels, m.view, smallest)) == 0);
    });
  }
}

TEST_CASE("stream: activations from the smallest to the largest") {
  constexpr std::size_t cols = 256;
  auto x = random_floats(cols, 15);
  for (std::size_t c = 0; c < cols; ++c) x[c] = std::ldexp(x[c], static_cast<int>(c / 32 * 36) - 148);
  for (const Case& c : all_cases(3, cols)) {
    StoredMatrix m = stored(c, 16);
    const auto check = [&](const std::vector<float>& activations) {
      const Reference expected = reference(m.view, activations);
      for_each_matmul(Path::stream, m.view, [&](const Kernels& kernels) {
        INFO(describe(c));
        CHECK(count_wrong(expected, product(kernels, m.view, activations)) == 0);
      });
    };
    check(x);
    for (std::size_t begin = 0; begin < cols; begin += 32) {
      std::vector<float> group(cols);
      std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(begin), 32,
                  group.begin() + static_cast<std::ptrdiff_t>(begin));
      check(group);
    }
  }
}

}  // namespace
}  // namespace baleen::kernels
