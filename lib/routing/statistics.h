// Numbers about expert loads: how even they are, how far apart two of them, which experts prefer one kind of
// text. Pure functions; utilization is load / mean load of the layer.
//
// Everything that is called noise or significant takes the tokens as independent draws. Tokens of one text
// are not quite: what is near the noise needs more text, not more digits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "routing/expert_load.h"

namespace baleen {

struct LoadStatistics {
  double mean = 0;       // tokens an expert
  double max_vio = 0;    // maximum utilization - 1: 0 if all are alike, experts - 1 if one gets everything
  double cv = 0;         // coefficient of variation: standard deviation (of all experts) / mean
  double entropy = 1;    // of the shares, over ln experts: 1 if all are alike, 0 if one gets everything
  double gini = 0;       // 0 if all are alike, (experts - 1) / experts if one gets everything
  std::size_t dead = 0;  // experts without a token
  std::array<double, 5> quantiles = {1, 1, 1, 1, 1};  // of the utilization, at load_quantiles
};
inline constexpr std::array<double, 5> load_quantiles = {0.05, 0.25, 0.5, 0.75, 0.95};

// A layer without any load counts as even, with all experts dead. Quantiles between two experts are
// interpolated linearly.
LoadStatistics load_statistics(std::span<const std::uint64_t> load);

// MaxVio that a router without any preference would show after so many tokens, by chance alone: the expected
// maximum of `experts` nearly normal utilizations, roughly. 0 where there are no tokens.
double max_vio_by_chance(const LayerLoad&);

// [experts] load / mean load; ones for a layer without any.
std::vector<double> utilization(std::span<const std::uint64_t> load);

// Jensen-Shannon divergence of the shares of load, every one of the loads weighing the same, in bits: 0 if
// all are alike, log2(how many) if no two have an expert in common.
struct JensenShannon {
  double bits = 0;
  double noise = 0;  // bits that samples of this size of one and the same distribution show on average
  double excess() const { return bits > noise ? bits - noise : 0; }
};
// Of the same layer, two or more with load and as many experts each; otherwise 0.
JensenShannon jensen_shannon(std::span<const LayerLoad* const> loads);

// An expert whose utilization differs between two loads of a layer.
struct Mover {
  std::size_t layer = 0;
  std::uint32_t expert = 0;
  double before = 0, after = 0;  // utilization
  double z = 0;                  // the difference in standard errors of it
};
// The `most` largest differences, largest first.
std::vector<Mover> largest_movers(std::span<const LayerLoad> before, std::span<const LayerLoad> after,
                                  std::size_t most);

// The loads that one label's tokens made.
struct LabelLoad {
  std::string label;
  std::vector<LayerLoad> layers;
};

// An expert that tokens of a label go to more often than those of all other labels together.
struct Preference {
  std::size_t layer = 0;
  std::uint32_t expert = 0;
  std::size_t label = 0;  // index
  double rate = 0;        // share of the label's tokens that went to the expert
  double other_rate = 0;  // of the others'
  double ratio = 0;       // of the two; half a token is added on both sides, so that it is finite
  // Two-sided z test of two proportions with pooled variance, times the number of tests made (experts x
  // layers x labels, Bonferroni): the chance that any of them looks like this without cause. At most 1.
  double p = 1;
};
// Those with p < `significance` and ratio > 1, largest ratio first.
std::vector<Preference> label_preferences(std::span<const LabelLoad> labels, double significance);

}  // namespace baleen
