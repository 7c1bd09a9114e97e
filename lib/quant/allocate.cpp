#include "quant/allocate.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "error.h"
#include "report/units.h"

namespace baleen {
namespace {

// From one option of a unit to the next one on its hull.
struct Step {
  std::size_t unit = 0;
  std::size_t from = 0, to = 0;  // options
  std::uint64_t bytes = 0;
  double saved = 0;  // load * error
  double rate() const { return saved / static_cast<double>(bytes); }
};

Step step(const Unit& unit, std::size_t index, std::size_t from, std::size_t to) {
  const UnitOption& a = unit.options[from];
  const UnitOption& b = unit.options[to];
  return {index, from, to, b.bytes - a.bytes, unit.load * (a.error - b.error)};
}

// Indices of the options, smallest first, of equally large ones the best first.
std::vector<std::size_t> by_size(const Unit& unit) {
  std::vector<std::size_t> order(unit.options.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const UnitOption &x = unit.options[a], &y = unit.options[b];
    return x.bytes != y.bytes ? x.bytes < y.bytes : x.error < y.error;
  });
  return order;
}

// The steps along the lower convex hull, from the smallest option on; their rates never grow.
std::vector<Step> hull(const Unit& unit, std::size_t index, const std::vector<std::size_t>& order) {
  std::vector<Step> steps;
  for (const std::size_t option : order) {
    Step next = step(unit, index, steps.empty() ? order[0] : steps.back().to, option);
    if (next.bytes == 0 || !(next.saved > 0)) continue;
    while (!steps.empty() && steps.back().rate() < next.rate()) {
      next = step(unit, index, steps.back().from, option);
      steps.pop_back();
    }
    steps.push_back(next);
  }
  return steps;
}

[[noreturn]] void refuse(std::span<const Unit> units, std::uint64_t other, std::uint64_t target,
                         std::uint64_t least) {
  std::uint64_t most = other;
  for (const Unit& unit : units)
    most += std::max_element(unit.options.begin(), unit.options.end(), [](auto& a, auto& b) {
              return a.bytes < b.bytes;
            })->bytes;
  throw UsageError("a size of " + format_bytes(target) + " cannot be met: with the fewest bits it is " +
                   format_bytes(least) + " (" + std::to_string(least) + " bytes), with the most " +
                   format_bytes(most));
}

}  // namespace

Allocation allocate(std::span<const Unit> units, std::uint64_t other_bytes, std::uint64_t target_bytes) {
  Allocation result;
  result.bytes = other_bytes;
  std::vector<Step> steps;
  for (std::size_t u = 0; u < units.size(); ++u) {
    const std::vector<std::size_t> order = by_size(units[u]);
    result.choices.push_back(order[0]);
    result.bytes += units[u].options[order[0]].bytes;
    const std::vector<Step> own = hull(units[u], u, order);
    steps.insert(steps.end(), own.begin(), own.end());
  }
  if (result.bytes > target_bytes) refuse(units, other_bytes, target_bytes, result.bytes);

  std::stable_sort(steps.begin(), steps.end(),
                   [](const Step& a, const Step& b) { return a.rate() > b.rate(); });
  for (const Step& each : steps) {
    // A unit of which a step did not fit takes none behind it.
    if (result.choices[each.unit] != each.from || each.bytes > target_bytes - result.bytes) continue;
    result.choices[each.unit] = each.to;
    result.bytes += each.bytes;
  }
  for (std::size_t u = 0; u < units.size(); ++u)
    result.error += units[u].load * units[u].options[result.choices[u]].error;
  return result;
}

}  // namespace baleen
