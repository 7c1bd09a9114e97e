#include "runtime/logprobs.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace baleen;

TEST_CASE("log-softmax of the logits, and the likeliest in order") {
  std::vector<float> logits;
  for (const double p : {0.1, 0.4, 0.2, 0.3}) logits.push_back(static_cast<float>(std::log(p) + 1000));
  const TokenLogprobs result = token_logprobs(logits, 2, 3);
  CHECK(result.id == 2);
  CHECK(*result.logprob == doctest::Approx(std::log(0.2)).epsilon(1e-4));
  REQUIRE(result.top.size() == 3);
  CHECK(result.top[0].first == 1);
  CHECK(result.top[1].first == 3);
  CHECK(result.top[2].first == 2);
  CHECK(result.top[2].second == *result.logprob);
}

TEST_CASE("equal logits rank by id; more asked than there are") {
  const TokenLogprobs result = token_logprobs(std::vector<float>{1, 2, 2}, 0, 10);
  REQUIRE(result.top.size() == 3);
  CHECK(result.top[0].first == 1);
  CHECK(result.top[1].first == 2);
  CHECK(result.top[2].first == 0);
  CHECK(token_logprobs(std::vector<float>{1, 2, 2}, 0, 0).top.empty());
}
