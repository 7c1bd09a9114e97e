#include "quant/allocate.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "error.h"

using namespace baleen;
using doctest::Approx;

namespace {

using Choices = std::vector<std::size_t>;

// Some units with options anywhere: also dearer ones that are worse, and several of one size.
std::vector<Unit> random_units(std::mt19937_64& random) {
  const auto below = [&](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  std::vector<Unit> units(1 + below(5));
  for (Unit& unit : units) {
    unit.load = below(8) == 0 ? 0 : static_cast<double>(1 + below(100)) / 10;
    unit.options.resize(1 + below(4));
    for (UnitOption& option : unit.options)
      option = {.bytes = 1 + below(30), .error = static_cast<double>(below(1000)) / 7};
  }
  return units;
}

struct Total {
  std::uint64_t bytes = 0;
  double error = 0;
};
Total total(const std::vector<Unit>& units, const Choices& choices) {
  Total sum;
  for (std::size_t u = 0; u < units.size(); ++u) {
    sum.bytes += units[u].options[choices[u]].bytes;
    sum.error += units[u].load * units[u].options[choices[u]].error;
  }
  return sum;
}

template <typename See>
void each_choice(const std::vector<Unit>& units, See see) {
  Choices choices(units.size());
  while (true) {
    see(choices);
    std::size_t u = 0;
    while (u < units.size() && ++choices[u] == units[u].options.size()) choices[u++] = 0;
    if (u == units.size()) return;
  }
}

double best_error(const std::vector<Unit>& units, std::uint64_t bytes) {
  double best = 1e300;
  each_choice(units, [&](const Choices& choices) {
    const Total sum = total(units, choices);
    if (sum.bytes <= bytes) best = std::min(best, sum.error);
  });
  return best;
}

std::uint64_t least_bytes(const std::vector<Unit>& units) {
  std::uint64_t least = 0;
  for (const Unit& unit : units)
    least += std::min_element(unit.options.begin(), unit.options.end(), [](auto& a, auto& b) {
               return a.bytes < b.bytes;
             })->bytes;
  return least;
}

// No step saves more than a unit's worst error: it bounds what the step that does not fit costs.
double largest_error(const std::vector<Unit>& units) {
  double largest = 0;
  for (const Unit& unit : units)
    for (const UnitOption& option : unit.options) largest = std::max(largest, unit.load * option.error);
  return largest;
}

}  // namespace

TEST_CASE("bytes go where they save most") {
  const std::vector<Unit> units = {{.load = 1, .options = {{100, 8}, {200, 1}}},
                                   {.load = 3, .options = {{100, 8}, {200, 1}}},
                                   {.load = 2, .options = {{100, 8}, {200, 1}}}};
  CHECK(allocate(units, 1000, 1300).choices == Choices{0, 0, 0});
  CHECK(allocate(units, 1000, 1399).choices == Choices{0, 0, 0});
  CHECK(allocate(units, 1000, 1400).choices == Choices{0, 1, 0});
  CHECK(allocate(units, 1000, 1500).choices == Choices{0, 1, 1});
  const Allocation all = allocate(units, 1000, 5000);
  CHECK(all.choices == Choices{1, 1, 1});
  CHECK(all.bytes == 1600);
  CHECK(all.error == 6);
}

TEST_CASE("of equal steps the first unit's comes first, and behind one that does not fit a smaller one may") {
  const Unit unit{.load = 1, .options = {{10, 4}, {20, 1}}};
  CHECK(allocate(std::vector<Unit>{unit, unit, unit}, 0, 50).choices == Choices{1, 1, 0});
  const Unit large{.load = 1, .options = {{10, 100}, {60, 0}}};
  CHECK(allocate(std::vector<Unit>{large, unit}, 0, 40).choices == Choices{0, 1});
}

TEST_CASE("options off the hull, and those that save nothing, are not taken") {
  // 20 bytes for 1 less error are worse than 30 for 10: the middle option is skipped.
  const std::vector<Unit> bent = {{.load = 1, .options = {{10, 10}, {20, 9}, {30, 0}}}};
  CHECK(allocate(bent, 0, 25).choices == Choices{0});
  CHECK(allocate(bent, 0, 30).choices == Choices{2});
  // In any order, and of two of one size the better.
  const std::vector<Unit> mixed = {{.load = 1, .options = {{30, 5}, {10, 9}, {10, 8}, {20, 8}, {40, 6}}}};
  CHECK(allocate(mixed, 0, 10).choices == Choices{2});
  CHECK(allocate(mixed, 0, 29).choices == Choices{2});
  CHECK(allocate(mixed, 0, 99).choices == Choices{0});
  // Nobody asks for it.
  const std::vector<Unit> unused = {{.load = 0, .options = {{10, 9}, {20, 1}}}};
  CHECK(allocate(unused, 0, 99).choices == Choices{0});
}

TEST_CASE("a size that is too small is refused with the least and the most") {
  const std::vector<Unit> units = {{.load = 1, .options = {{1024, 8}, {2048, 1}}}};
  CHECK_THROWS_WITH_AS(allocate(units, 1024, 2047),
                       "a size of 2.00 KiB cannot be met: with the fewest bits it is 2.00 KiB (2048 bytes), "
                       "with the most 3.00 KiB",
                       UsageError);
  CHECK(allocate(units, 1024, 2048).bytes == 2048);
  CHECK(allocate({}, 7, 7).bytes == 7);
  CHECK_THROWS_AS(allocate({}, 8, 7), UsageError);
}

TEST_CASE(
    "against every choice there is: within one step of the best, never too large, never worse for more") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    const std::vector<Unit> units = random_units(random);
    const std::uint64_t least = least_bytes(units);
    CHECK_THROWS_AS(allocate(units, 0, least - 1), UsageError);
    double before = 1e300;
    for (std::uint64_t bytes = least; bytes < least + 60; ++bytes) {
      const Allocation found = allocate(units, 0, bytes);
      const Total sum = total(units, found.choices);
      REQUIRE(found.bytes == sum.bytes);
      REQUIRE(found.error == Approx(sum.error));
      REQUIRE(found.bytes <= bytes);
      const double best = best_error(units, bytes);
      REQUIRE(found.error >= best * (1 - 1e-12));
      REQUIRE(found.error <= best + largest_error(units));
      REQUIRE(found.error <= before * (1 + 1e-12));
      before = found.error;
      REQUIRE(allocate(units, 0, bytes).choices == found.choices);
    }
    REQUIRE(before >= best_error(units, UINT64_MAX) * (1 - 1e-12));
  }
}

// Everett's theorem: what is best at a price for a byte is best for its own number of bytes.
TEST_CASE("at the sizes of the hull it is the best") {
  std::mt19937_64 random(8);
  for (int round = 0; round < 300; ++round) {
    const std::vector<Unit> units = random_units(random);
    const double price = std::uniform_real_distribution<double>(0, 60)(random);
    Choices choices;
    for (const Unit& unit : units) {
      const auto cost = [&](const UnitOption& option) {
        return unit.load * option.error + price * static_cast<double>(option.bytes);
      };
      const auto best = std::min_element(unit.options.begin(), unit.options.end(),
                                         [&](auto& a, auto& b) { return cost(a) < cost(b); });
      choices.push_back(static_cast<std::size_t>(best - unit.options.begin()));
    }
    const Total sum = total(units, choices);
    REQUIRE(sum.error == Approx(best_error(units, sum.bytes)));
    REQUIRE(allocate(units, 0, sum.bytes).error == Approx(sum.error));
  }
}
