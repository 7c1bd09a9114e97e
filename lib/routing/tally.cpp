#include "routing/tally.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "error.h"

namespace baleen {

// ---- Tally

Tally::Tally(const RouteHeader& header) {
  for (const std::size_t layer : header.layers)
    layers_.push_back({.layer = layer,
                       .load = std::vector<std::uint64_t>(header.experts),
                       .tokens = 0,
                       .top_k = header.top_k});
}

void Tally::add(const RouteToken& token) {
  const std::uint32_t* expert = token.experts.data();
  for (LayerLoad& layer : layers_) {
    ++layer.tokens;
    for (std::size_t i = 0; i < layer.top_k; ++i) ++layer.load[*expert++];
  }
}

void Tally::add(const RouteCounts& counts) {
  const std::uint64_t* load = counts.load.data();
  for (LayerLoad& layer : layers_) {
    layer.tokens += counts.tokens;
    for (std::uint64_t& sum : layer.load) sum += *load++;
  }
}

void Tally::add(const LayerLoad& load) {
  const auto at =
      std::lower_bound(layers_.begin(), layers_.end(), load.layer,
                       [](const LayerLoad& layer, std::size_t number) { return layer.layer < number; });
  if (at == layers_.end() || at->layer != load.layer) {
    layers_.insert(at, load);
    return;
  }
  const auto differ = [&](std::size_t have, std::size_t found, const std::string& what) {
    if (have != found)
      throw Error("layer " + std::to_string(load.layer) + ": " + std::to_string(found) + " " + what + ", " +
                  std::to_string(have) + " in what was read before: loads of two models");
  };
  differ(at->load.size(), load.load.size(), "experts");
  differ(at->top_k, load.top_k, "experts for a token");
  at->tokens += load.tokens;
  for (std::size_t e = 0; e < load.load.size(); ++e) at->load[e] += load.load[e];
}

std::uint64_t Tally::tokens() const {
  std::uint64_t most = 0;
  for (const LayerLoad& layer : layers_) most = std::max(most, layer.tokens);
  return most;
}

// ---- KeyedTally

KeyedTally::KeyedTally(const RouteHeader& header, std::size_t most_bytes)
    : header_(header),
      most_(std::max<std::size_t>(
          1, most_bytes / (header.layers.size() * header.experts * sizeof(std::uint64_t)))),
      others_(header) {}

Tally& KeyedTally::operator[](const std::string& key) {
  if (const auto at = index_.find(key); at != index_.end()) return entries_[at->second].tally;
  if (entries_.size() == most_) {
    ++left_out_;
    return others_;
  }
  index_.emplace(key, entries_.size());
  entries_.push_back({key, Tally(header_)});
  return entries_.back().tally;
}

// ---- HalvesTally

void HalvesTally::add(const RouteToken& token) {
  if (stretches_.back().tokens() == length_) {
    if (stretches_.size() == most_stretches) {
      for (std::size_t i = 0; i < most_stretches / 2; ++i) {
        Tally both = stretches_[2 * i];
        for (const LayerLoad& layer : stretches_[2 * i + 1].layers()) both.add(layer);
        stretches_[i] = std::move(both);
      }
      stretches_.resize(most_stretches / 2);
      length_ *= 2;
    }
    stretches_.emplace_back(header_);
  }
  stretches_.back().add(token);
}

// The stretch at whose beginning the tokens before are nearest to half of all.
std::size_t HalvesTally::middle() const {
  const std::uint64_t tokens = length_ * (stretches_.size() - 1) + stretches_.back().tokens();
  return static_cast<std::size_t>((tokens + length_) / (2 * length_));
}

std::vector<LayerLoad> HalvesTally::sum(std::size_t begin, std::size_t end) const {
  Tally total(header_);
  for (std::size_t i = begin; i < end; ++i)
    for (const LayerLoad& layer : stretches_[i].layers()) total.add(layer);
  return total.layers();
}

std::vector<LayerLoad> HalvesTally::first() const {
  return sum(0, middle());
}
std::vector<LayerLoad> HalvesTally::second() const {
  return sum(middle(), stretches_.size());
}

// ---- PairTally

PairTally::PairTally(const RouteHeader& header, std::size_t layer)
    : experts_(header.experts), top_k_(header.top_k) {
  constexpr std::size_t most_bytes = std::size_t{512} << 20U;
  for (std::size_t i = 0; i < header.layers.size(); ++i) {
    if (layer != SIZE_MAX && header.layers[i] != layer) continue;
    layers_.push_back(header.layers[i]);
    indices_.push_back(i);
  }
  const std::size_t pairs = experts_ * (experts_ - 1) / 2;
  if (layers_.size() * pairs > most_bytes / sizeof(std::uint64_t))
    throw Error("pairs of " + std::to_string(experts_) + " experts in " + std::to_string(layers_.size()) +
                " layers take more than " + std::to_string(most_bytes >> 20U) +
                " MiB\none layer, --layer N, takes less");
  pairs_.assign(layers_.size(), std::vector<std::uint64_t>(pairs));
}

// Of the pair a < b: row b of a triangle.
std::size_t PairTally::cell(std::size_t a, std::size_t b) const {
  return b * (b - 1) / 2 + a;
}

void PairTally::add(const RouteToken& token) {
  ++tokens_;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const std::uint32_t* experts = token.experts.data() + indices_[l] * top_k_;
    for (std::size_t j = 1; j < top_k_; ++j)
      for (std::size_t i = 0; i < j; ++i) ++pairs_[l][cell(experts[i], experts[j])];
  }
}

std::vector<Pair> PairTally::above_chance(double least_z) const {
  constexpr double least_expected = 5;  // below, the normal approximation of z means nothing
  std::vector<Pair> found;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    // Every token that goes to an expert makes top_k - 1 pairs with it.
    std::vector<double> load(experts_);
    for (std::size_t b = 1; b < experts_; ++b)
      for (std::size_t a = 0; a < b; ++a) {
        const auto both = static_cast<double>(pairs_[l][cell(a, b)]);
        load[a] += both;
        load[b] += both;
      }
    double products = 0;
    double sum = 0;
    for (const double x : load) products -= x * x / 2, sum += x;
    products += sum * sum / 2;  // sum over pairs of load_a load_b
    if (products <= 0) continue;
    for (std::size_t b = 1; b < experts_; ++b)
      for (std::size_t a = 0; a < b; ++a) {
        Pair pair{.layer = layers_[l],
                  .a = static_cast<std::uint32_t>(a),
                  .b = static_cast<std::uint32_t>(b),
                  .tokens = pairs_[l][cell(a, b)],
                  .expected = load[a] * load[b] / products * sum / 2,
                  .z = 0};
        if (pair.expected < least_expected) continue;
        const double chance = std::min(1.0, pair.expected / static_cast<double>(tokens_));
        const double deviation = std::sqrt(pair.expected * (1 - chance));
        pair.z = deviation > 0 ? (static_cast<double>(pair.tokens) - pair.expected) / deviation : 0;
        if (pair.z >= least_z) found.push_back(pair);
      }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Pair& x, const Pair& y) { return x.lift() > y.lift(); });
  return found;
}

}  // namespace baleen
