#include "routing/tally.h"

#include <doctest/doctest.h>

#include <random>

#include "error.h"

using namespace baleen;
using doctest::Approx;

namespace {

const RouteHeader header{.model = "m", .layers = {1, 4}, .experts = 6, .top_k = 2};

RouteToken token_of(std::vector<std::uint32_t> experts) {
  RouteToken token;
  token.experts = std::move(experts);
  return token;
}

}  // namespace

TEST_CASE("loads sum to tokens x top-k") {
  Tally tally(header);
  tally.add(token_of({0, 5, 1, 2}));
  tally.add(token_of({0, 1, 1, 2}));
  RouteCounts counts{.tokens = 3, .load = {3, 3, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}};
  tally.add(counts);
  CHECK(tally.tokens() == 5);
  CHECK(tally.layers()[0].layer == 1);
  CHECK(tally.layers()[0].load == std::vector<std::uint64_t>{5, 4, 0, 0, 0, 1});
  CHECK(tally.layers()[1].load == std::vector<std::uint64_t>{1, 3, 3, 1, 1, 1});
}

TEST_CASE(
    "loads of other files: the same layer adds up, another one is put in its place, another model is "
    "refused") {
  Tally tally;
  tally.add({.layer = 4, .load = {1, 2}, .tokens = 3, .top_k = 1});
  tally.add({.layer = 1, .load = {5, 5}, .tokens = 10, .top_k = 1});
  tally.add({.layer = 4, .load = {10, 20}, .tokens = 30, .top_k = 1});
  REQUIRE(tally.layers().size() == 2);
  CHECK(tally.layers()[0].layer == 1);
  CHECK(tally.layers()[1].load == std::vector<std::uint64_t>{11, 22});
  CHECK_THROWS_AS(tally.add({.layer = 4, .load = {1, 2, 3}, .tokens = 6, .top_k = 1}), Error);
  CHECK_THROWS_AS(tally.add({.layer = 4, .load = {1, 1}, .tokens = 1, .top_k = 2}), Error);
}

TEST_CASE("keys beyond the memory are counted apart") {
  KeyedTally keyed(header, 3 * 12 * sizeof(std::uint64_t));
  for (const char* key : {"a", "b", "a", "c", "d", "d", "e", "b"}) keyed[key].add(token_of({0, 1, 2, 3}));
  REQUIRE(keyed.entries().size() == 3);
  CHECK(keyed.entries()[0].key == "a");
  CHECK(keyed.entries()[0].tally.tokens() == 2);
  CHECK(keyed.entries()[1].tally.tokens() == 2);
  CHECK(keyed.entries()[2].tally.tokens() == 1);
  CHECK(keyed.left_out() == 3);
}

TEST_CASE("halves are equal and in order, however many tokens come") {
  for (const std::size_t tokens : {2, 3, 10, 63, 64, 65, 127, 128, 129, 1000, 4097}) {
    CAPTURE(tokens);
    HalvesTally halves(header);
    for (std::size_t i = 0; i < tokens; ++i)
      halves.add(token_of(2 * i < tokens ? std::vector<std::uint32_t>{0, 1, 2, 3}
                                         : std::vector<std::uint32_t>{2, 3, 4, 5}));
    const std::vector<LayerLoad> first = halves.first();
    const std::vector<LayerLoad> second = halves.second();
    CHECK(first[0].tokens + second[0].tokens == tokens);
    CHECK(std::abs(static_cast<double>(first[0].tokens) - tokens / 2.0) <= std::max(1.0, tokens / 64.0));
    // What does not belong to a half is in it only as far as the halves do not part in the middle.
    CHECK(first[1].load[4] <= tokens / 64 + 1);
    CHECK(second[1].load[2] <= tokens / 64 + 1);
    CHECK(first[1].load[2] + second[1].load[2] == (tokens + 1) / 2);
  }
}

TEST_CASE("pairs above chance") {
  // Experts 0 and 1 always together in half of the tokens; the others any pair of 2 to 5.
  std::mt19937 random(4);
  PairTally pairs({.model = "m", .layers = {1, 4}, .experts = 6, .top_k = 2}, SIZE_MAX);
  const auto any_pair = [&](std::uint32_t from, std::uint32_t count) {
    const auto a = static_cast<std::uint32_t>(random() % count);
    const auto b = static_cast<std::uint32_t>((a + 1 + random() % (count - 1)) % count);
    return std::pair(from + std::min(a, b), from + std::max(a, b));
  };
  for (int i = 0; i < 4000; ++i) {
    const auto [a, b] = i % 2 == 0 ? std::pair(0u, 1u) : any_pair(2, 4);
    const auto [c, d] = any_pair(0, 6);
    pairs.add(token_of({a, b, c, d}));
  }
  const std::vector<Pair> found = pairs.above_chance(4);
  // In layer 1 expected for 0 and 1: loads 2000 each and four of about 1000. Sum of products of all pairs:
  // 2000^2 + 8 x 2000 x 1000 + 6 x 1000^2 = 26e6; 4e6 / 26e6 x 4000 = 615.
  REQUIRE(!found.empty());
  CHECK(found[0].layer == 1);
  CHECK(found[0].a == 0);
  CHECK(found[0].b == 1);
  CHECK(found[0].tokens == 2000);
  CHECK(found[0].expected == Approx(615.4).epsilon(0.01));
  CHECK(found[0].z > 30);
  for (const Pair& pair : found) CHECK(pair.layer == 1);  // layer 4 has none
  CHECK(PairTally(header, 4).above_chance(-100).empty());
}
