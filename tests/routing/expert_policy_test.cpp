// The policy against its rule written down naively: every average summed anew from all that was read, every
// expert's worth computed at every question, the least of them searched among all.
#include "routing/expert_policy.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>

#include "error.h"

using namespace baleen;

namespace {

struct Pass {
  std::vector<std::vector<ExpertTokens>> reads;  // [layers]
  std::uint64_t tokens = 1;
};

// Skewed choices that drift, in passes of one token, or of many now and then.
std::vector<Pass> random_passes(std::size_t count, std::size_t layers, std::uint32_t experts,
                                std::size_t top_k, unsigned seed) {
  std::mt19937 random(seed);
  std::geometric_distribution<std::uint32_t> rank(std::min(0.9, 3.0 / experts));
  std::vector<Pass> passes;
  for (std::size_t i = 0; i < count; ++i) {
    Pass pass{.reads = {}, .tokens = random() % 8 == 0 ? 1 + random() % 40 : 1};
    for (std::size_t l = 0; l < layers; ++l) {
      std::map<std::uint32_t, std::uint32_t> tokens;
      for (std::uint64_t t = 0; t < pass.tokens; ++t) {
        std::map<std::uint32_t, std::uint32_t> own;
        while (own.size() < std::min<std::size_t>(top_k, experts))
          own[(rank(random) + static_cast<std::uint32_t>(l + i / 50)) % experts] = 1;
        for (const auto& [expert, one] : own) tokens[expert] += one;
      }
      pass.reads.emplace_back();
      for (const auto& [expert, n] : tokens) pass.reads.back().push_back({expert, n});
    }
    passes.push_back(std::move(pass));
  }
  return passes;
}

// The rule in double precision, from the whole history of a layer.
class Naive {
 public:
  Naive(std::size_t layers, std::size_t experts, std::size_t slots, std::vector<double> cost)
      : layers_(layers),
        experts_(experts),
        slots_(slots),
        cost_(std::move(cost)),
        history_(layers),
        p_(layers, std::vector<double>(experts, 0)),
        position_(layers - 1) {}

  void access(std::size_t layer, const std::vector<ExpertTokens>& reads, std::uint64_t tokens) {
    if (layer <= position_) {
      steps_ = 0.99 * steps_ + 1;
      inserts_ *= 0.99;
    }
    position_ = layer;
    std::vector<double> shares(experts_, 0);
    for (const ExpertTokens& r : reads) shares[r.expert] = r.tokens / static_cast<double>(tokens);
    const auto before = features(layer);
    std::vector<int> gaps_before;
    for (std::size_t e = 0; e < experts_; ++e) gaps_before.push_back(gap(layer, e));
    const std::vector<double> predicted = mean(before);
    history_[layer].push_back({std::sqrt(static_cast<double>(tokens)), shares});
    if (history_[layer].size() > 1) {
      const std::vector<double> expected = mean(features(layer));
      const double ahead = inserts_ > 0 ? static_cast<double>(slots_) * steps_ / inserts_ / 8 : 100;
      const double later = std::clamp(1 - 1 / ahead, 0.0, 0.99);
      std::vector<double> moved(7);
      std::vector<std::pair<int, double>> outcomes;
      for (std::size_t i = 0; i < 7; ++i) {
        double gradient = 0;
        for (std::size_t e = 0; e < experts_; ++e) {
          const double was = std::clamp(predicted[e], 1e-3, 1 - 1e-3);
          const double is = (1 - later) * shares[e] + later * expected[e];
          if (i == 0) outcomes.emplace_back(gaps_before[e], is);
          gradient += (is - was) / (was * (1 - was)) / (1 - later) * before[i][e];
        }
        moved[i] =
            weights_[i] * std::exp(std::clamp(rate * gradient / static_cast<double>(experts_), -1.0, 1.0));
      }
      const double sum = std::accumulate(moved.begin(), moved.end(), 0.0);
      for (std::size_t i = 0; i < 7; ++i) weights_[i] = 0.998 * moved[i] / sum + 0.002 / 7;
      for (const auto& [gap, is] : outcomes) {
        usual_[gap].first += is;
        usual_[gap].second += 1;
      }
      for (auto& [gap, mean] : usual_) {
        mean.first *= 1 - 1 / (256.0 * static_cast<double>(layers_));
        mean.second *= 1 - 1 / (256.0 * static_cast<double>(layers_));
      }
    }
    p_[layer] = mean(features(layer));
  }

  double worth(ExpertKey key) const {
    double steps = 0;  // counted layer by layer until it is reached
    for (std::size_t l = position_; steps == 0 || l != key.layer; steps += 1) l = (l + 1) % layers_;
    const double p = p_[key.layer][key.expert];
    return cost_[key.layer] * p / (1 + steps / static_cast<double>(layers_) * p);
  }

  void inserted() { ++inserts_; }

  static constexpr double rate = 0.4;

 private:
  struct Read {
    double tokens;
    std::vector<double> shares;
  };

  // [averages][experts]: shares weighted by 2^(-age / half-life), ages counted in tokens.
  std::vector<std::vector<double>> features(std::size_t layer) const {
    std::vector<std::vector<double>> all;
    for (const double half_life : {1.0, 4.0, 16.0, 64.0, 256.0, 0.0}) {
      std::vector<double> sum(experts_, 0);
      double mass = 0, age = 0;
      for (auto read = history_[layer].rbegin(); read != history_[layer].rend(); ++read) {
        const double weight = half_life > 0
                                  ? std::exp2(-age / half_life) - std::exp2(-(age + read->tokens) / half_life)
                                  : read->tokens;
        for (std::size_t e = 0; e < experts_; ++e) sum[e] += weight * read->shares[e];
        mass += weight;
        age += read->tokens;
      }
      for (double& s : sum) s = mass > 0 ? s / mass : 0;
      all.push_back(std::move(sum));
    }
    all.emplace_back();
    for (std::size_t e = 0; e < experts_; ++e) {
      const auto usual = usual_.find(gap(layer, e));
      all.back().push_back(usual == usual_.end() ? 0 : usual->second.first / usual->second.second);
    }
    return all;
  }

  // A number for each length of time that counts as one: tokens since the last read, -1 for none. The clock
  // goes by whole tokens.
  int gap(std::size_t layer, std::size_t expert) const {
    long tokens = 0;
    for (auto read = history_[layer].rbegin(); read != history_[layer].rend(); ++read) {
      if (read->shares[expert] > 0) {
        int part = 0;
        for (long from = 0, width = 1; tokens >= from + width; ++part) {
          from += width;
          if (from >= 8 && (from & (from - 1)) == 0) width = from / 4;
        }
        return part;
      }
      tokens += std::lround(read->tokens);
    }
    return -1;
  }

  std::vector<double> mean(const std::vector<std::vector<double>>& f) const {
    std::vector<double> p(experts_, 0);
    for (std::size_t i = 0; i < f.size(); ++i)
      for (std::size_t e = 0; e < experts_; ++e) p[e] += weights_[i] * f[i][e];
    return p;
  }

  std::size_t layers_, experts_, slots_;
  std::vector<double> cost_;
  std::vector<std::vector<Read>> history_;
  std::vector<std::vector<double>> p_;
  std::vector<double> weights_ = std::vector<double>(7, 1.0 / 7);
  std::map<int, std::pair<double, double>> usual_;  // by gap: sum, number
  std::size_t position_;
  double steps_ = 0, inserts_ = 0;
};

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("worth and victims are those of the rule computed from the whole history") {
  struct Shape {
    std::size_t layers;
    std::uint32_t experts;
    std::size_t top_k, slots;
  };
  std::size_t all_strays = 0;
  for (const Shape shape :
       {Shape{1, 1, 1, 1}, Shape{3, 8, 2, 1}, Shape{3, 8, 2, 9}, Shape{5, 37, 4, 60}, Shape{2, 16, 2, 24}}) {
    CAPTURE(shape.experts);
    CAPTURE(shape.slots);
    std::vector<double> cost;
    for (std::size_t l = 0; l < shape.layers; ++l) cost.push_back(1 + 0.5 * static_cast<double>(l % 3));
    // In shadows without limits all rules serve the same, so that what is learned leads throughout.
    const std::size_t all = shape.layers * shape.experts;
    ExpertPolicy policy(shape.layers, shape.experts, all, cost);
    Naive naive(shape.layers, shape.experts, all, cost);
    std::set<std::pair<std::uint32_t, std::uint32_t>> read_before;
    std::mt19937 random(shape.experts);
    std::map<std::pair<std::uint32_t, std::uint32_t>, int> held;  // pins
    std::size_t victims = 0, strays = 0;
    for (const Pass& pass : random_passes(150, shape.layers, shape.experts, shape.top_k, 7)) {
      for (std::uint32_t l = 0; l < shape.layers; ++l) {
        policy.access(l, pass.reads[l], pass.tokens);
        naive.access(l, pass.reads[l], pass.tokens);
        for (auto& [key, pins] : held) {  // others are pinned from layer to layer
          const bool pin = random() % 4 == 0;
          if (pin == (pins > 0)) continue;
          pin ? policy.pin({key.first, key.second}) : policy.unpin({key.first, key.second});
          pins = pin;
        }
        std::vector<ExpertKey> keys;
        for (const ExpertTokens& read : pass.reads[l]) {
          keys.push_back({l, read.expert});
          read_before.insert({l, read.expert});
        }
        if (random() % 4 == 0)  // a guess, which may be wrong
          keys.push_back({(l + 1) % static_cast<std::uint32_t>(shape.layers),
                          static_cast<std::uint32_t>(random() % shape.experts)});
        for (const ExpertKey key : keys) {
          REQUIRE(policy.holds(key) == held.contains({key.layer, key.expert}));
          if (policy.holds(key)) continue;
          if (held.size() == shape.slots) {
            const auto victim = policy.victim();
            double least = std::numeric_limits<double>::infinity(), least_stray = least;
            for (const auto& [k, pins] : held) {
              if (pins > 0) continue;
              const double worth = naive.worth({k.first, k.second});
              least = std::min(least, worth);
              if (!read_before.contains(k)) least_stray = std::min(least_stray, worth);
            }
            if (std::isfinite(least_stray)) least = least_stray;
            strays += std::isfinite(least_stray);
            REQUIRE(victim.has_value() == std::isfinite(least));
            if (!victim) continue;
            ++victims;
            REQUIRE(held.at({victim->layer, victim->expert}) == 0);
            CHECK(naive.worth(*victim) == doctest::Approx(least).epsilon(1e-3));
            CHECK(policy.worth(*victim) == doctest::Approx(least).epsilon(1e-3));
            policy.erase(*victim);
            held.erase({victim->layer, victim->expert});
          }
          policy.insert(key);
          naive.inserted();
          held[{key.layer, key.expert}] = 0;
          CHECK(policy.size() == held.size());
        }
      }
    }
    CHECK((shape.experts == 1 || victims > 50));
    all_strays += strays;
  }
  CHECK(all_strays > 10);
}

TEST_CASE("who is read more often stays, and who was read of late stays if reads come in bursts") {
  const auto kept = [](const std::vector<std::uint32_t>& reads) {  // of three experts in two slots
    ExpertPolicy policy(1, 3, 2);
    for (const std::uint32_t e : reads) policy.access(0, std::vector<ExpertTokens>{{e, 1}}, 1);
    policy.insert({0, 0});
    policy.insert({0, 1});
    return 1 - policy.victim()->expert;
  };
  std::vector<std::uint32_t> even, bursts;
  for (int i = 0; i < 300; ++i) even.push_back(i % 3 == 2 ? 1 : 0);  // ends with 0 0 1
  CHECK(kept(even) == 0);
  for (int i = 0; i < 300; ++i) bursts.push_back(i / 30 % 3 == 0 ? 1 : 0);  // 30 times 1, 60 times 0
  bursts.insert(bursts.end(), 3, 1);
  CHECK(kept(bursts) == 1);
}

TEST_CASE("of equals the layer that is further ahead goes, and the one that costs less") {
  const auto policy_after = [](std::size_t last, std::vector<double> cost) {
    ExpertPolicy policy(4, 2, 4, cost);
    for (std::size_t l = 0; l < 4 + last + 1; ++l) policy.access(l % 4, std::vector<ExpertTokens>{{0, 1}}, 1);
    for (std::uint32_t l = 0; l < 4; ++l) policy.insert({l, 0});
    return policy;
  };
  for (const std::size_t last : {0, 1, 2, 3}) CHECK(policy_after(last, {}).victim()->layer == last);
  CHECK(policy_after(1, {4, 4, 4, 1}).victim()->layer == 3);
}

TEST_CASE("a prompt counts by its shares: reading all experts once puts no one out") {
  ExpertPolicy policy(1, 8, 2);
  for (int i = 0; i < 40; ++i) policy.access(0, std::vector<ExpertTokens>{{0, 1}, {1, 1}}, 1);
  policy.insert({0, 0});
  policy.insert({0, 1});
  std::vector<ExpertTokens> prompt;
  for (std::uint32_t e = 0; e < 8; ++e) prompt.push_back({e, e < 2 ? 400U : 50U});
  policy.access(0, prompt, 550);
  for (std::uint32_t e = 2; e < 8; ++e) {
    CHECK(policy.worth({0, e}) < policy.worth({0, 0}));
    CHECK(policy.worth({0, e}) < policy.worth({0, 1}));
  }
}

TEST_CASE("seeds say what to begin with and give way to what is read") {
  ExpertPolicy policy(2, 4, 3);
  CHECK(policy.favourites().empty());
  policy.seed(0, std::vector<double>{0.1, 0.7, 0.2, 0}, 1000);
  policy.seed(1, std::vector<double>{0.5, 0.3, 0, 0.2}, 1000);
  CHECK(policy.favourites() == std::vector<ExpertKey>{{0, 1}, {1, 0}, {1, 1}});
  for (const ExpertKey key : policy.favourites()) policy.insert(key);
  CHECK(policy.full());
  CHECK(policy.victim() == ExpertKey{1, 1});
  for (int i = 0; i < 30; ++i)
    for (std::size_t l = 0; l < 2; ++l) policy.access(l, std::vector<ExpertTokens>{{3, 1}}, 1);
  CHECK(policy.favourites()[0].expert == 3);
  CHECK(policy.favourites()[1].expert == 3);
  policy.seed(0, std::vector<double>{1, 1, 1, 1}, 0);  // of no tokens: nothing is known
  CHECK(policy.favourites()[1].expert == 3);
}

TEST_CASE("the same reads lead to the same decisions") {
  const auto run = [] {
    ExpertPolicy policy(3, 24, 20);
    std::vector<ExpertKey> victims;
    for (const Pass& pass : random_passes(200, 3, 24, 3, 5))
      for (std::uint32_t l = 0; l < 3; ++l) {
        policy.access(l, pass.reads[l], pass.tokens);
        for (const ExpertTokens& read : pass.reads[l]) {
          if (policy.holds({l, read.expert})) continue;
          if (policy.full()) {
            victims.push_back(*policy.victim());
            policy.erase(victims.back());
          }
          policy.insert({l, read.expert});
        }
      }
    return victims;
  };
  const std::vector<ExpertKey> first = run();
  CHECK(first.size() > 100);
  CHECK(first == run());
}

TEST_CASE("pins are counted, and who is pinned is no victim") {
  ExpertPolicy policy(2, 2, 2);
  policy.insert({0, 0});
  policy.pin({0, 0});
  CHECK_FALSE(policy.victim().has_value());
  policy.insert({1, 1});
  CHECK(policy.victim() == ExpertKey{1, 1});
  policy.pin({0, 0});
  policy.pin({1, 1});
  policy.unpin({0, 0});
  CHECK_FALSE(policy.victim().has_value());
  policy.unpin({0, 0});
  CHECK(policy.victim() == ExpertKey{0, 0});
  CHECK(error_of([&] { policy.unpin({0, 0}); }) == "expert 0 of layer 0 is not pinned");
  CHECK(error_of([&] { policy.erase({1, 1}); }) == "expert 1 of layer 1 is pinned");
  CHECK(error_of([&] { policy.pin({0, 1}); }) == "expert 1 of layer 0 is not in the cache");
  CHECK(error_of([&] { policy.erase({0, 1}); }) == "expert 1 of layer 0 is not in the cache");
  CHECK(error_of([&] { policy.insert({0, 0}); }) == "expert 0 of layer 0 is in the cache already");
  CHECK(error_of([&] { policy.insert({0, 1}); }) == "expert 1 of layer 0: the cache is full, it has 2 slots");
  CHECK(policy.size() == 2);
}

TEST_CASE("what does not exist is refused, and nothing has changed") {
  ExpertPolicy policy(2, 3, 2);
  policy.access(0, std::vector<ExpertTokens>{{0, 1}}, 1);
  const double worth = policy.worth({0, 0});
  const auto access = [&](std::size_t layer, ExpertTokens read, std::uint64_t tokens) {
    return error_of([&] { policy.access(layer, std::vector<ExpertTokens>{{1, 1}, read}, tokens); });
  };
  CHECK(access(2, {0, 1}, 1) == "layer 2, expected below 2");
  CHECK(access(SIZE_MAX, {0, 1}, 1) == "layer " + std::to_string(SIZE_MAX) + ", expected below 2");
  CHECK(access(0, {3, 1}, 1) == "expert 3, expected below 3");
  CHECK(access(0, {UINT32_MAX, 1}, 1) == "expert 4294967295, expected below 3");
  CHECK(access(0, {0, 0}, 1) == "expert 0 with 0 tokens, expected 1 to the pass's 1");
  CHECK(access(0, {0, 6}, 5) == "expert 0 with 6 tokens, expected 1 to the pass's 5");
  CHECK(policy.worth({0, 0}) == worth);
  CHECK(policy.worth({0, 1}) == 0);
  for (const ExpertKey key : {ExpertKey{2, 0}, ExpertKey{0, 3}, ExpertKey{UINT32_MAX, UINT32_MAX}}) {
    CHECK_THROWS_AS(policy.holds(key), Error);
    CHECK_THROWS_AS(policy.insert(key), Error);
    CHECK_THROWS_AS(policy.erase(key), Error);
    CHECK_THROWS_AS(policy.pin(key), Error);
    CHECK_THROWS_AS(policy.unpin(key), Error);
    CHECK_THROWS_AS(policy.worth(key), Error);
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(policy.seed(2, std::vector<double>(3, 0.1), 5), Error);
  CHECK_THROWS_AS(policy.seed(0, std::vector<double>(2, 0.1), 5), Error);
  CHECK_THROWS_AS(policy.seed(0, std::vector<double>{0, 0, nan}, 5), Error);
  CHECK_THROWS_AS(policy.seed(0, std::vector<double>{0, 0, 1.5}, 5), Error);
  CHECK_THROWS_AS(ExpertPolicy(0, 3, 2), Error);
  CHECK_THROWS_AS(ExpertPolicy(2, 0, 2), Error);
  CHECK_THROWS_AS(ExpertPolicy(2, 3, 0), Error);
  CHECK_THROWS_AS(ExpertPolicy(1U << 20U, 1U << 20U, 1), Error);
  for (const std::vector<double>& cost : {std::vector<double>{1}, {1, 0}, {1, -1}, {1, nan}})
    CHECK_THROWS_AS(ExpertPolicy(2, 3, 2, cost), Error);
}
