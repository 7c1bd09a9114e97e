// Meeting a size: which weights get more bits, so that the expected error is least.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace baleen {

// One way to store a unit.
struct UnitOption {
  std::uint64_t bytes = 0;
  double error = 0;  // measured, finite: sum of squared errors of the weights, weighted or not
};

// What gets the same format: a layer's routed experts, or a single expert.
struct Unit {
  double load = 1;                  // what an error in it counts: the share of tokens that meet it
  std::vector<UnitOption> options;  // in any order, at least one
};

struct Allocation {
  std::vector<std::size_t> choices;  // [units] index of the option
  std::uint64_t bytes = 0;           // of the units and of everything else
  double error = 0;                  // sum of load * error
};

// Chooses an option for each unit so that they and `other_bytes` of everything else take at most
// `target_bytes`. All begin with their smallest option; then bytes go where they save the most load * error
// each, along the convex hull of every unit's options (Shoham and Gersho, "Efficient bit allocation for an
// arbitrary set of quantizers", 1988). The result is the best there is for its own number of bytes as long
// as every step fits; of the steps behind the first one that does not, those that fit are taken, so that the
// distance from the best is less than what that one step saves. More bytes never make it worse. Of equal
// steps the first unit's comes first; an option that saves nothing is not taken.
//
// Throws UsageError naming the least and the most size possible if the smallest options do not fit.
Allocation allocate(std::span<const Unit> units, std::uint64_t other_bytes, std::uint64_t target_bytes);

}  // namespace baleen
