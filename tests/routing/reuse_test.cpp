// Cache curves against caches that are simulated one size at a time, Belady's rule against a search through
// all there is to throw out, and small cases by hand.
#include "routing/reuse.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "error.h"

using namespace baleen;

namespace {

using Stream = std::vector<std::uint32_t>;
// Of the keys in the cache, which one goes before the read at `now`.
using Victim =
    std::function<std::uint32_t(const std::set<std::uint32_t>& cache, const Stream&, std::size_t now)>;

std::uint64_t simulated_hits(const Stream& stream, std::size_t size, const Victim& victim) {
  std::set<std::uint32_t> cache;
  std::uint64_t hits = 0;
  for (std::size_t now = 0; now < stream.size(); ++now) {
    if (cache.contains(stream[now])) {
      ++hits;
    } else if (size > 0) {
      if (cache.size() == size) cache.erase(victim(cache, stream, now));
      cache.insert(stream[now]);
    }
  }
  return hits;
}

std::size_t last_read(const Stream& s, std::size_t now, std::uint32_t key) {
  while (now-- > 0)
    if (s[now] == key) return now + 1;
  return 0;
}

std::uint32_t least_recent(const std::set<std::uint32_t>& cache, const Stream& s, std::size_t now) {
  return *std::min_element(cache.begin(), cache.end(), [&](std::uint32_t a, std::uint32_t b) {
    return last_read(s, now, a) < last_read(s, now, b);
  });
}

std::uint32_t least_frequent(const std::set<std::uint32_t>& cache, const Stream& s, std::size_t now) {
  const auto rank = [&](std::uint32_t key) {
    const auto count = std::count(s.begin(), s.begin() + static_cast<std::ptrdiff_t>(now), key);
    return std::pair(count, last_read(s, now, key));
  };
  return *std::min_element(cache.begin(), cache.end(),
                           [&](std::uint32_t a, std::uint32_t b) { return rank(a) < rank(b); });
}

std::uint32_t read_last(const std::set<std::uint32_t>& cache, const Stream& s, std::size_t now) {
  const auto next = [&](std::uint32_t key) {
    return std::find(s.begin() + static_cast<std::ptrdiff_t>(now), s.end(), key);
  };
  return *std::max_element(cache.begin(), cache.end(),
                           [&](std::uint32_t a, std::uint32_t b) { return next(a) < next(b); });
}

// The most hits that any choice of victims gives.
std::uint64_t best_hits(const Stream& stream, std::size_t size, std::size_t now,
                        std::set<std::uint32_t> cache) {
  for (std::uint64_t hits = 0;; ++now, ++hits) {
    if (now == stream.size()) return hits;
    if (cache.contains(stream[now])) continue;
    std::uint64_t best = 0;
    if (cache.size() < size) {
      cache.insert(stream[now]);
      return hits + best_hits(stream, size, now + 1, cache);
    }
    for (const std::uint32_t victim : cache) {
      auto other = cache;
      other.erase(victim);
      other.insert(stream[now]);
      best = std::max(best, best_hits(stream, size, now + 1, other));
    }
    return hits + best;
  }
}

// Skewed, with drifting favourites, so that the three policies differ.
Stream random_stream(std::size_t length, std::uint32_t keys, unsigned seed) {
  std::mt19937 random(seed);
  std::geometric_distribution<std::uint32_t> step(std::min(0.9, 2.0 / keys));
  Stream stream;
  for (std::size_t i = 0; i < length; ++i)
    stream.push_back((step(random) + static_cast<std::uint32_t>(i / 40)) % keys);
  return stream;
}

CacheCurve curve_of(const Stream& stream, std::size_t keys, std::size_t block = 1000) {
  ReuseMeter meter(1, keys, {}, block);
  for (std::size_t i = 0; i < stream.size(); ++i) meter.add({i, 0, 0, std::span(&stream[i], 1)});
  return meter.finish().layers[0].cache;
}

}  // namespace

TEST_CASE("curves equal caches simulated one size at a time") {
  for (const auto& [keys, length] :
       std::map<std::uint32_t, std::size_t>{{1, 5}, {5, 60}, {40, 900}, {200, 1500}}) {
    const Stream stream = random_stream(length, keys, keys);
    const CacheCurve curve = curve_of(stream, keys);
    CAPTURE(keys);
    CHECK(curve.reads == length);
    REQUIRE(curve.lru.size() == keys + 1);
    for (std::size_t n = 0; n <= keys; n += 1 + keys / 16) {
      CAPTURE(n);
      CHECK(curve.lru[n] == simulated_hits(stream, n, least_recent));
      CHECK(curve.lfu[n] == simulated_hits(stream, n, least_frequent));
      CHECK(curve.belady[n] == simulated_hits(stream, n, read_last));
    }
  }
}

TEST_CASE("no choice of what to throw out serves more reads than the curve called belady") {
  for (unsigned seed = 0; seed < 30; ++seed) {
    const Stream stream = random_stream(13, 5, seed);
    const CacheCurve curve = curve_of(stream, 5);
    for (std::size_t n = 1; n <= 5; ++n) CHECK(curve.belady[n] == best_hits(stream, n, 0, {}));
  }
}

TEST_CASE("a curve rises with the cache, ends at all but the first reads, and knows its bound") {
  const Stream stream = random_stream(4000, 100, 3);
  const CacheCurve curve = curve_of(stream, 100);
  const auto distinct = std::set<std::uint32_t>(stream.begin(), stream.end()).size();
  for (const auto* hits : {&curve.lru, &curve.lfu, &curve.belady}) {
    CHECK(hits->front() == 0);
    CHECK(hits->back() == stream.size() - distinct);
    CHECK(std::is_sorted(hits->begin(), hits->end()));
    for (std::size_t n = 0; n <= 100; ++n) CHECK((*hits)[n] <= curve.belady[n]);
  }
  CHECK(curve.share(curve.lru, 100) == doctest::Approx(1 - static_cast<double>(distinct) / 4000));
  CHECK(CacheCurve(4).share(CacheCurve(4).lru, 4) == 0);
}

TEST_CASE("a temporary file changes nothing and is told of") {
  const Stream stream = random_stream(5000, 64, 8);
  const auto run = [&](std::size_t block) {
    ReuseMeter meter(2, 32, {}, block);
    for (std::size_t i = 0; i < stream.size(); ++i) {
      const std::uint32_t expert = stream[i] % 32;
      meter.add({i, 0, stream[i] / 32, std::span(&expert, 1)});
    }
    return meter.finish();
  };
  const Reuse memory = run(1 << 20);
  CHECK(memory.spooled_bytes == 0);
  for (const std::size_t block : {1000, 4999, 5000, 7}) {
    const Reuse file = run(block);
    CHECK(file.spooled_bytes == 5000 / block * block * 8);
    CHECK(file.shared.lru == memory.shared.lru);
    CHECK(file.shared.lfu == memory.shared.lfu);
    CHECK(file.shared.belady == memory.shared.belady);
    CHECK(file.layers[1].cache.belady == memory.layers[1].cache.belady);
  }
}

TEST_CASE("layers have caches of their own, or share one") {
  // Two layers of two experts that take turns: alone each repeats one expert, together they are two.
  ReuseMeter meter(2, 2);
  for (std::uint64_t step = 0; step < 10; ++step)
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const std::uint32_t expert = 1;
      meter.add({step, 0, layer, std::span(&expert, 1)});
    }
  const Reuse reuse = meter.finish();
  CHECK(reuse.layers[0].cache.lru == std::vector<std::uint64_t>{0, 9, 9});
  CHECK(reuse.each_layer.lru == std::vector<std::uint64_t>{0, 18, 18});
  CHECK(reuse.each_layer.reads == 20);
  CHECK(reuse.shared.lru == std::vector<std::uint64_t>{0, 0, 18, 18, 18});
  CHECK(reuse.shared.belady == std::vector<std::uint64_t>{0, 0, 18, 18, 18});
}

TEST_CASE("a pass reads each expert of its tokens once, layer by layer") {
  const std::vector<std::vector<std::uint32_t>> tokens = {{0, 1}, {1, 2}, {0, 2}};
  ReuseMeter together(2, 4), apart(2, 4);
  for (std::size_t t = 0; t < tokens.size(); ++t)
    for (std::size_t layer = 0; layer < 2; ++layer) {
      together.add({7, t, layer, tokens[t]});
      apart.add({t, t, layer, tokens[t]});
    }
  const Reuse one_pass = together.finish();
  CHECK(one_pass.shared.reads == 6);
  CHECK(one_pass.shared.lru.back() == 0);
  const Reuse three_passes = apart.finish();
  CHECK(three_passes.shared.reads == 12);
  CHECK(three_passes.layers[0].cache.lru == std::vector<std::uint64_t>{0, 1, 2, 3, 3});
}

TEST_CASE("repetition from token to token of one request, and what chance would give") {
  ReuseMeter meter(1, 4);
  const std::vector<std::uint32_t> a = {0, 1}, b = {1, 2}, c = {2, 3};
  meter.add({0, 100, 0, a});
  meter.add({0, 200, 0, c});  // another request between
  meter.add({1, 100, 0, b});  // has 1 in common with a
  meter.add({1, 200, 0, c});  // all
  meter.add({2, 100, 0, c});  // has 2 in common with b
  const Repetition r = meter.finish().layers[0].repetition;
  CHECK(r.tokens == 3);
  CHECK(r.share == doctest::Approx((0.5 + 1 + 0.5) / 3));
  // Loads 1, 2, 4, 3 of 5 tokens: (1 + 4 + 16 + 9) / 25 of 2 experts.
  CHECK(r.chance == doctest::Approx(30.0 / 25 / 2));

  // Tokens that know nothing of each other repeat as chance says.
  std::mt19937 random(4);
  ReuseMeter independent(1, 8);
  for (std::uint64_t t = 0; t < 20000; ++t) {
    const std::uint32_t first = random() % 4;
    const std::vector<std::uint32_t> experts = {first, 4 + static_cast<std::uint32_t>(random() % 4)};
    independent.add({t, 0, 0, experts});
  }
  const Repetition chance = independent.finish().layers[0].repetition;
  CHECK(chance.share == doctest::Approx(chance.chance).epsilon(0.03));
  CHECK(chance.chance == doctest::Approx(0.25).epsilon(0.03));
}

TEST_CASE("more requests than are followed do no harm; nothing read gives nothing") {
  ReuseMeter meter(1, 2);
  const std::uint32_t expert = 1;
  for (std::uint64_t i = 0; i < 3000; ++i) meter.add({i, i, 0, std::span(&expert, 1)});
  for (std::uint64_t i = 2999; i < 3001; ++i) meter.add({i, i, 0, std::span(&expert, 1)});
  CHECK(meter.finish().layers[0].repetition.tokens == 1);
  const Reuse empty = ReuseMeter(2, 3).finish();
  CHECK(empty.shared.reads == 0);
  CHECK(empty.shared.lru == std::vector<std::uint64_t>(7, 0));
  CHECK(empty.layers[1].repetition.tokens == 0);
}

TEST_CASE("layers and experts that do not exist are refused") {
  ReuseMeter meter(2, 4);
  const std::uint32_t expert = 4;
  CHECK_THROWS_WITH_AS(meter.add({0, 0, 1, std::span(&expert, 1)}), "expert 4, expected below 4", Error);
  CHECK_THROWS_WITH_AS(meter.add({0, 0, 2, {}}), "layer number 2 of a token, expected below 2", Error);
}
