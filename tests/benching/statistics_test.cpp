#include "bench/statistics.h"

#include <doctest/doctest.h>

#include <vector>

using namespace baleen;

TEST_CASE("quantiles lie between neighbours") {
  const std::vector<double> samples = {4, 1, 3, 2};
  CHECK(quantile(samples, 0) == 1);
  CHECK(quantile(samples, 1) == 4);
  CHECK(quantile(samples, 0.5) == 2.5);
  CHECK(quantile(samples, 0.25) == 1.75);
  CHECK(quantile(std::vector<double>{7}, 0.99) == 7);
  CHECK(quantile(std::vector<double>{}, 0.5) == 0);
}

TEST_CASE("one disturbed run of five moves neither median nor spread") {
  const std::vector<double> samples = {1.0, 1.0, 100.0, 1.0, 1.0};
  CHECK(summarize(samples).median == 1);
  CHECK(summarize(samples).spread() == 0);
  const Summary summary = summarize(std::vector<double>{10, 8, 12, 9, 11});
  CHECK(summary.low == 9);
  CHECK(summary.median == 10);
  CHECK(summary.high == 11);
  CHECK(summary.spread() == doctest::Approx(0.2));
}
