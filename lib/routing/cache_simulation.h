// A cache of experts by ExpertPolicy, run on the reads of a log: what it would have served. It takes in every
// expert that is read, like the caches of reuse.h, so that Belady's optimum there is a bound for it too; what
// is hardly worth its slot is the next to go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "routing/expert_policy.h"

namespace baleen {

class CacheSimulation {
 public:
  // As ExpertPolicy's constructor.
  CacheSimulation(std::size_t layers, std::size_t experts, std::size_t slots)
      : policy_(layers, experts, slots) {}

  // One layer of a pass, as ExpertPolicy::access() takes it; its experts are read in the order given, one
  // after the other. Those that are in the cache when the layer asks stay until they are read, unless there
  // is no other slot left. Returns how many were in the cache as they were read.
  std::size_t read(std::size_t layer, std::span<const ExpertTokens> reads, std::uint64_t tokens);

  std::size_t slots() const { return policy_.slots(); }

 private:
  void make_room();

  ExpertPolicy policy_;
  std::vector<ExpertKey> waiting_;  // pinned, the last to be read first
};

}  // namespace baleen
