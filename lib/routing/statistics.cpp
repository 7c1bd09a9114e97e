#include "routing/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bench/statistics.h"

namespace baleen {
namespace {

double sum_of(std::span<const std::uint64_t> load) {
  return static_cast<double>(std::accumulate(load.begin(), load.end(), std::uint64_t{0}));
}

// -sum p log p in nats of shares that sum to 1.
double entropy_of(std::span<const double> shares) {
  double entropy = 0;
  for (const double p : shares)
    if (p > 0) entropy -= p * std::log(p);
  return entropy;
}

// With x ascending: sum over i of (2 i - n - 1) x_i / (n sum of x), i from 1.
double gini_of(std::span<const double> ascending) {
  const auto n = static_cast<double>(ascending.size());
  double weighted = 0;
  double sum = 0;
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    weighted += (2 * static_cast<double>(i + 1) - n - 1) * ascending[i];
    sum += ascending[i];
  }
  return weighted / (n * sum);
}

std::vector<double> shares(std::span<const std::uint64_t> load) {
  const double sum = sum_of(load);
  std::vector<double> result;
  for (const std::uint64_t x : load) result.push_back(static_cast<double>(x) / sum);
  return result;
}

// The variance of a share that was estimated from n tokens, each sent to k different experts: a token goes to
// the expert or not, with the chance k p, and the share is the mean of that over k.
double share_variance(double p, double tokens, double k) {
  return std::max(0.0, p * (1 - k * p) / (tokens * k));
}

}  // namespace

LoadStatistics load_statistics(std::span<const std::uint64_t> load) {
  LoadStatistics s;
  s.dead = static_cast<std::size_t>(std::count(load.begin(), load.end(), std::uint64_t{0}));
  if (s.dead == load.size()) return s;
  s.mean = sum_of(load) / static_cast<double>(load.size());
  std::vector<double> sorted = utilization(load);
  std::sort(sorted.begin(), sorted.end());
  s.max_vio = sorted.back() - 1;
  double squares = 0;
  for (const double u : sorted) squares += (u - 1) * (u - 1);
  s.cv = std::sqrt(squares / static_cast<double>(load.size()));
  if (load.size() > 1) s.entropy = entropy_of(shares(load)) / std::log(static_cast<double>(load.size()));
  s.gini = gini_of(sorted);
  for (std::size_t i = 0; i < load_quantiles.size(); ++i)
    s.quantiles[i] = quantile(sorted, load_quantiles[i]);
  return s;
}

double max_vio_by_chance(const LayerLoad& layer) {
  const auto experts = static_cast<double>(layer.load.size());
  const auto assignments = static_cast<double>(layer.tokens * layer.top_k);
  if (assignments == 0 || experts < 2) return 0;
  const double deviation = experts * std::sqrt(share_variance(1 / experts, static_cast<double>(layer.tokens),
                                                              static_cast<double>(layer.top_k)));
  // The expected maximum of n standard normal numbers, to a few percent: the quantile 1 - 1 / (n + 1) would
  // need its inverse; sqrt(2 ln n) less its first correction does not.
  const double root = std::sqrt(2 * std::log(experts));
  const double maximum = root - (std::log(std::log(experts)) + std::log(4 * M_PI) - 2 * 0.5772) / (2 * root);
  return deviation * std::max(maximum, 0.5);
}

std::vector<double> utilization(std::span<const std::uint64_t> load) {
  const double mean = sum_of(load) / static_cast<double>(load.size());
  std::vector<double> result(load.size(), 1);
  if (mean == 0) return result;
  for (std::size_t e = 0; e < load.size(); ++e) result[e] = static_cast<double>(load[e]) / mean;
  return result;
}

JensenShannon jensen_shannon(std::span<const LayerLoad* const> loads) {
  JensenShannon result;
  const auto count = static_cast<double>(loads.size());
  if (loads.size() < 2) return result;
  const std::size_t experts = loads[0]->load.size();
  std::vector<double> mixture(experts);
  double entropies = 0;
  double inverse_sizes = 0;  // sum of 1 / (tokens * top_k)
  for (const LayerLoad* layer : loads) {
    if (layer->load.size() != experts || sum_of(layer->load) == 0) return {};
    const std::vector<double> p = shares(layer->load);
    for (std::size_t e = 0; e < experts; ++e) mixture[e] += p[e] / count;
    entropies += entropy_of(p) / count;
    inverse_sizes += 1 / sum_of(layer->load);
  }
  // Rounding may leave a little below 0 where all are alike.
  result.bits = std::max(0.0, (entropy_of(mixture) - entropies) / M_LN2);
  // To second order the divergence is half of sum_e (mean over loads of (p_e - m_e)^2) / m_e. If all tokens
  // are drawn from m, p_e has the variance m_e (1 - k m_e) / (n k), and m_e itself is estimated from them:
  // summed over the experts that occur that leaves (experts - k) (count - 1) / count^2 sum of 1 / (n k).
  const auto alive =
      static_cast<double>(std::count_if(mixture.begin(), mixture.end(), [](double m) { return m > 0; }));
  const double free = std::max(0.0, alive - static_cast<double>(loads[0]->top_k));
  result.noise = 0.5 * free * (count - 1) / (count * count) * inverse_sizes / M_LN2;
  return result;
}

std::vector<Mover> largest_movers(std::span<const LayerLoad> before, std::span<const LayerLoad> after,
                                  std::size_t most) {
  std::vector<Mover> movers;
  for (std::size_t l = 0; l < std::min(before.size(), after.size()); ++l) {
    const LayerLoad& a = before[l];
    const LayerLoad& b = after[l];
    if (a.load.size() != b.load.size() || sum_of(a.load) == 0 || sum_of(b.load) == 0) continue;
    const auto experts = static_cast<double>(a.load.size());
    const std::vector<double> p = shares(a.load);
    const std::vector<double> q = shares(b.load);
    for (std::size_t e = 0; e < p.size(); ++e) {
      // Standard error if both were one: from the pooled share.
      const double pooled = static_cast<double>(a.load[e] + b.load[e]) / (sum_of(a.load) + sum_of(b.load));
      const auto k = static_cast<double>(a.top_k);
      const double error = std::sqrt(share_variance(pooled, static_cast<double>(a.tokens), k) +
                                     share_variance(pooled, static_cast<double>(b.tokens), k));
      movers.push_back({.layer = a.layer,
                        .expert = static_cast<std::uint32_t>(e),
                        .before = p[e] * experts,
                        .after = q[e] * experts,
                        .z = error > 0 ? (q[e] - p[e]) / error : 0});
    }
  }
  std::stable_sort(movers.begin(), movers.end(), [](const Mover& a, const Mover& b) {
    return std::abs(a.after - a.before) > std::abs(b.after - b.before);
  });
  movers.resize(std::min(movers.size(), most));
  return movers;
}

namespace {

// x of n against y of m.
Preference compare_rates(double x, double n, double y, double m) {
  Preference result;
  result.rate = x / n;
  result.other_rate = y / m;
  result.ratio = ((x + 0.5) / (n + 0.5)) / ((y + 0.5) / (m + 0.5));
  const double pooled = (x + y) / (n + m);
  const double error = std::sqrt(pooled * (1 - pooled) * (1 / n + 1 / m));
  if (error > 0) result.p = std::erfc(std::abs(result.rate - result.other_rate) / error / M_SQRT2);
  return result;
}

}  // namespace

std::vector<Preference> label_preferences(std::span<const LabelLoad> labels, double significance) {
  std::vector<Preference> preferences;
  if (labels.size() < 2) return preferences;
  double tests = 0;
  for (const LayerLoad& layer : labels[0].layers)
    tests += static_cast<double>(layer.load.size() * labels.size());
  for (std::size_t l = 0; l < labels[0].layers.size(); ++l) {
    for (std::size_t e = 0; e < labels[0].layers[l].load.size(); ++e) {
      double load = 0;
      double tokens = 0;
      for (const LabelLoad& label : labels) {
        load += static_cast<double>(label.layers[l].load[e]);
        tokens += static_cast<double>(label.layers[l].tokens);
      }
      for (std::size_t i = 0; i < labels.size(); ++i) {
        const auto own = static_cast<double>(labels[i].layers[l].load[e]);
        const auto own_tokens = static_cast<double>(labels[i].layers[l].tokens);
        if (own_tokens == 0 || own_tokens == tokens) continue;
        Preference p = compare_rates(own, own_tokens, load - own, tokens - own_tokens);
        p.p = std::min(1.0, p.p * tests);
        p.layer = labels[i].layers[l].layer;
        p.expert = static_cast<std::uint32_t>(e);
        p.label = i;
        if (p.ratio > 1 && p.p < significance) preferences.push_back(p);
      }
    }
  }
  std::stable_sort(preferences.begin(), preferences.end(),
                   [](const Preference& a, const Preference& b) { return a.ratio > b.ratio; });
  return preferences;
}

}  // namespace baleen
