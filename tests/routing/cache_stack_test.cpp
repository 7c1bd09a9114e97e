// Stacks against the same lists moved entry by entry, with every kind of priority.
#include "routing/cache_stack.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <utility>

using namespace baleen;

namespace {

struct PlainStack {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> list;  // priority, key

  std::size_t read(std::uint32_t key, std::uint64_t priority) {
    const auto found = std::find_if(list.begin(), list.end(), [&](const auto& e) { return e.second == key; });
    const std::size_t hole = static_cast<std::size_t>(found - list.begin());
    const std::size_t depth = found == list.end() ? 0 : hole + 1;
    if (!depth) list.emplace_back();
    auto carried = std::exchange(list[0], {priority, key});
    if (hole == 0) return depth;
    for (std::size_t i = 1; i < hole; ++i)
      if (list[i].first < carried.first) std::swap(list[i], carried);
    list[hole] = carried;
    return depth;
  }
};

}  // namespace

TEST_CASE("priority stacks equal lists moved entry by entry") {
  for (unsigned seed = 0; seed < 12; ++seed) {
    std::mt19937 random(seed);
    const std::uint32_t keys = seed % 3 == 0 ? 5 : seed % 3 == 1 ? 90 : 700;
    const std::uint32_t priorities = seed % 2 ? 4 : 1000000;  // many equal, or none
    std::geometric_distribution<std::uint32_t> favorite(3.0 / keys);
    std::vector<std::uint64_t> count(keys, 0);
    PriorityStack stack(keys);
    PlainStack plain;
    for (std::uint64_t now = 0; now < 4000; ++now) {
      const std::uint32_t key = seed % 4 < 2 ? random() % keys : favorite(random) % keys;
      ++count[key];
      // By chance; as counts go; ever less; ever more, which is least recently used.
      const std::uint64_t kinds[] = {random() % priorities, count[key], 5000 - now, now};
      const std::uint64_t priority = kinds[seed / 3];
      REQUIRE(stack.read(key, priority) == plain.read(key, priority));
    }
  }
}

TEST_CASE("recency is the priority of the last read") {
  std::mt19937 random(1);
  for (const std::uint32_t keys : {1u, 2u, 300u}) {
    RecencyStack recency(keys);
    PriorityStack priority(keys);
    for (std::uint64_t now = 0; now < 5000; ++now) {
      const std::uint32_t key = (random() % 17 * random() % 29) % keys;
      REQUIRE(recency.read(key) == priority.read(key, now));
    }
  }
}
