// What statistics and plans are made from: how many tokens each expert of a layer got.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace baleen {

// The load of one MoE layer. Where it comes from a whole log, the loads sum to tokens * top_k; loads that
// were written by hand have tokens = sum of the loads and top_k = 1.
struct LayerLoad {
  std::size_t layer = 0;            // the model's number for it, dense layers counted
  std::vector<std::uint64_t> load;  // [experts] tokens sent to each expert
  std::uint64_t tokens = 0;         // tokens that went through the layer
  std::size_t top_k = 0;            // experts that each of them was sent to
};

}  // namespace baleen
