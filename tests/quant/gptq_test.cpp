#include "quant/gptq.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/dispatch.h"
#include "quant/codes.h"

using namespace baleen;

namespace {

using Doubles = std::vector<double>;

// Inputs as a module sees them: few directions that matter, all columns mixed.
std::vector<float> correlated_inputs(std::size_t tokens, std::size_t cols, std::uint32_t seed) {
  std::mt19937 mixing(7);  // the same directions for every seed
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const std::size_t directions = cols / 3 + 1;
  std::vector<float> mix(directions * cols), x(tokens * cols);
  for (float& m : mix) m = normal(mixing);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t d = 0; d < directions; ++d) {
      const float a = normal(random) / static_cast<float>(d + 1);
      for (std::size_t c = 0; c < cols; ++c) x[t * cols + c] += a * mix[d * cols + c];
    }
    for (std::size_t c = 0; c < cols; ++c) x[t * cols + c] += 0.05f * normal(random);
  }
  return x;
}

std::vector<float> random_weights(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> w(count);
  for (float& v : w) v = normal(random);
  return w;
}

std::vector<float> hessian_of(const Blas& blas, const std::vector<float>& x, std::size_t cols) {
  std::vector<float> h(cols * cols);
  blas.add_gram(cols, x.size() / cols, x.data(), h.data());
  return h;
}

// The definition: H + damping I inverted by Gauss and Jordan, then Cholesky's upper factor row by row.
Doubles naive_factor(const std::vector<float>& x, std::size_t n, double damping) {
  Doubles a(n * n), inverse(n * n), u(n * n);
  for (std::size_t t = 0; t < x.size() / n; ++t)
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) a[i * n + j] += double{x[t * n + i]} * x[t * n + j];
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) mean += a[i * n + i] / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) {
    a[i * n + i] += damping * mean;
    inverse[i * n + i] = 1;
  }
  for (std::size_t p = 0; p < n; ++p) {
    const double pivot = a[p * n + p];
    for (std::size_t j = 0; j < n; ++j) {
      a[p * n + j] /= pivot;
      inverse[p * n + j] /= pivot;
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const double f = a[i * n + p];
      for (std::size_t j = 0; j < n; ++j) {
        a[i * n + j] -= f * a[p * n + j];
        inverse[i * n + j] -= f * inverse[p * n + j];
      }
    }
  }
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) {
      double sum = inverse[i * n + j];
      for (std::size_t k = 0; k < i; ++k) sum -= u[k * n + i] * u[k * n + j];
      u[i * n + j] = i == j ? std::sqrt(sum) : sum / u[i * n + i];
    }
  return u;
}

struct Stored {
  std::vector<std::byte> values, scales;
  EncodeError error;
  bool operator==(const Stored& other) const { return values == other.values && scales == other.scales; }
};

EncodeArgs args_of(const Target& target, DType plain, std::size_t rows, std::size_t cols,
                   const float* weights, Stored& stored) {
  const auto parts = stored_parts(target, rows, cols, plain);
  stored.values.assign(parts[0].bytes, std::byte{0xa5});
  stored.scales.assign(parts[1].bytes, std::byte{0xa5});
  EncodeArgs args;
  args.kernels = kernels::find_kernels("scalar");
  args.target = target;
  args.plain = plain;
  args.weights = weights;
  args.rows = rows;
  args.cols = cols;
  args.values = stored.values.data();
  args.scales = stored.scales.data();
  return args;
}

Stored with_feedback(const Blas& blas, const Target& target, DType plain, std::size_t rows, std::size_t cols,
                     const std::vector<float>& weights, const float* factor,
                     const float* importance = nullptr) {
  Stored stored;
  EncodeArgs args = args_of(target, plain, rows, cols, weights.data(), stored);
  args.importance = importance;
  std::vector<float> room(feedback_room(target, cols));
  stored.error = encode_with_feedback(args, blas, factor, room);
  return stored;
}

Stored without_feedback(const Target& target, DType plain, std::size_t rows, std::size_t cols,
                        const std::vector<float>& weights) {
  Stored stored;
  stored.error = encode(args_of(target, plain, rows, cols, weights.data(), stored));
  return stored;
}

// What is stored, as numbers [rows, cols].
std::vector<float> read_back(const Target& target, DType plain, std::size_t rows, std::size_t cols,
                             const Stored& stored) {
  const std::size_t group = group_cols(target, cols);
  const std::size_t groups = (cols + group - 1) / group;
  const std::size_t row_bytes = stored.values.size() / rows;
  std::vector<float> w(rows * cols);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const bool wide = target.encoding == Encoding::int8 || target.encoding == Encoding::fp8;
      const auto byte = std::to_integer<unsigned>(stored.values[r * row_bytes + (wide ? c : c / 2)]);
      const unsigned code = wide ? byte : c % 2 ? byte >> 4 : byte & 15;
      const std::size_t scale_row = target.encoding == Encoding::fp8 ? r / fp8_block : r;
      w[r * cols + c] = code_value(target.encoding, static_cast<std::uint8_t>(code)) *
                        stored_scale(target, plain, stored.scales.data(), scale_row * groups + c / group);
    }
  return w;
}

// The definition of error feedback: every column's error goes to all that come at once.
std::vector<float> naive_feedback(const Target& target, DType plain, std::size_t rows, std::size_t cols,
                                  const std::vector<float>& weights, const Doubles& u) {
  const std::size_t group = group_cols(target, cols);
  Doubles w(weights.begin(), weights.end());
  std::vector<float> result(rows * cols);
  std::vector<float> now(rows * cols);
  Stored stored;
  for (std::size_t c = 0; c < cols; ++c) {
    if (c % group == 0) {
      for (std::size_t i = 0; i < w.size(); ++i) now[i] = static_cast<float>(w[i]);
      encode(args_of(target, plain, rows, cols, now.data(), stored));
    }
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t scale_row = target.encoding == Encoding::fp8 ? r / fp8_block : r;
      const float scale = stored_scale(target, plain, stored.scales.data(),
                                       scale_row * ((cols + group - 1) / group) + c / group);
      const float x = static_cast<float>(w[r * cols + c]) / scale;
      result[r * cols + c] = code_value(target.encoding, code_of(target.encoding, x)) * scale;
      const double error = (w[r * cols + c] - result[r * cols + c]) / u[c * cols + c];
      for (std::size_t k = c + 1; k < cols; ++k) w[r * cols + k] -= error * u[c * cols + k];
    }
  }
  return result;
}

// || (a - b) x^T ||^2
double output_error(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& x,
                    std::size_t cols) {
  double sum = 0;
  for (std::size_t r = 0; r < a.size() / cols; ++r)
    for (std::size_t t = 0; t < x.size() / cols; ++t) {
      double out = 0;
      for (std::size_t c = 0; c < cols; ++c)
        out += (double{a[r * cols + c]} - b[r * cols + c]) * x[t * cols + c];
      sum += out * out;
    }
  return sum;
}

struct Case {
  Target target;
  DType plain;
  std::size_t rows, cols;
};
const Case cases[] = {
    {{Encoding::int4, 32}, DType::bf16, 40, 160},           {{Encoding::int4, 96}, DType::f16, 30, 288},
    {{Encoding::int4, whole_row}, DType::f32, 30, 150},     {{Encoding::int8, 32}, DType::bf16, 20, 96},
    {{Encoding::int8, 256}, DType::bf16, 20, 256},          {{Encoding::fp8, 0}, DType::bf16, 150, 160},
    {{Encoding::mxfp4, mxfp4_group}, DType::bf16, 30, 160},
};

}  // namespace

TEST_CASE("codes and what they read back as") {
  CHECK(code_value(Encoding::int4, 0) == -8);
  CHECK(code_value(Encoding::int8, 255) == 127);
  CHECK(code_value(Encoding::fp8, 0x7e) == 448);
  CHECK(code_value(Encoding::fp8, 0x81) == -0x1p-9f);
  CHECK(code_value(Encoding::fp8, 0x38) == 1);
  CHECK(code_value(Encoding::mxfp4, 0x7) == 6);
  CHECK(code_value(Encoding::mxfp4, 0x9) == -0.5f);
  for (const Encoding encoding : {Encoding::int4, Encoding::int8, Encoding::fp8, Encoding::mxfp4}) {
    const bool wide = encoding == Encoding::int8 || encoding == Encoding::fp8;
    std::vector<float> values;
    for (unsigned code = 0; code < (wide ? 256u : 16u); ++code) {
      if (encoding == Encoding::fp8 && (code & 0x7f) == 0x7f) continue;  // not a number
      values.push_back(code_value(encoding, static_cast<std::uint8_t>(code)));
      CHECK(code_of(encoding, values.back()) == code);
    }
    CHECK(code_value(encoding, code_of(encoding, 1e9f)) == *std::max_element(values.begin(), values.end()));
    CHECK(code_value(encoding, code_of(encoding, -1e9f)) == *std::min_element(values.begin(), values.end()));
    CHECK(code_value(encoding, code_of(encoding, std::numeric_limits<float>::quiet_NaN())) == 0);
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0, 3);
    for (int i = 0; i < 2000; ++i) {
      const float x = normal(random);
      const float stored = code_value(encoding, code_of(encoding, x));
      for (const float value : values) CHECK(std::fabs(stored - x) <= std::fabs(value - x));
    }
  }
}

TEST_CASE("packed codes and scales are what kernels read") {
  for (const Case& c : cases) {
    CAPTURE(target_name(c.target));
    const auto weights = random_weights(c.rows * c.cols, 11);
    const Stored stored = without_feedback(c.target, c.plain, c.rows, c.cols, weights);
    const auto values = read_back(c.target, c.plain, c.rows, c.cols, stored);
    const kernels::Matrix matrix =
        stored_matrix(c.target, c.rows, c.cols, c.plain, stored.values.data(), stored.scales.data());
    std::vector<float> row(c.cols);
    for (std::size_t r = 0; r < c.rows; ++r) {
      kernels::find_kernels("scalar")->widen_row[static_cast<std::size_t>(matrix.format)](matrix, r,
                                                                                          row.data());
      CHECK(std::equal(row.begin(), row.end(), values.begin() + static_cast<std::ptrdiff_t>(r * c.cols)));
    }
  }
}

TEST_CASE("the factor is that of the inverse of the damped Hessian") {
  const Blas blas;
  for (const std::size_t n : {1, 2, 5, 33, 130}) {
    CAPTURE(n);
    const auto x = correlated_inputs(2 * n + 3, n, 1);
    auto u = hessian_of(blas, x, n);
    REQUIRE(feedback_factor(blas, n, u.data()) == gptq_damping);
    const Doubles expected = naive_factor(x, n, gptq_damping);
    // float32 and a condition number of about n / gptq_damping.
    const double tolerance = static_cast<double>(n) / gptq_damping * std::numeric_limits<float>::epsilon();
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        CHECK(std::fabs(u[i * n + j] - expected[i * n + j]) <= tolerance * expected[i * n + i]);
  }
}

TEST_CASE("Hessians without an inverse") {
  const Blas blas;
  constexpr std::size_t n = 40;
  SUBCASE("fewer tokens than columns") {
    auto h = hessian_of(blas, correlated_inputs(3, n, 1), n);
    CHECK(feedback_factor(blas, n, h.data()) == gptq_damping);
  }
  SUBCASE("a column that no token excites takes no errors and gives none") {
    auto x = correlated_inputs(100, n, 1);
    for (std::size_t t = 0; t < 100; ++t) x[t * n + 7] = 0;
    auto u = hessian_of(blas, x, n);
    REQUIRE(feedback_factor(blas, n, u.data()).has_value());
    CHECK(u[7 * n + 7] > 0);
    for (std::size_t c = 0; c < n; ++c) {
      if (c > 7) CHECK(u[7 * n + c] == 0);
      if (c < 7) CHECK(u[c * n + 7] == 0);
    }
  }
  SUBCASE("an indefinite matrix takes more damping") {
    std::vector<float> h(n * n);
    for (std::size_t i = 0; i < n; ++i) h[i * n + i] = 1;
    h[1] = 1.5f;  // eigenvalues 2.5 and -0.5
    const auto damping = feedback_factor(blas, n, h.data());
    REQUIRE(damping.has_value());
    CHECK(*damping > 0.5);
    CHECK(*damping < 1.5);
  }
  SUBCASE("zero, and not finite") {
    std::vector<float> h(n * n);
    CHECK_FALSE(feedback_factor(blas, n, h.data()).has_value());
    h.assign(n * n, std::numeric_limits<float>::infinity());
    CHECK_FALSE(feedback_factor(blas, n, h.data()).has_value());
    h.assign(n * n, std::numeric_limits<float>::quiet_NaN());
    CHECK_FALSE(feedback_factor(blas, n, h.data()).has_value());
  }
}

TEST_CASE("feedback follows the definition") {
  const Blas blas;
  for (const Case& c : cases) {
    CAPTURE(target_name(c.target));
    const auto x = correlated_inputs(400, c.cols, 1);
    const auto weights = random_weights(c.rows * c.cols, 2);
    auto u = hessian_of(blas, x, c.cols);
    REQUIRE(feedback_factor(blas, c.cols, u.data()).has_value());
    const Stored stored = with_feedback(blas, c.target, c.plain, c.rows, c.cols, weights, u.data());
    const auto values = read_back(c.target, c.plain, c.rows, c.cols, stored);
    const auto expected = naive_feedback(c.target, c.plain, c.rows, c.cols, weights, {u.begin(), u.end()});
    // Where float32 and double round a weight to neighbouring codes, the rest of the row differs. Scales of
    // fp8 are float32, and differ by its rounding.
    const auto near = [](float a, float b) { return std::fabs(a - b) <= 1e-5f * std::fabs(b); };
    std::size_t same = 0;
    double sum = 0, norm = 0;
    for (std::size_t r = 0; r < c.rows; ++r)
      same +=
          std::equal(&values[r * c.cols], &values[r * c.cols] + c.cols, &expected[r * c.cols], near) ? 1 : 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      sum += (double{values[i]} - weights[i]) * (double{values[i]} - weights[i]);
      norm += double{weights[i]} * weights[i];
    }
    CHECK(same >= c.rows * 9 / 10);
    CHECK(stored.error.error == doctest::Approx(sum));
    CHECK(stored.error.norm == doctest::Approx(norm));
    CHECK(stored.error.finite);
  }
}

TEST_CASE("inputs that do not depend on each other leave nothing to feed back") {
  const Blas blas;
  for (const Case& c : cases) {
    CAPTURE(target_name(c.target));
    std::vector<float> h(c.cols * c.cols);
    for (std::size_t i = 0; i < c.cols; ++i) h[i * c.cols + i] = 2;
    REQUIRE(feedback_factor(blas, c.cols, h.data()).has_value());
    const auto weights = random_weights(c.rows * c.cols, 2);
    const Stored fed = with_feedback(blas, c.target, c.plain, c.rows, c.cols, weights, h.data());
    const Stored plain = without_feedback(c.target, c.plain, c.rows, c.cols, weights);
    CHECK(fed.scales == plain.scales);
    CHECK(fed.error.error <= plain.error.error * (1 + 1e-6));  // each weight has the value nearest to it
  }
}

TEST_CASE("outputs come nearer to what they were, on inputs never seen too") {
  const Blas blas;
  for (const Case& c : cases) {
    CAPTURE(target_name(c.target));
    const auto seen = correlated_inputs(600, c.cols, 1);
    const auto unseen = correlated_inputs(200, c.cols, 2);
    const auto weights = random_weights(c.rows * c.cols, 3);
    auto u = hessian_of(blas, seen, c.cols);
    REQUIRE(feedback_factor(blas, c.cols, u.data()).has_value());
    const auto fed = read_back(c.target, c.plain, c.rows, c.cols,
                               with_feedback(blas, c.target, c.plain, c.rows, c.cols, weights, u.data()));
    const auto plain = read_back(c.target, c.plain, c.rows, c.cols,
                                 without_feedback(c.target, c.plain, c.rows, c.cols, weights));
    const double before = output_error(plain, weights, unseen, c.cols);
    const double after = output_error(fed, weights, unseen, c.cols);
    MESSAGE(target_name(c.target) << ": output error " << after / before
                                  << " of what it is without feedback");
    CHECK(after < 0.7 * before);
  }
}

TEST_CASE("panels of rows do not depend on each other") {
  const Blas blas;
  constexpr std::size_t rows = 300, cols = 160;
  const auto weights = random_weights(rows * cols, 4);
  auto u = hessian_of(blas, correlated_inputs(200, cols, 1), cols);
  REQUIRE(feedback_factor(blas, cols, u.data()).has_value());
  for (const Target& target : {Target{Encoding::int4, 32}, Target{Encoding::fp8, 0}}) {
    const Stored whole = with_feedback(blas, target, DType::bf16, rows, cols, weights, u.data());
    Stored joined;
    for (std::size_t row = 0; row < rows; row += feedback_panel) {
      const std::size_t count = std::min(feedback_panel, rows - row);
      const std::vector<float> part(weights.begin() + static_cast<std::ptrdiff_t>(row * cols),
                                    weights.begin() + static_cast<std::ptrdiff_t>((row + count) * cols));
      const Stored stored = with_feedback(blas, target, DType::bf16, count, cols, part, u.data());
      joined.values.insert(joined.values.end(), stored.values.begin(), stored.values.end());
      joined.scales.insert(joined.scales.end(), stored.scales.begin(), stored.scales.end());
    }
    CHECK(joined == whole);
  }
}

TEST_CASE("a weight that is no number spoils itself alone") {
  const Blas blas;
  constexpr std::size_t rows = 3, cols = 64;
  auto weights = random_weights(rows * cols, 4);
  auto u = hessian_of(blas, correlated_inputs(200, cols, 1), cols);
  REQUIRE(feedback_factor(blas, cols, u.data()).has_value());
  weights[cols + 5] = std::numeric_limits<float>::quiet_NaN();
  const Target target{Encoding::int4, 32};
  const Stored stored = with_feedback(blas, target, DType::bf16, rows, cols, weights, u.data());
  CHECK_FALSE(stored.error.finite);
  CHECK(std::isfinite(stored.error.error));
  for (const float value : read_back(target, DType::bf16, rows, cols, stored)) CHECK(std::isfinite(value));
}
