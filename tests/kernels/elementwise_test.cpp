// rms_norm, silu_mul and axpy of every instruction set against double.
#include "kernels/support.h"

namespace baleen::kernels {
namespace {

template <class Test>
void for_each_isa(const Test& test) {
  test(scalar());
  for_each_vector_isa(test);
}

TEST_CASE("rms_norm: any width, gain format and alignment, in place or not") {
  for (std::size_t width = 1; width <= 140; ++width) {
    const auto x = random_floats(width, static_cast<unsigned>(width));
    for (const Format format : {Format::f32, Format::f16, Format::bf16}) {
      const StoredMatrix gain({.format = format, .rows = 1, .cols = width}, 3);
      std::vector<float> g(width);
      scalar().widen_row[index_of(format)](gain.view, 0, g.data());
      double squares = 0;
      for (const float v : x) squares += static_cast<double>(v) * v;
      const double inverse = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-6);
      for_each_isa([&](const Kernels& kernels) {
        std::vector<float> out(width, nan);
        kernels.rms_norm(x.data(), gain.view.values, format, width, 1e-6f, out.data());
        auto in_place = x;
        kernels.rms_norm(in_place.data(), gain.view.values, format, width, 1e-6f, in_place.data());
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < width; ++i) {
          // The sum of width squares is off by width * 2^-24 at most, its root by half of that; four
          // roundings.
          const double expected = static_cast<double>(x[i]) * inverse * g[i];
          wrong += std::fabs(out[i] - expected) >
                   std::fabs(expected) * (static_cast<double>(width) / 2 + 8) * 0x1p-24;
          wrong += !same(out[i], in_place[i]);
        }
        CHECK(wrong == 0);
      });
    }
  }
}

TEST_CASE("rms_norm: zeros stay zeros, NaN spreads over the row") {
  const std::vector<float> gain(20, 1.0f);
  const auto bytes = reinterpret_cast<const std::byte*>(gain.data());
  for_each_isa([&](const Kernels& kernels) {
    std::vector<float> x(20);
    kernels.rms_norm(x.data(), bytes, Format::f32, 20, 1e-6f, x.data());
    for (const float v : x) CHECK(v == 0);
    x[19] = nan;
    kernels.rms_norm(x.data(), bytes, Format::f32, 20, 1e-6f, x.data());
    for (const float v : x) CHECK(std::isnan(v));
  });
}

TEST_CASE("silu_mul: within 4 units in the last place over all magnitudes") {
  std::vector<float> gate;
  for (float x = 1e-42f; x < 3e38f; x *= 1.01f) {
    gate.push_back(x);
    gate.push_back(-x);
  }
  for (float x = -110; x < 110; x += 0.0137f) gate.push_back(x);
  for_each_isa([&](const Kernels& kernels) {
    auto out = gate;
    const std::vector<float> ones(gate.size(), 1.0f);
    kernels.silu_mul(out.data(), ones.data(), gate.size());
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double x = gate[i];
      const double expected = x / (1 + std::exp(-x));
      // Where exp(-x) is beyond the largest float32 (x < -88.7), the quotient is 0.
      if (x < -88.7) {
        wrong += !(std::fabs(out[i]) <= std::fabs(expected) * 1.001);
      } else {
        const double unit = std::max(std::ldexp(1.0, std::ilogb(expected) - 23), 0x1p-149);
        wrong += !(std::fabs(out[i] - expected) <= 4 * unit);
      }
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("silu_mul: infinities and NaN as in x / (1 + exp(-x)), any length") {
  for_each_isa([&](const Kernels& kernels) {
    std::vector<float> gate = {infinity, -infinity, nan, 0.0f, -0.0f, 1.0f, 200.0f, -200.0f};
    std::vector<float> up = {1, 1, 1, 1, 1, nan, 2, 1};
    kernels.silu_mul(gate.data(), up.data(), gate.size());
    CHECK(gate[0] == infinity);
    CHECK(std::isnan(gate[1]));
    CHECK(std::isnan(gate[2]));
    CHECK(bits_of(gate[3]) == bits_of(0.0f));
    CHECK(bits_of(gate[4]) == bits_of(-0.0f));
    CHECK(std::isnan(gate[5]));
    CHECK(gate[6] == 400.0f);
    CHECK(gate[7] == 0.0f);
    for (std::size_t n = 0; n <= 70; ++n) {
      const auto x = random_floats(n + 1, 1);
      const auto y = random_floats(n + 1, 2);
      auto out = x;
      auto longer = x;
      kernels.silu_mul(out.data(), y.data(), n);
      kernels.silu_mul(longer.data(), y.data(), n + 1);
      CHECK(same(out[n], x[n]));
      for (std::size_t i = 0; i < n; ++i) CHECK(same(out[i], longer[i]));
    }
  });
}

TEST_CASE("axpy: any length, nothing beyond it") {
  for (std::size_t n = 0; n <= 70; ++n) {
    const auto x = random_floats(n + 1, 1);
    const auto y = random_floats(n + 1, 2);
    for_each_isa([&](const Kernels& kernels) {
      auto out = y;
      kernels.axpy(0.7f, x.data(), out.data(), n);
      for (std::size_t i = 0; i < n; ++i) {
        const double expected = static_cast<double>(0.7f) * x[i] + y[i];
        CHECK(std::fabs(out[i] - expected) <= (std::fabs(0.7 * x[i]) + std::fabs(expected)) * 0x1p-23);
      }
      CHECK(same(out[n], y[n]));
    });
  }
}

}  // namespace
}  // namespace baleen::kernels
