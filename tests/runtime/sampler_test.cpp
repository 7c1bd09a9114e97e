#include "runtime/sampler.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "error.h"

using namespace baleen;

namespace {

// How often each token is drawn in `draws` draws.
std::map<TokenId, double> frequencies(const SamplingOptions& options, std::vector<float> logits, int draws) {
  Sampler sampler(options, logits.size());
  std::map<TokenId, double> result;
  for (int i = 0; i < draws; ++i) result[sampler.sample(logits)] += 1.0 / draws;
  return result;
}

std::string message(const std::vector<float>& logits) {
  Sampler sampler({.temperature = 0}, logits.size());
  try {
    sampler.sample(logits);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// log of probabilities, as logits
std::vector<float> logs(std::vector<double> probabilities) {
  std::vector<float> result;
  for (const double p : probabilities) result.push_back(static_cast<float>(std::log(p)));
  return result;
}

}  // namespace

TEST_CASE("random numbers are the published SplitMix64") {
  // First outputs of the reference code for seed 1234567: 6457827717110365317, 3203168211198807973.
  CHECK(uniform(1234567, 0) == static_cast<double>(6457827717110365317ULL >> 11) * 0x1p-53);
  CHECK(uniform(1234567, 1) == static_cast<double>(3203168211198807973ULL >> 11) * 0x1p-53);
  double sum = 0;
  for (std::uint64_t n = 0; n < 10000; ++n) {
    const double u = uniform(7, n);
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    sum += u;
  }
  CHECK(sum / 10000 == doctest::Approx(0.5).epsilon(0.02));
}

TEST_CASE("greedy takes the likeliest, the lowest id of equals") {
  Sampler sampler({.temperature = 0}, 5);
  CHECK(sampler.sample(std::vector<float>{1, 3, 2, 3, 0}) == 1);
  CHECK(sampler.sample(std::vector<float>{0, 0, 0, 0, 0}) == 0);
  CHECK(sampler.sample(std::vector<float>{-INFINITY, -INFINITY, -5, -INFINITY, -6}) == 2);
}

TEST_CASE("temperature scales the logits") {
  const auto cold = frequencies({.temperature = 0.5, .seed = 3}, logs({0.5, 0.3, 0.2}), 20000);
  // p^2, normalised
  CHECK(cold.at(0) == doctest::Approx(0.25 / 0.38).epsilon(0.03));
  CHECK(cold.at(1) == doctest::Approx(0.09 / 0.38).epsilon(0.05));
  CHECK(cold.at(2) == doctest::Approx(0.04 / 0.38).epsilon(0.08));
  // So cold that the differences overflow: the likeliest alone is left.
  CHECK(frequencies({.temperature = 1e-300}, logs({0.5, 0.3, 0.2}), 10).at(0) == doctest::Approx(1));
}

TEST_CASE("top-k keeps exactly k, ties by ascending id") {
  const auto drawn = frequencies({.temperature = 1, .top_k = 2}, {1, 2, 2, 2, 0}, 4000);
  CHECK(drawn.size() == 2);
  CHECK(drawn.at(1) == doctest::Approx(0.5).epsilon(0.06));
  CHECK(drawn.at(2) == doctest::Approx(0.5).epsilon(0.06));
  CHECK(frequencies({.temperature = 1, .top_k = 9}, {1, 1, 1}, 1000).size() == 3);
}

TEST_CASE("top-p keeps the likeliest tokens until their sum reaches p") {
  const std::vector<float> logits = logs({0.1, 0.4, 0.2, 0.3});
  CHECK(frequencies({.temperature = 1, .top_p = 0.65}, logits, 4000).size() == 2);
  CHECK(frequencies({.temperature = 1, .top_p = 0.75}, logits, 4000).size() == 3);
  CHECK(frequencies({.temperature = 1, .top_p = 0.95}, logits, 4000).size() == 4);
  const auto one = frequencies({.temperature = 1, .top_p = 0}, logits, 100);
  CHECK(one.size() == 1);
  CHECK(one.count(1) == 1);
  // after temperature: 0.4^2 : 0.3^2 : 0.2^2 : 0.1^2 = 16 : 9 : 4 : 1
  CHECK(frequencies({.temperature = 0.5, .top_p = 0.8}, logits, 4000).size() == 2);
}

TEST_CASE("top-p counts what top-k left") {
  // Of the two kept, 0.4 / 0.7 = 0.57: alone enough for 0.5, not for 0.6.
  const std::vector<float> logits = logs({0.1, 0.4, 0.2, 0.3});
  CHECK(frequencies({.temperature = 1, .top_k = 2, .top_p = 0.5}, logits, 1000).size() == 1);
  CHECK(frequencies({.temperature = 1, .top_k = 2, .top_p = 0.6}, logits, 1000).size() == 2);
}

TEST_CASE("min-p is relative to the likeliest token") {
  const std::vector<float> logits = logs({0.1, 0.4, 0.2, 0.3});
  CHECK(frequencies({.temperature = 1, .min_p = 0.45}, logits, 4000).size() == 3);
  CHECK(frequencies({.temperature = 1, .min_p = 1}, logits, 100).size() == 1);
}

TEST_CASE("the repetition penalty divides positive and multiplies negative logits, once for each token") {
  Sampler sampler({.temperature = 0, .repetition_penalty = 2}, 3);
  const std::vector<float> logits = {4, 3, -1};
  CHECK(sampler.sample(logits) == 0);
  sampler.accept(0);
  sampler.accept(0);
  CHECK(sampler.sample(logits) == 1);  // 2, 3, -1
  sampler.accept(1);
  CHECK(sampler.sample(logits) == 0);  // 2, 1.5, -1
  sampler.accept(2);
  CHECK(sampler.sample(std::vector<float>{-1.5F, -1.9F, -1}) == 2);  // -3, -3.8, -2
  sampler.accept(99);
  sampler.accept(-1);
}

TEST_CASE("the same seed draws the same tokens, another seed others") {
  std::vector<float> logits(1000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7);
  const auto drawn = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .top_p = 0.9, .seed = seed}, logits.size());
    std::vector<TokenId> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(sampler.sample(logits));
    return ids;
  };
  CHECK(drawn(1) == drawn(1));
  CHECK(drawn(1) != drawn(2));
}

TEST_CASE("one draw for each token: truncation that keeps all changes nothing") {
  std::vector<float> logits(300);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(i));
  Sampler plain({.temperature = 1, .seed = 5}, logits.size());
  Sampler truncating({.temperature = 1, .top_k = 300, .top_p = 1 - 1e-12, .min_p = 1e-9, .seed = 5},
                     logits.size());
  bool same = true;
  for (int i = 0; i < 200; ++i) same = same && plain.sample(logits) == truncating.sample(logits);
  CHECK(same);
}

TEST_CASE("logits that are no numbers are an error") {
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(message({1, std::nanf(""), 2}).find("NaN (first at token 1)") != std::string::npos);
  CHECK(message({std::nanf(""), 1}).find("NaN (first at token 0)") != std::string::npos);
  CHECK(message({1, 2, inf}).find("infinity (first at token 2)") != std::string::npos);
  CHECK(message({-inf, -inf}).find("minus infinity") != std::string::npos);
  CHECK(message({}) != "no error");
}
