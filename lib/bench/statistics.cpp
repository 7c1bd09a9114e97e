#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace baleen {
namespace {

double quantile_of_sorted(std::span<const double> sorted, double share) {
  if (sorted.empty()) return 0;
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - std::floor(place)) * (sorted[above] - sorted[below]);
}

std::vector<double> sorted(std::span<const double> samples) {
  std::vector<double> result(samples.begin(), samples.end());
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace

double quantile(std::span<const double> samples, double share) {
  return quantile_of_sorted(sorted(samples), share);
}

Summary summarize(std::span<const double> samples) {
  const std::vector<double> order = sorted(samples);
  return {.median = quantile_of_sorted(order, 0.5),
          .low = quantile_of_sorted(order, 0.25),
          .high = quantile_of_sorted(order, 0.75)};
}

}  // namespace baleen
