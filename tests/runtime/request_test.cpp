#include "runtime/request.h"

#include <doctest/doctest.h>

using namespace baleen;

TEST_CASE("what a line says wins, what it leaves out stays") {
  const RequestOptions base = {.n = 256,
                               .stop = {{"a", "b"}},
                               .ignore_eos = true,
                               .temp = 0.5,
                               .top_k = 4,
                               .top_p = 0.9,
                               .min_p = 0.1,
                               .repeat_penalty = 1.1,
                               .seed = 7,
                               .greedy = {},
                               .think_budget = 100,
                               .logprobs = 2};
  const RequestOptions line = {.n = -1,
                               .stop = std::vector<std::string>{},
                               .ignore_eos = false,
                               .temp = 0.0,
                               .top_k = 0,
                               .top_p = 1.0,
                               .min_p = 0.0,
                               .repeat_penalty = 1.0,
                               .seed = 0,
                               .greedy = {},
                               .think_budget = 0,
                               .logprobs = 0};
  CHECK(over(base, {}) == base);
  CHECK(over({}, base) == base);
  CHECK(over(base, line) == line);
}

TEST_CASE("greedy and temp are settled by the place that gives one of them") {
  const GenerationConfig none;
  const auto temperature = [&](const RequestOptions& base, const RequestOptions& line) {
    return choose_sampling(over(base, line), none, 0).temperature;
  };
  CHECK(temperature({.greedy = true}, {.temp = 0.4}) == 0.4);
  CHECK(temperature({.greedy = true}, {.top_p = 0.5}) == 0);
  CHECK(temperature({.greedy = true}, {.greedy = false}) == 0.7);
  CHECK(temperature({.greedy = true}, {.temp = 0.4, .greedy = false}) == 0.4);
  CHECK(temperature({.temp = 0.4}, {.greedy = true}) == 0);
  CHECK(temperature({.temp = 0.4}, {.greedy = false}) == 0.4);
  CHECK(temperature({.temp = 0.0}, {.greedy = false}) == 0.7);
  CHECK(temperature({.temp = 0.4}, {.temp = 0.0, .greedy = false}) == 0);
  CHECK_FALSE(contradicts_itself(over({.temp = 0.4}, {.greedy = true})));
  CHECK_FALSE(contradicts_itself(over({.greedy = true}, {.temp = 0.4})));
  CHECK(contradicts_itself({.temp = 0.4, .greedy = true}));
  CHECK_FALSE(contradicts_itself({.temp = 0.0, .greedy = true}));
  CHECK_FALSE(contradicts_itself({.temp = 0.4, .greedy = false}));
}

TEST_CASE("what nobody asks for is as the model's authors say") {
  GenerationConfig defaults;
  defaults.temperature = 0.6;
  defaults.top_k = 40;
  defaults.top_p = 0.8;
  defaults.min_p = 0.05;
  defaults.repetition_penalty = 1.2;
  const SamplingOptions theirs = choose_sampling({}, defaults, 99);
  CHECK(theirs.temperature == 0.6);
  CHECK(theirs.top_k == 40);
  CHECK(theirs.top_p == 0.8);
  CHECK(theirs.min_p == 0.05);
  CHECK(theirs.repetition_penalty == 1.2);
  CHECK(theirs.seed == 99);
  const SamplingOptions asked = choose_sampling(
      {.temp = 1.5, .top_k = 0, .top_p = 1.0, .min_p = 0.0, .repeat_penalty = 1.0, .seed = 3}, defaults, 99);
  CHECK(asked.temperature == 1.5);
  CHECK(asked.top_k == 0);
  CHECK(asked.top_p == 1);
  CHECK(asked.min_p == 0);
  CHECK(asked.repetition_penalty == 1);
  CHECK(asked.seed == 3);
  CHECK(choose_sampling({}, {}, 0).temperature == 0.7);
  CHECK(choose_sampling({}, {}, 0).top_p == 0.95);

  defaults.do_sample = false;
  CHECK(choose_sampling({}, defaults, 0).temperature == 0);
  CHECK(choose_sampling({.seed = 5}, defaults, 0).temperature == 0);
  for (const RequestOptions& asks :
       {RequestOptions{.temp = 0.6}, {.top_k = 3}, {.top_p = 0.5}, {.min_p = 0.1}})
    CHECK(choose_sampling(asks, defaults, 0).temperature == 0.6);
  CHECK(choose_sampling({.greedy = false}, defaults, 0).temperature == 0.6);
  defaults.temperature = 0.0;
  CHECK(choose_sampling({.greedy = false}, defaults, 0).temperature == 0.7);
}
