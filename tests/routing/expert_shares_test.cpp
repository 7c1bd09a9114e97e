#include "routing/expert_shares.h"

#include <doctest/doctest.h>

#include "checkpoint/fixture.h"
#include "error.h"
#include "routing/route_line.h"

using namespace baleen;
using namespace baleen::test;

namespace {

// Layer 0 is dense; four experts, two for a token.
Config small_config() {
  Config config;
  config.num_hidden_layers = 3;
  config.is_moe_layer = {false, true, true};
  config.n_routed_experts = 4;
  config.num_experts_per_tok = 2;
  return config;
}

using Loads = std::vector<LayerLoad>;
LayerLoad load(std::size_t layer, std::vector<std::uint64_t> counts, std::size_t top_k) {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : counts) sum += count;
  return {.layer = layer, .load = std::move(counts), .tokens = sum / top_k, .top_k = top_k};
}

std::string error(const Loads& loads) {
  return error_of([&] { expert_shares(loads, small_config(), "log"); });
}

}  // namespace

TEST_CASE("shares of a layer's tokens") {
  const ExpertShares shares =
      expert_shares(Loads{load(2, {0, 10, 10, 20}, 2), load(1, {8, 2, 6, 0}, 2)}, small_config(), "log");
  REQUIRE(shares.layers.size() == 3);
  CHECK(shares.layers[0].empty());
  CHECK(shares.layers[1] == std::vector<double>{1, 0.25, 0.75, 0});
  CHECK(shares.layers[2] == std::vector<double>{0, 0.5, 0.5, 1});
  CHECK(shares.tokens == 8);
  // Written by hand, without top_k: the same shares.
  CHECK(expert_shares(Loads{load(2, {0, 10, 10, 20}, 1), load(1, {8, 2, 6, 0}, 1)}, small_config(), "log")
            .layers == shares.layers);
}

TEST_CASE("loads of another model, and layers without any") {
  const LayerLoad good = load(1, {1, 1, 1, 1}, 2);
  CHECK(error({good}) == "log: no load of layer 2, expected one of every layer with experts");
  CHECK(error({good, load(2, {0, 0, 0, 0}, 2)}) ==
        "log: no load of layer 2, expected one of every layer with experts");
  CHECK(error({good, load(0, {1, 1, 1, 1}, 2)}) ==
        "log: layer 0: loads of experts, the model has none there");
  CHECK(error({good, load(3, {1, 1, 1, 1}, 2)}) ==
        "log: layer 3: loads of experts, the model has none there");
  CHECK(error({good, load(2, {1, 1}, 2)}) == "log: layer 2: 2 experts, the model has 4");
  CHECK(error({good, load(2, {1, 1, 1, 0}, 3)}) == "log: layer 2: 3 experts for a token, the model has 2");
}

TEST_CASE("out of a log, and out of JSON") {
  const TempDir folder;
  const RouteHeader header{.model = "m", .layers = {1, 2}, .experts = 4, .top_k = 2};
  std::string log;
  append_header(log, header);
  RouteToken token{.experts = {0, 1, 2, 3}, .weights = {0.5, 0.5, 0.5, 0.5}};
  append_token(log, token, header);
  append_counts(log, {.tokens = 3, .load = {3, 0, 3, 0, 3, 3, 0, 0}}, header);
  std::vector<std::string> notes;
  const ExpertShares shares =
      read_expert_shares(folder.write("log", log + "{\"r\":0,"), small_config(), notes);
  CHECK(shares.layers[1] == std::vector<double>{1, 0.25, 0.75, 0});
  CHECK(shares.layers[2] == std::vector<double>{0.75, 0.75, 0.25, 0.25});
  CHECK(shares.tokens == 4);
  REQUIRE(notes.size() == 1);
  CHECK(contains(notes[0], "cut off"));

  const std::string json =
      R"([{"layer":1,"load":[4,1,3,0]},{"layer":2,"load":[3,3,1,1],"tokens":4,"top_k":2}])";
  CHECK(read_expert_shares(folder.write("json", json), small_config(), notes).layers == shares.layers);
  CHECK(notes.size() == 1);
  CHECK_THROWS_AS(read_expert_shares(folder.write("empty", ""), small_config(), notes), Error);
  CHECK_THROWS_AS(read_expert_shares(folder.write("else", "{}"), small_config(), notes), Error);
}
