#include <doctest/doctest.h>

#include <cmath>

#include "model/rope.h"

using namespace baleen;

TEST_CASE("plain frequencies fall from 1 towards 1 / theta") {
  RopeConfig rope;
  rope.theta = 10000;
  const auto f = inverse_frequencies(rope, 8);
  REQUIRE(f.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(f[i] == doctest::Approx(std::pow(10000.0, -0.25 * i)));
}

TEST_CASE("linear divides all, yarn keeps the fast and divides the slow") {
  RopeConfig rope;
  rope.factor = 8;
  rope.original_max_position_embeddings = 4096;
  const auto plain = inverse_frequencies(rope, 64);
  rope.type = RopeType::linear;
  const auto linear = inverse_frequencies(rope, 64);
  rope.type = RopeType::yarn;
  const auto yarn = inverse_frequencies(rope, 64);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    CHECK(linear[i] == doctest::Approx(plain[i] / 8));
    CHECK(yarn[i] <= plain[i]);
    CHECK(yarn[i] >= linear[i] * 0.999999f);
  }
  CHECK(yarn.front() == plain.front());
  CHECK(yarn.back() == doctest::Approx(linear.back()));
}

TEST_CASE("both layouts turn a pair by the same angle and keep its length") {
  RopeConfig rope;
  const auto f = inverse_frequencies(rope, 4);
  float cos[2], sin[2];
  rotation(rope, f, 3, cos, sin);
  float interleaved[] = {1, 0, 0, 2};
  rotate(RopeLayout::interleaved, interleaved, 2, cos, sin);
  CHECK(interleaved[0] == doctest::Approx(std::cos(3.0)));
  CHECK(interleaved[1] == doctest::Approx(std::sin(3.0)));
  CHECK(interleaved[2] == doctest::Approx(-2 * std::sin(0.03)));
  CHECK(interleaved[3] == doctest::Approx(2 * std::cos(0.03)));
  float half_split[] = {1, 0, 0, 2};
  rotate(RopeLayout::half_split, half_split, 2, cos, sin);
  CHECK(half_split[0] == doctest::Approx(std::cos(3.0)));
  CHECK(half_split[2] == doctest::Approx(std::sin(3.0)));
  CHECK(half_split[1] == doctest::Approx(-2 * std::sin(0.03)));
  CHECK(half_split[3] == doctest::Approx(2 * std::cos(0.03)));
}

TEST_CASE("the attention factor scales cos and sin") {
  RopeConfig rope;
  rope.attention_factor = 1.5;
  const auto f = inverse_frequencies(rope, 2);
  float cos, sin;
  rotation(rope, f, 0, &cos, &sin);
  CHECK(cos == doctest::Approx(1.5));
  CHECK(sin == 0);
}
