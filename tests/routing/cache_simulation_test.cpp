// A simulated cache against one that keeps its experts in a set, and against the bound.
#include "routing/cache_simulation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <string>

#include "error.h"
#include "routing/reuse.h"

using namespace baleen;

namespace {

using Tokens = std::vector<std::vector<std::uint32_t>>;  // [layers][top_k] ascending

std::vector<Tokens> random_tokens(std::size_t count, std::size_t layers, std::uint32_t experts,
                                  std::size_t top_k) {
  std::mt19937 random(11);
  std::geometric_distribution<std::uint32_t> rank(2.0 / experts);
  std::vector<Tokens> tokens(count, Tokens(layers));
  for (std::size_t t = 0; t < count; ++t)
    for (auto& layer : tokens[t]) {
      std::set<std::uint32_t> own;
      while (own.size() < top_k) own.insert((rank(random) + static_cast<std::uint32_t>(t / 60)) % experts);
      layer.assign(own.begin(), own.end());
    }
  return tokens;
}

std::vector<ExpertTokens> alone(const std::vector<std::uint32_t>& experts) {
  std::vector<ExpertTokens> reads;
  for (const std::uint32_t e : experts) reads.push_back({e, 1});
  return reads;
}

// The same with a set of keys; whom the policy, which is told of every step, would throw out, leaving out
// those of the layer that are still to be read.
std::uint64_t plain_hits(const std::vector<Tokens>& tokens, std::size_t layers, std::size_t experts,
                         std::size_t slots) {
  ExpertPolicy policy(layers, experts, slots);
  std::set<std::pair<std::uint32_t, std::uint32_t>> cache;
  std::uint64_t hits = 0;
  for (const Tokens& token : tokens)
    for (std::uint32_t l = 0; l < layers; ++l) {
      policy.access(l, alone(token[l]), 1);
      for (std::size_t i = 0; i < token[l].size(); ++i) {
        if (cache.contains({l, token[l][i]})) {
          ++hits;
          continue;
        }
        if (cache.size() == slots) {
          const auto waits = [&](const auto& key) {
            return key.first == l && std::find(token[l].begin() + static_cast<std::ptrdiff_t>(i),
                                               token[l].end(), key.second) != token[l].end();
          };
          auto victim = cache.end();
          for (auto key = cache.begin(); key != cache.end(); ++key)
            if (!waits(*key) && (victim == cache.end() || policy.worth({key->first, key->second}) <
                                                              policy.worth({victim->first, victim->second})))
              victim = key;
          if (victim == cache.end())
            victim = std::prev(cache.end());  // waits for longest: all are of one layer
          policy.erase({victim->first, victim->second});
          cache.erase(victim);
        }
        cache.insert({l, token[l][i]});
        policy.insert({l, token[l][i]});
      }
    }
  return hits;
}

}  // namespace

TEST_CASE("a simulated cache serves what a plain one does, and less than the best possible") {
  constexpr std::size_t layers = 3, experts = 20, top_k = 3;
  const std::vector<Tokens> tokens = random_tokens(400, layers, experts, top_k);
  const std::vector<std::size_t> sizes = {1, 2, 3, 9, 20, 40, 59, 60};
  ReuseMeter meter(layers, experts, sizes);
  for (std::size_t t = 0; t < tokens.size(); ++t)
    for (std::size_t l = 0; l < layers; ++l)
      meter.add({.step = t, .request = 0, .layer = l, .experts = tokens[t][l], .generated = t >= 100});
  const Reuse reuse = meter.finish();
  REQUIRE(reuse.policy.size() == sizes.size());
  CHECK(reuse.prompt.tokens == 100);
  CHECK(reuse.generated.tokens == 300);
  CHECK(reuse.prompt.reads == 100 * layers * top_k);
  CHECK(reuse.prompt.reads + reuse.generated.reads == reuse.shared.reads);
  std::uint64_t before = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    CAPTURE(sizes[i]);
    const PolicyHits& policy = reuse.policy[i];
    CHECK(policy.slots == sizes[i]);
    CHECK(policy.hits() == plain_hits(tokens, layers, experts, sizes[i]));
    CHECK(policy.hits() <= reuse.shared.belady[sizes[i]]);
    CHECK(policy.hits() >= before);
    before = policy.hits();
  }
  // Favourites that drift: both rules are beaten where there is a choice.
  for (const std::size_t i : {3, 4, 5}) {
    CHECK(reuse.policy[i].hits() > reuse.shared.lru[sizes[i]]);
    CHECK(reuse.policy[i].hits() > reuse.shared.lfu[sizes[i]]);
  }
  CHECK(reuse.policy.back().hits() == reuse.shared.lru.back());
}

namespace {

// What caches of several sizes serve of a log; `choose` gives the experts of a token in a layer.
struct Hits {
  std::size_t slots = 0;
  std::uint64_t lru = 0, lfu = 0, policy = 0, belady = 0;
};
using Choose = std::function<std::set<std::uint32_t>(std::size_t token, std::size_t layer)>;
std::vector<Hits> hits_of(const Choose& choose) {
  constexpr std::size_t layers = 2, experts = 24, tokens = 1200;
  std::vector<std::size_t> sizes;
  for (const std::size_t percent : {30, 40, 60, 80}) sizes.push_back(layers * experts * percent / 100);
  ReuseMeter meter(layers, experts, sizes);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t l = 0; l < layers; ++l) {
      const std::set<std::uint32_t> chosen = choose(t, l);
      const std::vector<std::uint32_t> own(chosen.begin(), chosen.end());
      meter.add({.step = t, .request = 0, .layer = l, .experts = own, .generated = true});
    }
  const Reuse reuse = meter.finish();
  std::vector<Hits> all;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::size_t n = sizes[i];
    all.push_back(
        {n, reuse.shared.lru[n], reuse.shared.lfu[n], reuse.policy[i].hits(), reuse.shared.belady[n]});
  }
  return all;
}

}  // namespace

TEST_CASE("whichever of recency and frequency a log speaks for, the policy serves what it does") {
  constexpr std::uint32_t experts = 24;
  constexpr std::size_t top_k = 3;
  std::mt19937 random(5);
  const auto favourites = [&](double p, const auto& order) {  // order(rank): the expert
    std::geometric_distribution<std::uint32_t> rank(p);
    std::set<std::uint32_t> own;
    while (own.size() < top_k) own.insert(order(rank(random) % experts));
    return own;
  };
  const auto scan = [](std::size_t token) {
    std::set<std::uint32_t> own;
    for (std::size_t i = 0; i < top_k; ++i)
      own.insert(static_cast<std::uint32_t>((token * top_k + i) % experts));
    return own;
  };
  const auto as_ranked = [](std::uint32_t rank) { return rank; };
  std::vector<std::uint32_t> topic(experts);
  std::iota(topic.begin(), topic.end(), 0);
  std::array<std::vector<std::uint32_t>, 2> stack{topic, topic};
  const std::vector<std::pair<const char*, Choose>> logs{
      {"the same favourites throughout",
       [&](std::size_t, std::size_t) { return favourites(0.15, as_ranked); }},
      {"favourites, and scans through all experts",
       [&](std::size_t t, std::size_t) { return t % 80 < 60 ? favourites(0.2, as_ranked) : scan(t); }},
      {"a scan, four times in five",
       [&](std::size_t t, std::size_t) { return random() % 5 ? scan(t) : favourites(0.01, as_ranked); }},
      {"a text of forty tokens, then another",
       [&](std::size_t t, std::size_t l) {
         if (t % 40 == 0 && l == 0) std::shuffle(topic.begin(), topic.end(), random);
         return favourites(0.25, [&](std::uint32_t rank) { return topic[rank]; });
       }},
      {"who was read last",
       [&](std::size_t, std::size_t l) {
         const std::set<std::uint32_t> own =
             favourites(0.15, [&](std::uint32_t rank) { return stack[l][rank]; });
         std::stable_partition(stack[l].begin(), stack[l].end(),
                               [&](std::uint32_t e) { return own.contains(e); });
         return own;
       }},
  };
  for (const auto& [what, choose] : logs) {
    const std::string name = what;
    CAPTURE(name);
    for (const Hits& hits : hits_of(choose)) {
      CAPTURE(hits.slots);
      // What it takes to see who leads and to change over: fewer reads than slots.
      CHECK(hits.policy + hits.slots >= std::max(hits.lru, hits.lfu));
      CHECK(hits.policy <= hits.belady);
    }
  }
}

TEST_CASE("a pass of a prompt and generated tokens is a prompt's, and reads each expert once") {
  const std::vector<std::size_t> sizes = {4};
  ReuseMeter meter(1, 4, sizes);
  const std::vector<std::uint32_t> a = {0, 1}, b = {1, 2};
  meter.add({.step = 0, .request = 0, .layer = 0, .experts = a, .generated = true});
  meter.add({.step = 0, .request = 1, .layer = 0, .experts = b});
  meter.add({.step = 1, .request = 0, .layer = 0, .experts = b, .generated = true});
  meter.add({.step = 1, .request = 1, .layer = 0, .experts = a, .generated = true});
  const Reuse reuse = meter.finish();
  CHECK(reuse.prompt.tokens == 2);
  CHECK(reuse.prompt.reads == 3);
  CHECK(reuse.generated.tokens == 2);
  CHECK(reuse.generated.reads == 3);
  CHECK(reuse.policy[0].prompt == 0);
  CHECK(reuse.policy[0].generated == 3);
}

TEST_CASE("what misses cost on a disk") {
  const DiskForecast f = disk_forecast({.tokens = 10, .reads = 80}, 60, 1000, 8000);
  CHECK(f.hit_share == doctest::Approx(0.75));
  CHECK(f.bytes_per_token == doctest::Approx(2000));
  CHECK(f.tokens_per_second == doctest::Approx(4));
  CHECK(disk_forecast({.tokens = 10, .reads = 80}, 80, 1000, 8000).tokens_per_second == 0);
  CHECK(disk_forecast({}, 0, 1000, 8000).hit_share == 0);
  CHECK(f.without_overlap == 0);
  // A token takes 0.25 s to be read; with 0.125 s of computing that is still the bound, with 0.5 s it is not.
  const DiskForecast fast = disk_forecast({.tokens = 10, .reads = 80}, 60, 1000, 8000, 8);
  CHECK(fast.tokens_per_second == doctest::Approx(4));
  CHECK(fast.without_overlap == doctest::Approx(1 / 0.375));
  const DiskForecast slow = disk_forecast({.tokens = 10, .reads = 80}, 60, 1000, 8000, 2);
  CHECK(slow.tokens_per_second == doctest::Approx(2));
  CHECK(slow.without_overlap == doctest::Approx(1 / 0.75));
  const DiskForecast hit = disk_forecast({.tokens = 10, .reads = 80}, 80, 1000, 8000, 2);
  CHECK(hit.tokens_per_second == doctest::Approx(2));
  CHECK(hit.without_overlap == doctest::Approx(2));
  CHECK(disk_forecast({.tokens = 10, .reads = 80}, 60, 1000, 0).tokens_per_second == 0);
}

TEST_CASE("wrong reads are refused") {
  CacheSimulation cache(2, 3, 1);
  CHECK_THROWS_AS(cache.read(2, {}, 1), Error);
  CHECK_THROWS_AS(cache.read(0, std::vector<ExpertTokens>{{3, 1}}, 1), Error);
  CHECK_THROWS_AS(CacheSimulation(2, 3, 0), Error);
}
