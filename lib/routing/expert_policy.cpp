#include "routing/expert_policy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "error.h"

namespace baleen {
namespace {

// Found on logs of the model that comes with baleen; half or double of rate and stay changes hit rates by
// less than a tenth of a percent.
constexpr double rate = 0.4;            // of learning
constexpr double least_weight = 0.002;  // all predictors together, so that none is ever out
constexpr double stay = 1.0 / 8;     // how far ahead to look, in the time that an expert stays in the cache
constexpr double farthest = 0.99;    // reads a step later count by this at most
constexpr double of_late = 0.99;     // steps ago count by this power in how long experts stay
constexpr double usual_steps = 256;  // how many steps make what is usual after a read
constexpr float least_p = 1e-3F;     // shares are told apart down to this
// However long a log seeds the policy, a run of as many tokens says as much.
constexpr std::uint64_t most_seed_tokens = 1024;
constexpr std::uint8_t waiting = 2;  // held in a shadow, and about to be read
constexpr double clearly = 8;        // so many reads more make another rule the leader

// Eight sums, since the compiler may not reorder one.
float dot(const float* a, const float* b, std::size_t n) {
  std::array<float, 8> sums{};
  std::size_t i = 0;
  for (; i + sums.size() <= n; i += sums.size())
    for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += a[i + j] * b[i + j];
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  return std::accumulate(sums.begin(), sums.end(), 0.0F);
}

std::string name(ExpertKey key) {
  return "expert " + std::to_string(key.expert) + " of layer " + std::to_string(key.layer);
}

void check_number(const char* what, std::size_t found, std::size_t count) {
  if (found >= count)
    throw Error(what + (" " + std::to_string(found)) + ", expected below " + std::to_string(count));
}

}  // namespace

ExpertPolicy::ExpertPolicy(std::size_t layers, std::size_t experts, std::size_t slots,
                           std::span<const double> miss_cost)
    : experts_(experts), slots_(slots) {
  constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
  if (layers == 0 || experts == 0 || slots == 0 || experts > most / layers)
    throw Error("a cache of " + std::to_string(slots) + " of " + std::to_string(experts) + " experts in " +
                std::to_string(layers) + " layers, expected one or more of each");
  if (!miss_cost.empty() && miss_cost.size() != layers)
    throw Error(std::to_string(miss_cost.size()) + " costs of a miss, expected one for each of " +
                std::to_string(layers) + " layers");
  layers_.resize(layers);
  entries_.resize(layers * experts);
  for (std::size_t l = 0; l < layers; ++l) {
    layers_[l].average.assign(averages * experts, 0);
    layers_[l].mass.fill(0);
    layers_[l].read_at.assign(experts, 0);
    if (miss_cost.empty()) continue;
    if (!(miss_cost[l] > 0) || !std::isfinite(miss_cost[l]))
      throw Error("a miss costs " + std::to_string(miss_cost[l]) + ", expected a number above 0");
    layers_[l].cost = miss_cost[l];
  }
  for (Shadow& shadow : shadows_) {
    shadow.p.assign(layers * experts, 0);
    shadow.holds.assign(layers * experts, 0);
    shadow.least.resize(layers);
  }
  if (!miss_cost.empty())
    mean_cost_ = std::accumulate(miss_cost.begin(), miss_cost.end(), 0.0) / static_cast<double>(layers);
  weights_.fill(1.0F / predictors);
  position_ = layers - 1;
  for (auto* buffer : {&shares_, &predicted_, &expected_, &error_}) buffer->assign(experts, 0);
  before_.assign(predictors * experts, 0);
  gap_before_.assign(experts, 0);
}

// ---- How likely an expert is asked for.

void ExpertPolicy::seed(std::size_t layer, std::span<const double> shares, std::uint64_t tokens) {
  check_number("layer", layer, layers_.size());
  if (shares.size() != experts_)
    throw Error(std::to_string(shares.size()) + " shares of experts, expected " + std::to_string(experts_));
  for (const double share : shares)
    if (!(share >= 0 && share <= 1))
      throw Error("an expert's share of the tokens " + std::to_string(share) + ", expected 0 to 1");
  if (tokens == 0) return;
  std::transform(shares.begin(), shares.end(), shares_.begin(),
                 [](double share) { return static_cast<float>(share); });
  take_in(layers_[layer], static_cast<double>(std::min(tokens, most_seed_tokens)));
  rank(layer);
}

// Adds `tokens` tokens with the experts' shares_ of them to the averages.
void ExpertPolicy::take_in(Layer& layer, double tokens) {
  for (std::size_t i = 0; i < averages; ++i) {
    const bool ages = i < half_lives.size();
    const double keep = ages ? std::exp2(-tokens / half_lives[i]) : 1;
    const double gain = ages ? 1 - keep : tokens;
    layer.mass[i] = layer.mass[i] * keep + gain;
    float* average = &layer.average[i * experts_];
    for (std::size_t e = 0; e < experts_; ++e)
      average[e] = average[e] * static_cast<float>(keep) + static_cast<float>(gain) * shares_[e];
  }
}

void ExpertPolicy::estimate(const Layer& layer, std::span<float> p) const {
  std::fill(p.begin(), p.end(), 0.0F);
  for (std::size_t i = 0; i < averages; ++i) {
    const float weight = weights_[i] / static_cast<float>(layer.mass[i]);
    const float* average = &layer.average[i * experts_];
    for (std::size_t e = 0; e < experts_; ++e) p[e] += weight * average[e];
  }
  std::array<float, gaps> usual;
  for (std::size_t g = 0; g < gaps; ++g) usual[g] = weights_.back() * usual_[g].value();
  for (std::size_t e = 0; e < experts_; ++e) p[e] += usual[gap(layer, e)];
}

std::size_t ExpertPolicy::gap(const Layer& layer, std::size_t expert) const {
  if (layer.read_at[expert] == 0) return gaps - 1;
  const std::uint64_t tokens = layer.clock - layer.read_at[expert];
  if (tokens < 4) return tokens;
  const auto octave = static_cast<std::size_t>(std::bit_width(tokens)) - 3;  // 0: from 4 on
  return std::min(4 * octave + (tokens >> octave), gaps - 2);
}

// How much reads a step later count beside those of this step: 1 - 1 / (steps to look ahead).
double ExpertPolicy::foresight() const {
  const double steps =
      inserts_ > 0 ? stay * static_cast<double>(slots_) * steps_ / inserts_ : 1 / (1 - farthest);
  return std::clamp(1 - 1 / steps, 0.0, farthest);
}

// Moves the weights to those that would have predicted better what was read: the shares_ of these tokens, and
// what is expected behind them now that they are known. before_ holds the averages before them, predicted_
// what was expected from those. A share's error counts the more the smaller it is, as in likelihoods.
void ExpertPolicy::learn(Layer& layer) {
  estimate(layer, expected_);
  const auto later = static_cast<float>(foresight());
  for (std::size_t e = 0; e < experts_; ++e) {
    const float was = std::clamp(predicted_[e], least_p, 1 - least_p);
    const float is = (1 - later) * shares_[e] + later * expected_[e];
    error_[e] = (is - was) / (was * (1 - was) * (1 - later));
    Mean& usual = usual_[gap_before_[e]];
    usual.sum += static_cast<double>(is);
    ++usual.mass;
  }
  const double keep = 1 - 1 / (usual_steps * static_cast<double>(layers_.size()));
  for (Mean& usual : usual_) {
    usual.sum *= keep;
    usual.mass *= keep;
  }
  double sum = 0;
  for (std::size_t i = 0; i < predictors; ++i) {
    const double gradient = static_cast<double>(dot(error_.data(), &before_[i * experts_], experts_)) /
                            static_cast<double>(experts_);
    weights_[i] *= static_cast<float>(std::exp(std::clamp(rate * gradient, -1.0, 1.0)));
    sum += static_cast<double>(weights_[i]);
  }
  for (float& weight : weights_)
    weight = static_cast<float>((1 - least_weight) * static_cast<double>(weight) / sum +
                                least_weight / predictors);
}

void ExpertPolicy::access(std::size_t layer, std::span<const ExpertTokens> reads, std::uint64_t tokens) {
  check_number("layer", layer, layers_.size());
  for (const ExpertTokens& read : reads) {
    check_number("expert", read.expert, experts_);
    if (read.tokens == 0 || read.tokens > tokens)
      throw Error("expert " + std::to_string(read.expert) + " with " + std::to_string(read.tokens) +
                  " tokens, expected 1 to the pass's " + std::to_string(tokens));
  }
  if (!begun_) begin();
  if (layer <= position_) {
    steps_ = steps_ * of_late + 1;
    inserts_ *= of_late;
  }
  position_ = layer;
  if (tokens == 0) return;

  std::fill(shares_.begin(), shares_.end(), 0.0F);
  for (const ExpertTokens& read : reads)
    shares_[read.expert] = static_cast<float>(read.tokens) / static_cast<float>(tokens);
  Layer& own = layers_[layer];
  const bool has_past = own.mass.back() > 0;
  if (has_past) {
    estimate(own, predicted_);
    for (std::size_t i = 0; i < averages; ++i)
      for (std::size_t e = 0; e < experts_; ++e)
        before_[i * experts_ + e] = own.average[i * experts_ + e] / static_cast<float>(own.mass[i]);
    for (std::size_t e = 0; e < experts_; ++e) {
      gap_before_[e] = gap(own, e);
      before_[averages * experts_ + e] = usual_[gap_before_[e]].value();
    }
  }
  const double evidence = std::sqrt(static_cast<double>(tokens));
  own.clock += static_cast<std::uint64_t>(std::lround(evidence));
  for (const ExpertTokens& read : reads) own.read_at[read.expert] = own.clock;
  take_in(own, evidence);
  if (has_past) learn(own);
  rank(layer);
  for (const Rule rule : {learned, frequency, recency}) take_in(rule, layer, reads);
  choose_leader();
}

// ---- What they are worth, by which rule.

// p by each rule. Of equals who was read last is worth more.
void ExpertPolicy::rank(std::size_t layer) {
  Layer& own = layers_[layer];
  own.changed = true;
  const std::size_t first = layer * experts_;
  estimate(own, std::span(shadows_[learned].p).subspan(first, experts_));
  const float* of_all = &own.average[(averages - 1) * experts_];
  const auto tokens = static_cast<float>(own.mass.back());
  for (std::size_t e = 0; e < experts_; ++e) {
    const float recent = own.read_at[e] == 0 ? 0 : 1 / static_cast<float>(1 + own.clock - own.read_at[e]);
    shadows_[recency].p[first + e] = recent;
    shadows_[frequency].p[first + e] = of_all[e] / tokens + 1e-6F * recent;
  }
}

// From the layer that was read last to this one, in steps: 1 for that layer itself.
double ExpertPolicy::distance(std::size_t layer) const {
  const std::size_t layers = layers_.size();
  return static_cast<double>((layer + layers - position_ - 1) % layers + 1) / static_cast<double>(layers);
}

double ExpertPolicy::worth(Rule rule, ExpertKey key) const {
  const auto p = static_cast<double>(shadows_[rule].p[key.layer * experts_ + key.expert]);
  return layers_[key.layer].cost * p / (1 + distance(key.layer) * p);
}

double ExpertPolicy::worth(ExpertKey key) const {
  check(key);
  return worth(leader_, key);
}

// Of a layer's experts with `may_go`, who has least p.
template <class MayGo>
std::optional<std::uint32_t> ExpertPolicy::least(const float* p, MayGo may_go) const {
  std::optional<std::uint32_t> least;
  for (std::uint32_t e = 0; e < experts_; ++e)
    if (may_go(e) && (!least || p[e] < p[*least])) least = e;
  return least;
}

void ExpertPolicy::find_least(Shadow& shadow, std::size_t layer) const {
  const std::size_t first = layer * experts_;
  shadow.least[layer] = least(&shadow.p[first], [&](std::size_t e) { return shadow.holds[first + e] == 1; });
}

// The shadows begin with what the cache is advised to begin with.
void ExpertPolicy::begin() {
  begun_ = true;
  for (const ExpertKey key : favourites())
    for (Shadow& shadow : shadows_) {
      shadow.holds[key.layer * experts_ + key.expert] = 1;
      ++shadow.size;
    }
  for (Shadow& shadow : shadows_)
    for (std::size_t l = 0; l < layers_.size(); ++l) find_least(shadow, l);
}

// As a cache would that reads one expert after the other; those that wait to be read are not given up.
void ExpertPolicy::take_in(Rule rule, std::size_t layer, std::span<const ExpertTokens> reads) {
  Shadow& shadow = shadows_[rule];
  std::uint8_t* holds = &shadow.holds[layer * experts_];
  const float* p = &shadow.p[layer * experts_];
  for (const ExpertTokens& read : reads)
    if (holds[read.expert]) holds[read.expert] = waiting;
  find_least(shadow, layer);
  for (const ExpertTokens& read : reads) {
    if (holds[read.expert]) {
      shadow.saved += layers_[layer].cost;
    } else {
      if (shadow.size == slots_ && !give_up_least(shadow, rule)) continue;
      ++shadow.size;
    }
    holds[read.expert] = 1;
    std::optional<std::uint32_t>& least = shadow.least[layer];
    if (!least || p[read.expert] < p[*least]) least = read.expert;
  }
}

bool ExpertPolicy::give_up_least(Shadow& shadow, Rule rule) {
  std::optional<ExpertKey> out;
  double least_worth = 0;
  for (std::uint32_t l = 0; l < layers_.size(); ++l) {
    if (!shadow.least[l]) continue;
    const ExpertKey key{l, *shadow.least[l]};
    const double its = worth(rule, key);
    if (out && its >= least_worth) continue;
    out = key;
    least_worth = its;
  }
  if (!out) return false;
  shadow.holds[out->layer * experts_ + out->expert] = 0;
  --shadow.size;
  find_least(shadow, out->layer);
  if (rule == leader_) layers_[out->layer].changed = true;
  return true;
}

void ExpertPolicy::choose_leader() {
  for (const Rule rule : {learned, frequency, recency}) {
    if (shadows_[rule].saved <= shadows_[leader_].saved + clearly * mean_cost_) continue;
    leader_ = rule;
    for (Layer& layer : layers_) layer.changed = true;
  }
}

// ---- Who stays.

void ExpertPolicy::check(ExpertKey key) const {
  check_number("layer", key.layer, layers_.size());
  check_number("expert", key.expert, experts_);
}

ExpertPolicy::Entry& ExpertPolicy::entry(ExpertKey key) {
  check(key);
  return entries_[key.layer * experts_ + key.expert];
}

const ExpertPolicy::Entry& ExpertPolicy::entry(ExpertKey key) const {
  check(key);
  return entries_[key.layer * experts_ + key.expert];
}

bool ExpertPolicy::holds(ExpertKey key) const {
  return entry(key).held;
}

void ExpertPolicy::insert(ExpertKey key) {
  Entry& e = entry(key);
  if (e.held) throw Error(name(key) + " is in the cache already");
  if (full()) throw Error(name(key) + ": the cache is full, it has " + std::to_string(slots_) + " slots");
  e.held = true;
  ++size_;
  ++inserts_;
  layers_[key.layer].changed = true;
}

void ExpertPolicy::erase(ExpertKey key) {
  Entry& e = entry(key);
  if (!e.held || e.pins > 0) throw Error(name(key) + (e.held ? " is pinned" : " is not in the cache"));
  e.held = false;
  --size_;
  layers_[key.layer].changed = true;
}

void ExpertPolicy::pin(ExpertKey key) {
  Entry& e = entry(key);
  if (!e.held) throw Error(name(key) + " is not in the cache");
  if (e.pins++ == 0) layers_[key.layer].changed = true;
}

void ExpertPolicy::unpin(ExpertKey key) {
  Entry& e = entry(key);
  if (e.pins == 0) throw Error(name(key) + " is not pinned");
  if (--e.pins == 0) layers_[key.layer].changed = true;
}

void ExpertPolicy::find_least(std::size_t layer) {
  Layer& own = layers_[layer];
  own.changed = false;
  const std::size_t first = layer * experts_;
  const Shadow& shadow = shadows_[leader_];
  const auto free = [&](std::size_t e) { return entries_[first + e].held && entries_[first + e].pins == 0; };
  own.least = least(&shadow.p[first], [&](std::size_t e) { return free(e) && shadow.holds[first + e] == 0; });
  own.stray = own.least.has_value();
  if (!own.stray) own.least = least(&shadow.p[first], free);
}

// Within a layer worth rises with p, so the least of each layer are all there is to compare.
std::optional<ExpertKey> ExpertPolicy::victim() {
  std::optional<ExpertKey> victim;
  bool stray = false;
  double least_worth = 0;
  for (std::uint32_t l = 0; l < layers_.size(); ++l) {
    Layer& own = layers_[l];
    if (own.changed) find_least(l);
    if (!own.least || (stray && !own.stray)) continue;
    const ExpertKey key{l, *own.least};
    const double its = worth(leader_, key);
    if (victim && stray == own.stray && its >= least_worth) continue;
    victim = key;
    stray = own.stray;
    least_worth = its;
  }
  return victim;
}

// By what is learned, whoever leads: where nothing was read yet it is all that seeds have told.
std::vector<ExpertKey> ExpertPolicy::favourites() const {
  std::vector<ExpertKey> keys;
  for (std::uint32_t l = 0; l < layers_.size(); ++l)
    for (std::uint32_t e = 0; e < experts_; ++e)
      if (shadows_[learned].p[l * experts_ + e] > 0) keys.push_back({l, e});
  std::stable_sort(keys.begin(), keys.end(),
                   [&](ExpertKey a, ExpertKey b) { return worth(learned, a) > worth(learned, b); });
  if (keys.size() > slots_) keys.resize(slots_);
  return keys;
}

}  // namespace baleen
