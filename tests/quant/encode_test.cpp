#include "quant/encode.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "golden.h"
#include "kernels/dispatch.h"

namespace {

using namespace baleen;

constexpr DType plain_types[] = {DType::bf16, DType::f16, DType::f32};

kernels::Format format_of(DType dtype) {
  return dtype == DType::f16    ? kernels::Format::f16
         : dtype == DType::bf16 ? kernels::Format::bf16
                                : kernels::Format::f32;
}

struct Stored {
  std::vector<std::byte> values;
  std::vector<std::byte> scales;
  EncodeError error;
};

// What encode writes, into memory that it must overwrite whole and not leave.
Stored encoded(const kernels::Kernels& kernels, const Target& target, ScaleRule rule, DType plain,
               std::size_t rows, std::size_t cols, const std::vector<float>& weights,
               const float* importance = nullptr) {
  constexpr std::size_t guard = 64;
  const auto parts = stored_parts(target, rows, cols, plain);
  Stored stored;
  stored.values.assign(parts[0].bytes + guard, std::byte{0xa5});
  stored.scales.assign(parts[1].bytes + guard, std::byte{0xa5});
  stored.error = encode({.kernels = &kernels,
                         .target = target,
                         .rule = rule,
                         .plain = plain,
                         .weights = weights.data(),
                         .rows = rows,
                         .cols = cols,
                         .importance = importance,
                         .values = stored.values.data(),
                         .scales = stored.scales.data()});
  for (std::vector<std::byte>* bytes : {&stored.values, &stored.scales}) {
    for (std::size_t i = bytes->size() - guard; i < bytes->size(); ++i)
      REQUIRE((*bytes)[i] == std::byte{0xa5});
    bytes->resize(bytes->size() - guard);
  }
  return stored;
}

float plain_number(DType plain, const std::byte* at, std::size_t index) {
  kernels::Matrix m{
      .format = format_of(plain), .rows = 1, .cols = 1, .values = at + index * dtype_bytes(plain)};
  float value = 0;
  kernels::find_kernels("scalar")->widen_row[static_cast<std::size_t>(m.format)](m, 0, &value);
  return value;
}

// The weight that a stored one stands for, from the definitions of the formats.
float decoded(const Target& target, DType plain, std::size_t cols, const Stored& stored, std::size_t r,
              std::size_t c) {
  const auto parts = stored_parts(target, 1, cols, plain);
  const std::byte* row = stored.values.data() + r * parts[0].bytes;
  const auto nibble = [&] { return static_cast<int>(row[c / 2] >> (c % 2 * 4) & std::byte{15}); };
  const std::size_t group = target.group == whole_row ? cols : target.group;
  const std::size_t groups = cols / group;
  switch (target.encoding) {
    case Encoding::int4:
      return static_cast<float>(nibble() - 8) *
             plain_number(plain, stored.scales.data(), r * groups + c / group);
    case Encoding::int8:
      return static_cast<float>(static_cast<int>(row[c]) - 128) *
             plain_number(plain, stored.scales.data(), r * groups + c / group);
    case Encoding::fp8: {
      const kernels::Matrix m{.format = kernels::Format::fp8_e4m3, .rows = 1, .cols = 1, .values = row + c};
      float value = 0;
      kernels::find_kernels("scalar")->widen_row[static_cast<std::size_t>(m.format)](m, 0, &value);
      return value * plain_number(DType::f32, stored.scales.data(), r / 128 * ((cols + 127) / 128) + c / 128);
    }
    default: {
      constexpr float magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
      const float value = magnitudes[nibble() & 7] * (nibble() & 8 ? -1.0f : 1.0f);
      return std::ldexp(value, static_cast<int>(stored.scales[r * (cols / 32) + c / 32]) - 127);
    }
  }
}

Target target_of(const std::string& encoding, const std::string& group) {
  if (encoding == "fp8") return {Encoding::fp8, 32};
  if (encoding == "mxfp4") return {Encoding::mxfp4, 32};
  return {encoding == "int4" ? Encoding::int4 : Encoding::int8,
          group == "channel" ? whole_row : std::stoul(group)};
}

struct Case {
  Target target;
  std::size_t rows;
  std::size_t cols;
};

// Groups and rows on and off every vector's width.
std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Encoding encoding : {Encoding::int4, Encoding::int8}) {
    for (const auto& [group, cols] : {std::pair<std::size_t, std::size_t>{32, 96},
                                      {64, 128},
                                      {128, 384},
                                      {16, 80},
                                      {8, 40},
                                      {24, 72},
                                      {40, 120},
                                      {5, 35},
                                      {1, 7},
                                      {33, 99},
                                      {whole_row, 1},
                                      {whole_row, 31},
                                      {whole_row, 77},
                                      {whole_row, 512}}) {
      cases.push_back({{encoding, group}, 3, cols});
    }
  }
  for (const auto& [rows, cols] :
       {std::pair<std::size_t, std::size_t>{1, 1}, {3, 17}, {128, 128}, {130, 150}, {5, 300}})
    cases.push_back({{Encoding::fp8, 32}, rows, cols});
  for (const std::size_t cols : {32, 96, 544}) cases.push_back({{Encoding::mxfp4, 32}, 3, cols});
  return cases;
}

float rounded_to(DType plain, float v) {
  if (plain == DType::bf16) {
    const auto bits = std::bit_cast<std::uint32_t>(v);
    return std::bit_cast<float>((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
  }
  if (plain == DType::f32) return v;
  const float step = std::ldexp(1.0f, std::max(v == 0 ? -24 : std::ilogb(v) - 10, -24));
  return std::min(std::max(std::nearbyint(v / step) * step, -65504.0f), 65504.0f);
}

// Rows of different kinds, each of its own magnitude.
std::vector<float> random_weights(std::mt19937& random, DType plain, std::size_t rows, std::size_t cols) {
  std::normal_distribution<float> normal;
  std::student_t_distribution<float> heavy(3);
  std::vector<float> weights(rows * cols);
  for (std::size_t r = 0; r < rows; ++r) {
    const int kind = static_cast<int>(random() % 5);
    const float unit = std::ldexp(1.0f, static_cast<int>(random() % 20) - 16);
    for (std::size_t c = 0; c < cols; ++c) {
      float v = kind == 0 ? heavy(random) : normal(random);
      if (kind == 1) v = std::nearbyint(v * 4) / 2;
      if (kind == 2 && random() % 8) v = 0;
      if (kind == 3) v = std::ldexp(v, -static_cast<int>(random() % 24));
      weights[r * cols + c] = rounded_to(plain, v * unit);
    }
  }
  return weights;
}

std::vector<float> random_importance(std::mt19937& random, std::size_t cols) {
  std::vector<float> importance(cols);
  for (float& v : importance)
    v = std::ldexp(static_cast<float>(random() % 1000), static_cast<int>(random() % 9) - 4);
  if (random() % 2)
    std::fill(importance.begin(), importance.begin() + static_cast<std::ptrdiff_t>(cols / 2), 0.0f);
  return importance;
}

double squared_error(const Case& one, DType plain, const std::vector<float>& weights, const Stored& stored,
                     const float* importance) {
  double sum = 0;
  for (std::size_t r = 0; r < one.rows; ++r) {
    for (std::size_t c = 0; c < one.cols; ++c) {
      const double d = double{decoded(one.target, plain, one.cols, stored, r, c)} - weights[r * one.cols + c];
      sum += d * d * (importance ? importance[c] : 1.0f);
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("minmax stores what compressed-tensors stores") {
  for (const auto& dir : testing::golden_cases("quant")) {
    const testing::Expected expected(dir);
    const std::string type = dir.filename().string();
    const DType plain = type == "bf16" ? DType::bf16 : type == "f16" ? DType::f16 : DType::f32;
    for (const std::string label :
         {"even.int4.4",       "even.int4.24",      "even.int4.32",     "even.int4.64", "even.int4.128",
          "even.int4.channel", "even.int8.4",       "even.int8.24",     "even.int8.32", "even.int8.64",
          "even.int8.128",     "even.int8.channel", "odd.int4.5",       "odd.int4.25",  "odd.int4.channel",
          "odd.int8.5",        "odd.int8.25",       "odd.int8.channel", "even.mxfp4",   "blocks.fp8"}) {
      const std::string matrix = label.substr(0, label.find('.'));
      const std::string format = label.substr(matrix.size() + 1);
      const std::string encoding = format.substr(0, format.find('.'));
      const Target target =
          target_of(encoding, format.size() > encoding.size() ? format.substr(encoding.size() + 1) : "");
      const auto bytes = expected.get<std::byte>(matrix);
      const std::size_t cols = matrix == "even" ? 384 : matrix == "odd" ? 75 : 150;
      const std::size_t rows = bytes.size() / dtype_bytes(plain) / cols;
      std::vector<float> weights(rows * cols);
      for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = plain_number(plain, bytes.data(), i);
      for (const auto& table : kernels::usable_tables()) {
        CAPTURE(type);
        CAPTURE(label);
        CAPTURE(table.isa);
        const Stored stored = encoded(*table.kernels, target, ScaleRule::minmax, plain, rows, cols, weights);
        CHECK(stored.error.finite);
        CHECK(stored.scales == expected.get<std::byte>(label + ".scales"));
        CHECK(stored.values == expected.get<std::byte>(label + ".values"));
      }
    }
  }
}

TEST_CASE("the errors reported are those of what is stored, and a search never makes them larger") {
  std::mt19937 random(1);
  const kernels::Kernels& kernels = *kernels::find_kernels("auto");
  for (const Case& one : all_cases()) {
    for (const DType plain : plain_types) {
      for (int repeat = 0; repeat < 6; ++repeat) {
        CAPTURE(target_name(one.target));
        CAPTURE(one.cols);
        CAPTURE(static_cast<int>(plain));
        const auto weights = random_weights(random, plain, one.rows, one.cols);
        const auto importance = random_importance(random, one.cols);
        const float* weighed = repeat % 2 ? importance.data() : nullptr;
        double error[2];
        for (const ScaleRule rule : {ScaleRule::minmax, ScaleRule::mse}) {
          const Stored stored =
              encoded(kernels, one.target, rule, plain, one.rows, one.cols, weights, weighed);
          const double truth = squared_error(one, plain, weights, stored, weighed);
          double norm = 0;
          for (std::size_t i = 0; i < weights.size(); ++i)
            norm += double{weights[i]} * weights[i] * (weighed ? weighed[i % one.cols] : 1.0f);
          CHECK(stored.error.finite);
          CHECK(stored.error.error == doctest::Approx(truth).epsilon(1e-5));
          CHECK(stored.error.norm == doctest::Approx(norm).epsilon(1e-5));
          error[static_cast<int>(rule)] = truth;
        }
        CHECK(error[1] <= error[0] * (1 + 1e-6));
      }
    }
  }
}

TEST_CASE("a search finds what clipping and a better scale gain") {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> weights(64 * 1024);
  for (float& v : weights) v = rounded_to(DType::bf16, normal(random));
  const kernels::Kernels& kernels = *kernels::find_kernels("auto");
  // What a search of hundreds of scales leaves of the squared error, and a little more.
  for (const auto& [target, most] : {std::pair<Target, double>{{Encoding::int4, 32}, 0.84},
                                     {{Encoding::int4, 128}, 0.85},
                                     {{Encoding::int4, whole_row}, 0.75},
                                     {{Encoding::int8, 32}, 0.80},
                                     {{Encoding::mxfp4, 32}, 0.997}}) {
    CAPTURE(target_name(target));
    const auto error = [&](ScaleRule rule) {
      return encoded(kernels, target, rule, DType::bf16, 64, 1024, weights).error.error;
    };
    CHECK(error(ScaleRule::mse) <= most * error(ScaleRule::minmax));
  }
}

TEST_CASE("every instruction set stores the same bits") {
  std::mt19937 random(3);
  const kernels::Kernels& scalar = *kernels::find_kernels("scalar");
  for (const Case& one : all_cases()) {
    for (const DType plain : plain_types) {
      for (const ScaleRule rule : {ScaleRule::minmax, ScaleRule::mse}) {
        for (int repeat = 0; repeat < 4; ++repeat) {
          const auto weights = random_weights(random, plain, one.rows, one.cols);
          const auto importance = random_importance(random, one.cols);
          const float* weighed = repeat % 2 ? importance.data() : nullptr;
          const Stored expected =
              encoded(scalar, one.target, rule, plain, one.rows, one.cols, weights, weighed);
          for (const auto& table : kernels::usable_tables()) {
            CAPTURE(target_name(one.target));
            CAPTURE(one.cols);
            CAPTURE(table.isa);
            const Stored stored =
                encoded(*table.kernels, one.target, rule, plain, one.rows, one.cols, weights, weighed);
            CHECK(stored.scales == expected.scales);
            CHECK(stored.values == expected.values);
            CHECK(stored.error.error == expected.error.error);
            CHECK(stored.error.norm == expected.error.norm);
          }
        }
      }
    }
  }
}

TEST_CASE("weights that are no numbers are reported, and what stands beside them is stored all the same") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                          infinity, -infinity}) {
    for (const Case& one : all_cases()) {
      for (const ScaleRule rule : {ScaleRule::minmax, ScaleRule::mse}) {
        for (const auto& table : kernels::usable_tables()) {
          CAPTURE(target_name(one.target));
          CAPTURE(table.isa);
          std::vector<float> weights(one.rows * one.cols, 1.0f);
          weights.back() = bad;
          const Stored stored =
              encoded(*table.kernels, one.target, rule, DType::bf16, one.rows, one.cols, weights);
          CHECK_FALSE(stored.error.finite);
          CHECK(std::isfinite(stored.error.error));
          CHECK(decoded(one.target, DType::bf16, one.cols, stored, one.rows - 1, one.cols - 1) == 0);
          if (one.rows > 1 && one.target.encoding != Encoding::fp8) {
            CHECK(decoded(one.target, DType::bf16, one.cols, stored, 0, 0) ==
                  doctest::Approx(1).epsilon(0.08));
          }
        }
      }
    }
  }
}

TEST_CASE("the largest and smallest numbers a type holds are stored as well as it can") {
  for (const auto& table : kernels::usable_tables()) {
    for (const Case& one : all_cases()) {
      for (const DType plain : plain_types) {
        const float most = plain == DType::f16 ? 65504.0f : rounded_to(plain, 3.38e38f);
        const float least = plain == DType::f16 ? 0x1p-24f : plain == DType::bf16 ? 0x1p-133f : 0x1p-149f;
        for (const float unit : {most, -most, most / 64, least, 100 * least, 0.0f, -0.0f}) {
          std::vector<float> weights(one.rows * one.cols);
          for (std::size_t i = 0; i < weights.size(); ++i)
            weights[i] = rounded_to(plain, i % 3 == 0 ? unit : unit / 2);
          for (const ScaleRule rule : {ScaleRule::minmax, ScaleRule::mse}) {
            CAPTURE(target_name(one.target));
            CAPTURE(unit);
            const Stored stored =
                encoded(*table.kernels, one.target, rule, plain, one.rows, one.cols, weights);
            CHECK(stored.error.finite);
            CHECK(std::isfinite(stored.error.error));
            CHECK(stored.error.error <= stored.error.norm);
            if (std::fabs(unit) >= most / 64) CHECK(stored.error.error <= 0.03 * stored.error.norm);
          }
        }
      }
    }
  }
}

TEST_CASE("columns without importance are stored as if all had the same") {
  std::mt19937 random(4);
  const auto weights = random_weights(random, DType::bf16, 4, 128);
  const std::vector<float> nothing(128, 0.0f);
  for (const Target target : {Target{Encoding::int4, 32}, Target{Encoding::int8, whole_row},
                              Target{Encoding::mxfp4, 32}, Target{Encoding::fp8, 32}}) {
    CAPTURE(target_name(target));
    for (const auto& table : kernels::usable_tables()) {
      const Stored plain = encoded(*table.kernels, target, ScaleRule::mse, DType::bf16, 4, 128, weights);
      const Stored weighed =
          encoded(*table.kernels, target, ScaleRule::mse, DType::bf16, 4, 128, weights, nothing.data());
      CHECK(weighed.scales == plain.scales);
      CHECK(weighed.values == plain.values);
      CHECK(weighed.error.error == 0);
    }
  }
}
