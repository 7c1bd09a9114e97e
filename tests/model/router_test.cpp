// The router's equations on numbers small enough to check by hand.
#include "model/router.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

using namespace baleen;

namespace {

Config sigmoid_router(std::size_t experts, std::size_t k) {
  Config c;
  c.n_routed_experts = experts;
  c.num_experts_per_tok = k;
  c.scoring_func = ScoringFunc::sigmoid;
  c.topk_method = TopkMethod::noaux_tc;
  return c;
}

std::vector<Choice> choose(const Config& c, std::vector<float> logits, std::vector<float> bias = {}) {
  std::vector<Choice> chosen(c.num_experts_per_tok);
  route(c, logits, bias, chosen);
  return chosen;
}

float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

TEST_CASE("the bias chooses, the unbiased score weighs") {
  const Config c = sigmoid_router(4, 2);
  const auto chosen = choose(c, {2, 1, 0, -1}, {0, 0, 0, 1});
  CHECK(chosen[0].expert == 0);
  CHECK(chosen[0].weight == doctest::Approx(sigmoid(2)));
  CHECK(chosen[1].expert == 3);
  CHECK(chosen[1].weight == doctest::Approx(sigmoid(-1)));
}

TEST_CASE("combine weights are normalized, then scaled") {
  Config c = sigmoid_router(3, 2);
  c.norm_topk_prob = true;
  c.routed_scaling_factor = 2.5;
  const auto chosen = choose(c, {1, 0, -3}, {0, 0, 0});
  const float sum = sigmoid(1) + sigmoid(0);
  CHECK(chosen[0].weight == doctest::Approx(2.5 * sigmoid(1) / sum));
  CHECK(chosen[1].weight == doctest::Approx(2.5 * sigmoid(0) / sum));
}

TEST_CASE("groups: V3 ranks them by their two best, V2 by the best") {
  Config c = sigmoid_router(6, 2);
  c.n_group = 2;
  c.topk_group = 1;
  // Group 0 holds the best expert, group 1 the better pair.
  const std::vector<float> logits = {3, -9, -9, 2, 2, -9};
  auto chosen = choose(c, logits, std::vector<float>(6, 0));
  CHECK(chosen[0].expert == 3);
  CHECK(chosen[1].expert == 4);

  c.scoring_func = ScoringFunc::softmax;
  c.topk_method = TopkMethod::group_limited_greedy;
  chosen = choose(c, logits);
  CHECK(chosen[0].expert == 0);
  CHECK(chosen[1].expert == 1);
}

TEST_CASE("a group that lost is out even where every biased score is negative") {
  Config c = sigmoid_router(4, 2);
  c.n_group = 2;
  c.topk_group = 1;
  const auto chosen = choose(c, {0, 0, 1, 1}, {-5, -5, -5, -5});
  CHECK(chosen[0].expert == 2);
  CHECK(chosen[1].expert == 3);
}

TEST_CASE("equal scores: the lower expert; one expert; all experts") {
  Config c = sigmoid_router(5, 2);
  c.scoring_func = ScoringFunc::softmax;
  c.topk_method = TopkMethod::greedy;
  auto chosen = choose(c, {0, 1, 1, 1, 0});
  CHECK(chosen[0].expert == 1);
  CHECK(chosen[1].expert == 2);
  c.num_experts_per_tok = 5;
  chosen = choose(c, {0, 1, 1, 1, 0});
  for (std::uint32_t e = 0; e < 5; ++e) CHECK(chosen[e].expert == e);
  c.n_routed_experts = c.num_experts_per_tok = 1;
  CHECK(choose(c, {-40})[0].weight == doctest::Approx(1));
}

TEST_CASE("softmax survives large logits") {
  Config c = sigmoid_router(3, 2);
  c.scoring_func = ScoringFunc::softmax;
  c.topk_method = TopkMethod::greedy;
  const auto large = choose(c, {1000, 999, -1000});
  CHECK(large[0].weight == doctest::Approx(1 / (1 + std::exp(-1.0f))));
}

TEST_CASE("NaN in a router's row or bias is chosen, and weighs NaN") {
  Config c = sigmoid_router(4, 2);
  const std::vector<float> none(4, 0);
  for (std::size_t bad = 0; bad < 4; ++bad) {
    CAPTURE(bad);
    const auto is_seen = [&](const std::vector<float>& logits, const std::vector<float>& bias) {
      for (const Choice& choice : choose(c, logits, bias))
        if (choice.expert == bad) return std::isnan(choice.weight);
      return false;
    };
    std::vector<float> broken = none;
    broken[bad] = NAN;
    // Infinity does not hide it, nor do groups.
    for (const float others : {0.0f, 40.0f, std::numeric_limits<float>::infinity()}) {
      std::vector<float> logits(4, others);
      CHECK(is_seen(logits, broken));
      logits[bad] = NAN;
      CHECK(is_seen(logits, none));
      CHECK(is_seen(broken, std::vector<float>(4, others)));
    }
    c.n_group = 2;
    c.topk_group = 1;
    CHECK(is_seen({9, 9, 9, 9}, broken));
    CHECK(is_seen(broken, none));
    c.n_group = c.topk_group = 1;
  }
}

TEST_CASE("more NaN than experts to choose") {
  const Config c = sigmoid_router(5, 2);
  const auto chosen = choose(c, {1, NAN, NAN, 2, NAN});
  CHECK(chosen[0].expert == 1);
  CHECK(chosen[1].expert == 2);
  CHECK(std::isnan(chosen[0].weight));
}
