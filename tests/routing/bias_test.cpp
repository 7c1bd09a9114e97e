// DeepSeek-V3's step of the correction bias, and replays of a layer's choice.
#include "routing/bias.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "error.h"

using namespace baleen;

namespace {

Config router(std::size_t experts, std::size_t k, std::size_t groups = 1, std::size_t kept = 1) {
  Config c;
  c.n_routed_experts = experts;
  c.num_experts_per_tok = k;
  c.scoring_func = ScoringFunc::sigmoid;
  c.topk_method = TopkMethod::noaux_tc;
  c.n_group = groups;
  c.topk_group = kept;
  return c;
}

std::vector<std::uint32_t> experts(std::span<const Choice> choices) {
  std::vector<std::uint32_t> e;
  for (const Choice& c : choices) e.push_back(c.expert);
  return e;
}

double max_vio(const LayerLoad& l) {
  const double mean = static_cast<double>(l.tokens * l.top_k) / static_cast<double>(l.load.size());
  return static_cast<double>(*std::max_element(l.load.begin(), l.load.end())) / mean - 1;
}

}  // namespace

TEST_CASE("overloaded experts go down by gamma, underloaded up, the mean stays") {
  const std::vector<std::uint64_t> load = {30, 10, 20, 20};
  const std::vector<float> bias = {0.5f, -1.0f, 0.25f, 0.0f};
  CHECK(suggest_bias(load, bias, 0.125f) == std::vector<float>{0.375f, -0.875f, 0.25f, 0.0f});
  CHECK(suggest_bias(load, {}, 0.125f) == std::vector<float>{-0.125f, 0.125f, 0, 0});
  CHECK(suggest_bias(load, bias, 0) == bias);
  CHECK(suggest_bias(std::vector<std::uint64_t>(4, 7), bias, 0.125f) == bias);
}

TEST_CASE("the mean is compared exactly, also where it is no whole number or no float") {
  // mean 7 / 3: 2 lies below, 3 above.
  CHECK(suggest_bias(std::vector<std::uint64_t>{2, 2, 3}, {}, 1) == std::vector<float>{1, 1, -1});
  const std::uint64_t large = std::uint64_t{1} << 60;
  CHECK(suggest_bias(std::vector<std::uint64_t>{large, large - 1, large + 1}, {}, 1) ==
        std::vector<float>{0, 1, -1});
  CHECK(suggest_bias({}, {}, 1).empty());
  CHECK_THROWS_WITH_AS(suggest_bias(std::vector<std::uint64_t>{1, 2}, std::vector<float>{0}, 1),
                       "bias: 1 values, expected one for each of the 2 experts", UsageError);
}

TEST_CASE("a bias moves the choice and is replayed with groups as the model chooses") {
  BiasSimulation plain(router(4, 2), 3, {});
  CHECK(experts(plain.add(std::vector<float>{0.9f, 0.8f, 0.2f, 0.1f})) == std::vector<std::uint32_t>{0, 1});
  BiasSimulation biased(router(4, 2), 3, {0, -1, 0, 0});
  CHECK(experts(biased.add(std::vector<float>{0.9f, 0.8f, 0.2f, 0.1f})) == std::vector<std::uint32_t>{0, 2});
  // One group of two: {0, 1} has the larger sum, until the bias takes it away.
  BiasSimulation grouped(router(4, 2, 2, 1), 3, {0, 0, 0.5f, 0.5f});
  CHECK(experts(grouped.add(std::vector<float>{0.9f, 0.8f, 0.2f, 0.1f})) == std::vector<std::uint32_t>{0, 1});
  CHECK(experts(grouped.add(std::vector<float>{0.7f, 0.6f, 0.2f, 0.2f})) == std::vector<std::uint32_t>{2, 3});
  CHECK(grouped.load().layer == 3);
  CHECK(grouped.load().load == std::vector<std::uint64_t>{1, 1, 1, 1});
  CHECK(grouped.load().tokens == 2);
  CHECK(grouped.load().top_k == 2);
}

TEST_CASE("a replay with the bias of the run gives the choices of the run") {
  const Config c = router(32, 4, 8, 3);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> bias(32);
  for (float& b : bias) b = 0.05f * normal(random);
  BiasSimulation simulation(c, 0, bias);
  for (int token = 0; token < 200; ++token) {
    std::vector<float> logits(32), scores;
    for (float& x : logits) x = normal(random);
    scores = logits;
    score_experts(c, scores);
    std::vector<Choice> chosen(4);
    route(c, logits, bias, chosen);
    CHECK(experts(simulation.add(scores)) == experts(chosen));
  }
}

TEST_CASE("steps of the rule, each simulated, bring a skewed layer towards balance") {
  const Config c = router(16, 2);
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> tokens(500, std::vector<float>(16));
  for (auto& scores : tokens) {
    for (std::size_t e = 0; e < 16; ++e) scores[e] = normal(random) + 0.15f * static_cast<float>(e);
    score_experts(c, scores);
  }
  std::vector<float> bias(16, 0);
  const auto simulate = [&] {
    BiasSimulation simulation(c, 0, bias);
    for (const auto& scores : tokens) simulation.add(scores);
    return simulation.load();
  };
  const double before = max_vio(simulate());
  for (int step = 0; step < 60; ++step) bias = suggest_bias(simulate().load, bias, 0.01f);
  CHECK(before > 1);
  CHECK(max_vio(simulate()) < 0.2 * before);
}

TEST_CASE("what cannot be simulated is refused") {
  Config c = router(4, 2);
  CHECK_THROWS_WITH_AS(BiasSimulation(c, 7, {0, 0, 0}),
                       "bias of layer 7: 3 values, expected one for each of the 4 experts", UsageError);
  BiasSimulation simulation(c, 7, {});
  CHECK_THROWS_WITH_AS(simulation.add(std::vector<float>(5)),
                       "scores of layer 7: 5 values, expected one for each of the 4 experts", UsageError);
  c.topk_method = TopkMethod::group_limited_greedy;
  CHECK_THROWS_AS(BiasSimulation(c, 7, {}), UsageError);
}
