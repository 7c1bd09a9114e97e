// Which GPU holds which expert when a model is served by many GPUs: the placement of DeepSeek's expert
// parallelism load balancer, EPLB (DeepSeek-V3 report, section 3.4; github.com/deepseek-ai/EPLB). Experts
// with much load get several replicas, and the replicas are packed so that all GPUs have about the same to
// do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "routing/expert_load.h"

namespace baleen {

struct PlacementOptions {
  std::size_t replicas = 0;  // physical experts of a layer over all GPUs, each expert at least once
  std::size_t groups = 1;    // groups of the model's router (n_group)
  std::size_t nodes = 1;     // machines: GPUs within one talk to each other faster
  std::size_t gpus = 1;      // of all nodes together
};

// One layer's placement, the maps as EPLB returns them. GPU g holds the slots g * replicas / gpus up to the
// next GPU's first.
struct LayerPlacement {
  std::vector<std::uint32_t> phy2log;  // [replicas] the expert in a slot
  // [experts][most replicas of any expert in any layer] the slots of an expert, then -1
  std::vector<std::vector<std::int32_t>> log2phy;
  std::vector<std::uint32_t> logcnt;  // [experts] replicas of an expert
};

// Load of the busiest GPU and node over the mean: 1 is balanced, 2 means that half of the GPUs' time is
// waiting. 1 where there is no load.
struct LoadBalance {
  double gpu = 1;
  double node = 1;
};

struct Placement {
  std::vector<LayerPlacement> layers;  // as the loads come
  std::vector<LoadBalance> before;     // [layers] every expert once, in order, as many on each GPU
  std::vector<LoadBalance> after;      // [layers]
  // Over all layers: the layers' maxima summed over their means summed, since GPUs wait for one another in
  // every layer.
  LoadBalance before_all, after_all;
  bool hierarchical = false;  // groups stayed whole on their nodes
};

// Places the experts of every layer, hierarchically (whole groups on nodes, then replicas within a node)
// where nodes divide groups, else over all GPUs at once. What decides is computed in float32 and equal loads
// keep their order, as in EPLB with a stable sort; only a group's load is summed exactly and rounded once,
// which differs from any order of float32 additions only above 2^24. An expert's load counts as shared evenly
// by its replicas. Throws UsageError for numbers that no placement has.
Placement place_experts(std::span<const LayerLoad> loads, const PlacementOptions&);

}  // namespace baleen
