// Figures about loads, each against one that was computed by hand or by numpy (the lines beside them tell
// how).
#include "routing/statistics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

using namespace baleen;
using doctest::Approx;

namespace {

LayerLoad layer_of(std::vector<std::uint64_t> load, std::uint64_t tokens, std::size_t top_k,
                   std::size_t layer = 0) {
  return {.layer = layer, .load = std::move(load), .tokens = tokens, .top_k = top_k};
}

// `tokens` draws of `top_k` different ones of `experts`, all equally likely.
LayerLoad draw(std::mt19937& random, std::size_t experts, std::size_t top_k, std::uint64_t tokens) {
  LayerLoad layer = layer_of(std::vector<std::uint64_t>(experts), tokens, top_k);
  std::vector<std::uint32_t> order(experts);
  for (std::size_t e = 0; e < experts; ++e) order[e] = static_cast<std::uint32_t>(e);
  for (std::uint64_t t = 0; t < tokens; ++t)
    for (std::size_t i = 0; i < top_k; ++i) {
      std::swap(order[i], order[i + random() % (experts - i)]);
      ++layer.load[order[i]];
    }
  return layer;
}

}  // namespace

TEST_CASE("figures of a load, as numpy computes them") {
  // x = [7,0,3,12,5,5,1,31]; u = x / x.mean(); u.max() - 1; u.std(); -(p log p).sum() / log 8;
  // abs(x[:,None] - x).mean() / 2 / x.mean(); quantile(u, [.05,.25,.5,.75,.95])
  const LoadStatistics s = load_statistics(std::vector<std::uint64_t>{7, 0, 3, 12, 5, 5, 1, 31});
  CHECK(s.mean == 8);
  CHECK(s.max_vio == Approx(2.875));
  CHECK(s.cv == Approx(1.1709371246996996));
  CHECK(s.entropy == Approx(0.7279932888745452));
  CHECK(s.gini == Approx(0.5546875));
  CHECK(s.dead == 1);
  const std::array<double, 5> quantiles = {0.04375, 0.3125, 0.625, 1.03125, 3.04375};
  for (std::size_t i = 0; i < quantiles.size(); ++i) CHECK(s.quantiles[i] == Approx(quantiles[i]));
}

TEST_CASE("even and one-sided loads are the extremes") {
  for (const std::size_t experts : {2, 8, 256}) {
    CAPTURE(experts);
    const LoadStatistics even = load_statistics(std::vector<std::uint64_t>(experts, 17));
    CHECK(even.max_vio == 0);
    CHECK(even.cv == 0);
    CHECK(even.entropy == Approx(1));
    CHECK(even.gini == Approx(0));
    CHECK(even.dead == 0);
    std::vector<std::uint64_t> one(experts);
    one[experts / 2] = 99;
    const LoadStatistics alone = load_statistics(one);
    CHECK(alone.max_vio == Approx(static_cast<double>(experts - 1)));
    CHECK(alone.cv == Approx(std::sqrt(static_cast<double>(experts - 1))));
    CHECK(alone.entropy == 0);
    CHECK(alone.gini == Approx(static_cast<double>(experts - 1) / static_cast<double>(experts)));
    CHECK(alone.dead == experts - 1);
  }
  const LoadStatistics none = load_statistics(std::vector<std::uint64_t>(4));
  CHECK(none.dead == 4);
  CHECK(none.max_vio == 0);
}

TEST_CASE("MaxVio by chance is what balanced routers show") {
  std::mt19937 random(1);
  double sum = 0;
  for (int i = 0; i < 200; ++i) {
    const LayerLoad layer = draw(random, 64, 6, 500);
    sum += load_statistics(layer.load).max_vio;
  }
  CHECK(max_vio_by_chance(layer_of(std::vector<std::uint64_t>(64), 500, 6)) ==
        Approx(sum / 200).epsilon(0.1));
}

TEST_CASE("Jensen-Shannon divergence, in bits, as numpy computes it") {
  const LayerLoad x = layer_of({7, 0, 3, 12, 5, 5, 1, 31}, 64, 1);
  const LayerLoad y = layer_of({2, 9, 3, 4, 15, 5, 20, 6}, 64, 1);
  const LayerLoad z = layer_of({1, 1, 1, 1, 1, 1, 1, 57}, 64, 1);
  const auto js = [](std::vector<const LayerLoad*> loads) { return jensen_shannon(loads); };
  CHECK(js({&x, &y}).bits == Approx(0.36293850842449915));
  CHECK(js({&x, &y, &z}).bits == Approx(0.5018239182460089));
  CHECK(js({&x, &x}).bits == Approx(0));
  const LayerLoad left = layer_of({4, 4, 0, 0}, 8, 1);
  const LayerLoad right = layer_of({0, 0, 1, 9}, 10, 1);
  CHECK(js({&left, &right}).bits == Approx(1));
  // (8 alive - 1) / 2 x 1/4 x (1/64 + 1/64) / ln 2
  CHECK(js({&x, &y}).noise == Approx(7.0 / 2 / 4 / 32 / M_LN2));
}

TEST_CASE("two samples of one distribution differ by their noise") {
  std::mt19937 random(2);
  double bits = 0;
  double noise = 0;
  for (int i = 0; i < 300; ++i) {
    const LayerLoad a = draw(random, 16, 4, 200);
    const LayerLoad b = draw(random, 16, 4, 500);
    const LayerLoad c = draw(random, 16, 4, 300);
    const std::vector<const LayerLoad*> all = {&a, &b, &c};
    bits += jensen_shannon(all).bits;
    noise += jensen_shannon(all).noise;
  }
  CHECK(bits == Approx(noise).epsilon(0.05));
}

TEST_CASE("the largest movers, in standard errors") {
  const std::vector<LayerLoad> before = {layer_of({25, 25, 25, 25}, 100, 1, 3)};
  const std::vector<LayerLoad> after = {layer_of({120, 100, 40, 140}, 400, 1, 3)};
  const std::vector<Mover> movers = largest_movers(before, after, 2);
  REQUIRE(movers.size() == 2);
  CHECK(movers[0].layer == 3);
  CHECK(movers[0].expert == 2);
  CHECK(movers[0].before == 1);
  CHECK(movers[0].after == Approx(0.4));
  CHECK(movers[1].expert == 3);
  // p = 65/500; (0.1 - 0.25) / sqrt(p (1 - p) (1/100 + 1/400))
  CHECK(movers[0].z == Approx(-0.15 / std::sqrt(0.13 * 0.87 * 0.0125)));
}

TEST_CASE("an expert that one label prefers, and nobody else's") {
  // Of 100 tokens 30 went to expert 1, of the other label's 400 only 40: z = 5.15539262226467 and
  // p = 2.531000455701955e-07 for one test; four are made.
  const std::vector<LabelLoad> labels = {{"a", {layer_of({70, 30}, 100, 1, 2)}},
                                         {"b", {layer_of({360, 40}, 400, 1, 2)}}};
  const std::vector<Preference> all = label_preferences(labels, 0.01);
  REQUIRE(all.size() == 2);
  CHECK(all[0].expert == 1);
  CHECK(all[0].label == 0);
  CHECK(all[0].layer == 2);
  CHECK(all[0].rate == Approx(0.3));
  CHECK(all[0].other_rate == Approx(0.1));
  CHECK(all[0].ratio == Approx(30.5 / 100.5 / (40.5 / 400.5)));
  CHECK(all[0].p == Approx(4 * 2.531000455701955e-07));
  CHECK(all[1].expert == 0);
  CHECK(all[1].label == 1);
  CHECK(label_preferences(labels, 1e-9).empty());
}

TEST_CASE("labels on random tokens prefer nothing") {
  std::mt19937 random(3);
  std::vector<LabelLoad> labels;
  for (const char* name : {"a", "b", "c"}) {
    labels.push_back({name, {}});
    for (std::size_t l = 0; l < 8; ++l) labels.back().layers.push_back(draw(random, 64, 6, 400));
  }
  CHECK(label_preferences(labels, 0.01).empty());
}
