// Meeting a size: bits where error times load is largest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/choose.h"
#include "quant/sample.h"
#include "routing/expert_shares.h"

namespace baleen {

struct FitOptions {
  ChooseOptions choose;    // rules and names that stay; `to` is not looked at
  std::size_t group = 32;  // of int4 and int8
  std::uint64_t size = 0;  // of all shards together, at most
  std::uint64_t shard_size = 0;
  bool per_expert = false;               // routed experts one by one, not a layer's together
  const ExpertShares* shares = nullptr;  // null: all experts of a layer alike
  SampleOptions sample;
};

// Decisions for each of the source's modules: int4, int8 or as stored for each kind of matrix in each layer
// that no rule speaks of, so that the sum over modules of squared error times the share of tokens that meet
// it is least. Errors are measured on samples. Throws UsageError naming the least and the most size possible.
std::vector<Decision> fit_size(const Source&, ThreadPool&, const FitOptions&);

}  // namespace baleen
