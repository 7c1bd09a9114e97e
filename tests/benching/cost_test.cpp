#include "bench/cost.h"

#include <doctest/doctest.h>

#include <cmath>

#include "error.h"

using namespace baleen;

TEST_CASE("DeepSeek's published day") {
  const double nodes = 226.75;
  const Volume day{.in = 608e9, .cached = 342e9, .out = 168e9, .hours = 24};
  const Books books = keep_books(day, {.in = 0.55, .cached = 0.14, .out = 2.19}, nodes * 8 * 2);
  CHECK(books.cost == doctest::Approx(87072));
  CHECK(books.income_in == doctest::Approx(146300));
  CHECK(books.income_cached == doctest::Approx(47880));
  CHECK(books.income_out == doctest::Approx(367920));
  CHECK(books.income() == doctest::Approx(562100));
  CHECK(std::floor(100 * books.cost_profit_ratio()) == 545);
}

TEST_CASE("a million tokens") {
  CHECK(cost_per_million(1000, 3.6) == doctest::Approx(1.0));
}

TEST_CASE("an hour of requests") {
  // 100 tokens in at 1000 a second and 10 out at 100 a second: 0.2 s.
  const Volume hour = full_hour({.in = 100, .out = 10}, {.in = 1000, .out = 100});
  CHECK(hour.in == doctest::Approx(100 * 18000.0));
  CHECK(hour.out == doctest::Approx(10 * 18000.0));
  CHECK(hour.hours == 1);
}

TEST_CASE("breaking even") {
  // Bought, a request costs 100 / 1e6 * 1 + 10 / 1e6 * 10 = 0.0002; the machine costs 24 a day: 120,000
  // requests.
  const Request request{.in = 100, .out = 10};
  const BreakEven even = break_even(request, {.in = 1000, .out = 100}, {.in = 1, .cached = 1, .out = 10}, 1);
  CHECK(even.tokens_per_day == doctest::Approx(120000 * 110.0));
  CHECK(even.share_of_capacity == doctest::Approx(120000 * 0.2 / 86400));
  // At that volume a day of the machine costs as much as the tokens.
  const Books bought =
      keep_books({.in = 120000 * 100.0, .out = 120000 * 10.0, .hours = 24}, {.in = 1, .out = 10}, 1);
  CHECK(bought.profit() == doctest::Approx(0));
}

TEST_CASE("price lists") {
  const PriceList list = parse_price_list(
      R"({"schema": 1, "date": "2025-02", "currency": "USD",
          "models": [{"name": "A", "price_in": 0.5, "price_out": 2},
                     {"name": "B", "price_in": 1, "price_cached": 0.1, "price_out": 3}]})",
      "prices.json");
  REQUIRE(list.models.size() == 2);
  CHECK(list.date == "2025-02");
  CHECK(list.models[0].name == "A");
  CHECK(list.models[0].prices.cached == 0.5);
  CHECK(list.models[1].prices.cached == 0.1);
  CHECK(list.models[1].prices.out == 3);
  for (const char* bad : {R"({})", R"({"models": []})", R"({"models": [1]})",
                          R"({"schema": 2, "models": [{"name": "A", "price_in": 1, "price_out": 1}]})",
                          R"({"models": [{"name": "A", "price_in": 0, "price_out": 1}]})",
                          R"({"models": [{"name": "A", "price_in": 1}]})",
                          R"({"models": [{"price_in": 1, "price_out": 1}]})", R"([])"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_price_list(bad, "prices.json"), FormatError);
  }
}
