#include "routing/placement.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <string>
#include <utility>

#include "error.h"

namespace baleen {
namespace {

// Many times the GPUs of the largest deployments; the padded maps of 58 layers stay below 256 MiB.
constexpr std::size_t most_replicas = 1 << 12;

// The least of its keys first, of equal keys the least index: where Python's min() and torch's max() look.
using Smallest = std::priority_queue<std::pair<float, std::uint32_t>,
                                     std::vector<std::pair<float, std::uint32_t>>, std::greater<>>;

// Packs `packs` packs with the same number of items each, the heaviest first, each into the lightest pack
// that has room. Returns the items in the order of packs and of their coming: [packs * items in a pack].
std::vector<std::uint32_t> pack_evenly(std::span<const float> weights, std::size_t packs) {
  const std::size_t room = weights.size() / packs;
  std::vector<std::uint32_t> items(weights.size());
  std::iota(items.begin(), items.end(), 0u);
  if (room == 1) return items;  // nothing to gain; EPLB leaves them in order

  std::stable_sort(items.begin(), items.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return weights[a] > weights[b]; });
  std::vector<std::uint32_t> packed(weights.size());
  std::vector<std::size_t> count(packs, 0);
  Smallest open;
  for (std::uint32_t p = 0; p < packs; ++p) open.emplace(0.0f, p);
  for (const std::uint32_t item : items) {
    const auto [load, pack] = open.top();
    open.pop();
    packed[pack * room + count[pack]++] = item;
    if (count[pack] < room) open.emplace(load + weights[item], pack);
  }
  return packed;
}

// What replicas of some experts there are, before they have a place.
struct Replicas {
  std::vector<std::uint32_t> expert;  // [replicas]
  std::vector<std::uint32_t> rank;    // [replicas] 0 for the expert's first, 1 for its second
  std::vector<std::uint32_t> count;   // [experts]
};

// Every expert once, then each further replica to the expert whose replicas have most to do.
Replicas replicate(std::span<const float> load, std::size_t replicas) {
  Replicas r{std::vector<std::uint32_t>(load.size()), std::vector<std::uint32_t>(load.size(), 0),
             std::vector<std::uint32_t>(load.size(), 1)};
  std::iota(r.expert.begin(), r.expert.end(), 0u);
  Smallest busiest;  // by minus the load of a replica
  for (std::uint32_t e = 0; e < load.size(); ++e) busiest.emplace(-load[e], e);
  while (r.expert.size() < replicas) {
    const std::uint32_t e = busiest.top().second;
    busiest.pop();
    r.expert.push_back(e);
    r.rank.push_back(r.count[e]++);
    busiest.emplace(-(load[e] / static_cast<float>(r.count[e])), e);
  }
  return r;
}

// The experts node by node: groups packed so that nodes have about the same load. [experts]
std::vector<std::uint32_t> order_by_node(std::span<const float> load, std::size_t groups, std::size_t nodes) {
  const std::size_t size = load.size() / groups;
  std::vector<float> group_load;
  for (std::size_t g = 0; g < groups; ++g) {
    const auto group = load.subspan(g * size, size);
    group_load.push_back(static_cast<float>(std::accumulate(group.begin(), group.end(), 0.0)));
  }
  std::vector<std::uint32_t> experts;
  for (const std::uint32_t g : pack_evenly(group_load, nodes))
    for (std::size_t i = 0; i < size; ++i) experts.push_back(static_cast<std::uint32_t>(g * size + i));
  return experts;
}

// Replicates the experts of one node, and packs the replicas onto its GPUs behind the slots that are there.
void place_node(std::span<const float> load, std::span<const std::uint32_t> experts, std::size_t replicas,
                std::size_t gpus, LayerPlacement& placement) {
  std::vector<float> node_load;
  for (const std::uint32_t e : experts) node_load.push_back(load[e]);
  const Replicas made = replicate(node_load, replicas);
  std::vector<float> replica_load;
  for (const std::uint32_t i : made.expert)
    replica_load.push_back(node_load[i] / static_cast<float>(made.count[i]));

  for (std::size_t i = 0; i < experts.size(); ++i) {
    placement.logcnt[experts[i]] = made.count[i];
    placement.log2phy[experts[i]].resize(made.count[i]);
  }
  for (const std::uint32_t replica : pack_evenly(replica_load, gpus)) {
    const std::uint32_t e = experts[made.expert[replica]];
    placement.log2phy[e][made.rank[replica]] = static_cast<std::int32_t>(placement.phy2log.size());
    placement.phy2log.push_back(e);
  }
}

LayerPlacement place_layer(const LayerLoad& layer, const PlacementOptions& options) {
  const std::vector<float> load(layer.load.begin(), layer.load.end());
  LayerPlacement placement;
  placement.log2phy.resize(load.size());
  placement.logcnt.resize(load.size());
  const std::vector<std::uint32_t> experts = order_by_node(load, options.groups, options.nodes);
  const std::size_t share = experts.size() / options.nodes;
  for (std::size_t n = 0; n < options.nodes; ++n)
    place_node(load, std::span(experts).subspan(n * share, share), options.replicas / options.nodes,
               options.gpus / options.nodes, placement);
  return placement;
}

// Fills every expert's slots up to the most that any expert has.
void pad(std::vector<LayerPlacement>& layers) {
  std::uint32_t most = 0;
  for (const LayerPlacement& layer : layers)
    most = std::max(most, *std::max_element(layer.logcnt.begin(), layer.logcnt.end()));
  for (LayerPlacement& layer : layers)
    for (auto& slots : layer.log2phy) slots.resize(most, -1);
}

struct MaxAndMean {
  double maximum = 0;
  double mean = 0;
  double ratio() const { return mean > 0 ? maximum / mean : 1; }
  void add(const MaxAndMean& other) {
    maximum += other.maximum;
    mean += other.mean;
  }
};

MaxAndMean max_and_mean(std::span<const double> loads) {
  return {*std::max_element(loads.begin(), loads.end()),
          std::accumulate(loads.begin(), loads.end(), 0.0) / static_cast<double>(loads.size())};
}

// Sums of some layers' balances.
struct BalanceSum {
  MaxAndMean gpu, node;

  LoadBalance balance() const { return {gpu.ratio(), node.ratio()}; }

  // One layer, from the load of every GPU [gpus]; returns that layer's own balance.
  LoadBalance add(std::span<const double> gpu_load, std::size_t nodes) {
    std::vector<double> node_load(nodes, 0);
    for (std::size_t g = 0; g < gpu_load.size(); ++g) node_load[g * nodes / gpu_load.size()] += gpu_load[g];
    const BalanceSum layer{max_and_mean(gpu_load), max_and_mean(node_load)};
    gpu.add(layer.gpu);
    node.add(layer.node);
    return layer.balance();
  }
};

void check(std::span<const LayerLoad> loads, const PlacementOptions& o) {
  const auto refuse = [](const std::string& what) { throw UsageError("no such placement: " + what); };
  const auto text = [](std::size_t n, const char* what) { return std::to_string(n) + " " + what; };
  if (loads.empty() || loads[0].load.empty()) refuse("no experts to place");
  const std::size_t experts = loads[0].load.size();
  for (const LayerLoad& l : loads)
    if (l.load.size() != experts)
      refuse("layer " + std::to_string(loads[0].layer) + " has " + text(experts, "experts, layer ") +
             std::to_string(l.layer) + " has " + std::to_string(l.load.size()) +
             "; expected as many in every layer");
  if (!o.groups || !o.nodes || !o.gpus) refuse("groups, nodes and GPUs must be at least 1");
  if (o.replicas < experts)
    refuse(text(o.replicas, "replicas") + ", expected at least one of each of the " +
           text(experts, "experts"));
  if (o.replicas > most_replicas)
    refuse(text(o.replicas, "replicas") + ", expected at most " + std::to_string(most_replicas));
  if (o.gpus % o.nodes)
    refuse(text(o.gpus, "GPUs") + ", expected a multiple of the " + text(o.nodes, "nodes"));
  if (o.replicas % o.gpus)
    refuse(text(o.replicas, "replicas") + ", expected a multiple of the " + text(o.gpus, "GPUs"));
  if (o.groups % o.nodes == 0 && experts % o.groups)
    refuse(text(o.groups, "groups") + ", expected a divisor of the " + text(experts, "experts"));
}

}  // namespace

Placement place_experts(std::span<const LayerLoad> loads, const PlacementOptions& options) {
  check(loads, options);
  Placement placement;
  placement.hierarchical = options.groups % options.nodes == 0;
  PlacementOptions used = options;
  if (!placement.hierarchical) used.groups = used.nodes = 1;  // one node of all GPUs

  BalanceSum before, after;
  for (const LayerLoad& layer : loads) {
    const LayerPlacement& placed = placement.layers.emplace_back(place_layer(layer, used));
    std::vector<double> gpu_load(options.gpus, 0);
    for (std::size_t e = 0; e < layer.load.size(); ++e)
      gpu_load[e * options.gpus / layer.load.size()] += static_cast<double>(layer.load[e]);
    placement.before.push_back(before.add(gpu_load, options.nodes));

    gpu_load.assign(options.gpus, 0);
    for (std::size_t slot = 0; slot < options.replicas; ++slot) {
      const std::uint32_t e = placed.phy2log[slot];
      gpu_load[slot * options.gpus / options.replicas] +=
          static_cast<double>(layer.load[e]) / static_cast<double>(placed.logcnt[e]);
    }
    placement.after.push_back(after.add(gpu_load, options.nodes));
  }
  pad(placement.layers);
  placement.before_all = before.balance();
  placement.after_all = after.balance();
  return placement;
}

}  // namespace baleen
