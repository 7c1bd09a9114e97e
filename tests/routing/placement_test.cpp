// Placements against EPLB itself (golden/eplb), and what must hold of any.
#include "routing/placement.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "error.h"
#include "golden.h"

using namespace baleen;

namespace {

LayerLoad layer_load(std::size_t layer, std::vector<std::uint64_t> load) {
  LayerLoad l;
  l.layer = layer;
  l.load = std::move(load);
  return l;
}

std::vector<LayerLoad> random_loads(std::size_t layers, std::size_t experts, std::uint64_t most,
                                    unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<LayerLoad> loads;
  for (std::size_t l = 0; l < layers; ++l) {
    std::vector<std::uint64_t> load(experts);
    for (auto& n : load) n = random() % (most + 1);
    loads.push_back(layer_load(l, load));
  }
  return loads;
}

std::string refusal(const std::vector<LayerLoad>& loads, const PlacementOptions& options) {
  try {
    place_experts(loads, options);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("placements equal those of EPLB in every entry") {
  std::ifstream file(testing::golden_dir() / "eplb" / "cases.json");
  const auto cases = nlohmann::json::parse(file);
  REQUIRE(cases.size() == 28);
  for (const auto& c : cases) {
    std::vector<LayerLoad> loads;
    for (const auto& row : c.at("weight")) loads.push_back(layer_load(loads.size(), row));
    const Placement placement =
        place_experts(loads, {c.at("num_replicas"), c.at("num_groups"), c.at("num_nodes"), c.at("num_gpus")});
    REQUIRE(placement.layers.size() == c.at("phy2log").size());
    for (std::size_t l = 0; l < loads.size(); ++l) {
      const LayerPlacement& layer = placement.layers[l];
      CHECK(layer.phy2log == c.at("phy2log")[l].get<std::vector<std::uint32_t>>());
      CHECK(layer.logcnt == c.at("logcnt")[l].get<std::vector<std::uint32_t>>());
      CHECK(layer.log2phy == c.at("log2phy")[l].get<std::vector<std::vector<std::int32_t>>>());
    }
  }
}

TEST_CASE("the balance of a placement that can be checked by hand") {
  // Six replicas on three GPUs of two slots. Shares of 60 each for expert 0's three replicas, 60, 30, 30.
  const std::vector<LayerLoad> loads = {layer_load(3, {180, 60, 30, 30})};
  const Placement p = place_experts(loads, {6, 1, 1, 3});
  CHECK(p.layers[0].logcnt == std::vector<std::uint32_t>{3, 1, 1, 1});
  // Before: experts 0 and 1 on the first GPU, one each on the others: 240, 30, 30 with mean 100.
  CHECK(p.before[0].gpu == doctest::Approx(2.4));
  CHECK(p.before[0].node == doctest::Approx(1));
  // After: 60, 60 and 60 first, then 60 beside 60, and 30 beside 60 twice: 120, 90, 90.
  CHECK(p.after[0].gpu == doctest::Approx(1.2));
  CHECK(p.after_all.gpu == doctest::Approx(1.2));
}

TEST_CASE("balance by node, and over layers as GPUs wait for one another in each") {
  const std::vector<LayerLoad> loads = {layer_load(0, {30, 10, 0, 0}), layer_load(1, {0, 0, 0, 10})};
  const Placement p = place_experts(loads, {4, 2, 2, 4});
  CHECK(p.hierarchical);
  CHECK(p.before[0].gpu == doctest::Approx(3));
  CHECK(p.before[0].node == doctest::Approx(2));
  CHECK(p.before[1].gpu == doctest::Approx(4));
  CHECK(p.before_all.gpu == doctest::Approx(40.0 / 12.5));
  CHECK(p.before_all.node == doctest::Approx(2));
  const std::vector<LayerLoad> idle = {layer_load(0, {0, 0, 0, 0})};
  CHECK(place_experts(idle, {4, 1, 1, 2}).after[0].gpu == 1);
}

TEST_CASE("every expert has a slot, every slot an expert, and both maps agree") {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&](std::size_t n) { return 1 + random() % n; };
    PlacementOptions o;
    o.nodes = up_to(4);
    o.groups = seed % 2 ? o.nodes * up_to(3) : up_to(7);
    o.gpus = o.nodes * up_to(4);
    const std::size_t experts = o.groups * up_to(9);
    o.replicas = (experts / o.gpus + up_to(5)) * o.gpus;
    CAPTURE(seed);
    const auto loads = random_loads(3, experts, seed % 3 ? 9 : 100000, seed);
    const Placement p = place_experts(loads, o);
    CHECK(p.hierarchical == (o.groups % o.nodes == 0));
    for (const LayerPlacement& layer : p.layers) {
      REQUIRE(layer.phy2log.size() == o.replicas);
      std::size_t slots = 0;
      for (std::uint32_t e = 0; e < experts; ++e) {
        REQUIRE(layer.logcnt[e] >= 1);
        const auto& row = layer.log2phy[e];
        REQUIRE(row.size() >= layer.logcnt[e]);
        CHECK(std::count(row.begin(), row.end(), -1) == static_cast<long>(row.size() - layer.logcnt[e]));
        for (std::size_t i = 0; i < layer.logcnt[e]; ++i)
          CHECK(layer.phy2log.at(static_cast<std::size_t>(row[i])) == e);
        slots += layer.logcnt[e];
      }
      CHECK(slots == o.replicas);
      if (!p.hierarchical) continue;
      for (std::uint32_t e = 0; e < experts; ++e) {  // a group stays on one node
        const std::size_t first_of_group = e / (experts / o.groups) * (experts / o.groups);
        const auto node_of = [&](std::size_t i) {
          return static_cast<std::size_t>(layer.log2phy[i][0]) * o.nodes / o.replicas;
        };
        CHECK(node_of(e) == node_of(first_of_group));
      }
    }
    CHECK(p.after_all.gpu >= 1);
    CHECK(p.after_all.node >= 1 - 1e-12);
  }
}

TEST_CASE("numbers that no placement has are named") {
  const auto loads = random_loads(2, 12, 9, 1);
  CHECK(refusal({}, {12, 1, 1, 1}) == "no such placement: no experts to place");
  CHECK(refusal(loads, {11, 1, 1, 1}) ==
        "no such placement: 11 replicas, expected at least one of each of the 12 experts");
  CHECK(refusal(loads, {14, 1, 1, 4}) == "no such placement: 14 replicas, expected a multiple of the 4 GPUs");
  CHECK(refusal(loads, {12, 1, 3, 4}) == "no such placement: 4 GPUs, expected a multiple of the 3 nodes");
  CHECK(refusal(loads, {12, 5, 1, 1}) == "no such placement: 5 groups, expected a divisor of the 12 experts");
  CHECK(refusal(loads, {12, 0, 1, 1}) == "no such placement: groups, nodes and GPUs must be at least 1");
  CHECK(refusal(loads, {12, 1, 1, 0}) == "no such placement: groups, nodes and GPUs must be at least 1");
  CHECK(refusal(loads, {std::size_t{1} << 40, 1, 1, 1}) ==
        "no such placement: 1099511627776 replicas, expected at most 4096");
  auto uneven = loads;
  uneven[1].load.pop_back();
  CHECK(refusal(uneven, {12, 1, 1, 1}) ==
        "no such placement: layer 0 has 12 experts, layer 1 has 11; expected as many in every layer");
}
