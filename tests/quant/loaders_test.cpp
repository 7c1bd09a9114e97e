#include "quant/loaders.h"

#include <doctest/doctest.h>

#include <vector>

using namespace baleen;

namespace {

constexpr Target int4{Encoding::int4, 32};
constexpr Target int8{Encoding::int8, 32};

// Two layers of two experts, dense attention, a router that stays.
std::vector<ModuleFormat> small_model() {
  std::vector<ModuleFormat> modules = {{"lm_head", {}}};
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    for (const char* leaf : {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"})
      modules.push_back({std::string(layer) + "self_attn." + leaf, int8});
    modules.push_back({std::string(layer) + "mlp.gate", {}});
    for (const char* expert : {"mlp.experts.0.", "mlp.experts.1.", "mlp.shared_experts."})
      for (const char* leaf : {"gate_proj", "up_proj", "down_proj"})
        modules.push_back({std::string(layer) + expert + leaf, int4});
  }
  return modules;
}

Loaders with(const std::vector<std::string>& names, std::optional<Target> target) {
  std::vector<ModuleFormat> modules = small_model();
  for (ModuleFormat& module : modules)
    for (const std::string& name : names)
      if (module.name.starts_with(name)) module.target = target;
  return loaders_of(modules);
}

}  // namespace

TEST_CASE("what is taken apart of a name") {
  const auto expert = place_of("model.layers.3.mlp.experts.17.up_proj");
  REQUIRE(expert.has_value());
  CHECK(expert->layer == 3);
  CHECK(expert->stem == "mlp.experts");
  CHECK(expert->expert == 17);
  CHECK(expert->leaf == "up_proj");
  const auto shared = place_of("model.layers.60.mlp.shared_experts.up_proj");
  REQUIRE(shared.has_value());
  CHECK(shared->stem == "mlp.shared_experts");
  CHECK(!shared->expert.has_value());
  const auto bare = place_of("model.layers.61.eh_proj");
  REQUIRE(bare.has_value());
  CHECK(bare->stem.empty());
  CHECK(bare->leaf == "eh_proj");
  for (const char* name : {"lm_head", "", "model.layers.", "model.layers.3", "model.layers.x.q", "layers.3.q",
                           "model.layers.-3.q", "model.layers.99999999999999999999.q"})
    CHECK(!place_of(name).has_value());
}

TEST_CASE("fp8 blocks that transformers misreads") {
  const auto widening = [](std::vector<ModuleFormat> modules) {
    return loaders_of(modules).transformers_widening;
  };
  constexpr Target fp8{Encoding::fp8};
  for (const std::size_t good : {1, 100, 128, 256, 7168})
    CHECK(widening({{"a", fp8, good, 128}, {"b", fp8, 128, good}}).empty());
  for (const std::size_t bad : {129, 192, 576}) {
    CHECK(!widening({{"a", fp8, bad, 128}}).empty());
    CHECK(!widening({{"a", fp8, 128, bad}}).empty());
    CHECK(widening({{"a", int8, bad, bad}, {"b", {}, bad, bad}}).empty());
  }
  CHECK(widening({{"a", fp8, 128, 128}, {"b", fp8, 576, 128}}) ==
        "it takes all blocks of a matrix for equally large; those of b [576, 128] are not, as in DeepSeek's "
        "own "
        "files");
  CHECK(widening({{"b", fp8, 576, 128}, {"c", fp8, 2, 192}, {"d", fp8, 192, 2}})
            .find("[576, 128] and 2 more are") != std::string::npos);
}

TEST_CASE("kinds of module may differ, single experts may not") {
  const Loaders plain = with({}, {});
  CHECK(plain.transformers.empty());
  CHECK(plain.vllm.empty());
  const Loaders kinds = with({"model.layers.0.mlp.shared_experts", "model.layers.1.self_attn.o_proj"}, int8);
  CHECK(kinds.transformers.empty());
  CHECK(kinds.vllm.empty());
  const Loaders by_layer = with({"model.layers.1.mlp.experts."}, int8);
  CHECK(by_layer.transformers ==
        "transformers reads all routed experts of a model in one format: "
        "model.layers.0.mlp.experts.0.gate_proj "
        "is int4 group 32, model.layers.1.mlp.experts.0.gate_proj is int8 group 32");
  CHECK(by_layer.vllm.empty());
  for (const std::optional<Target>& target : {std::optional<Target>(int8), std::optional<Target>()}) {
    const Loaders by_expert = with({"model.layers.1.mlp.experts.1"}, target);
    CHECK(!by_expert.transformers.empty());
    CHECK(by_expert.vllm.find(target ? "experts.1.gate_proj is int8"
                                     : "experts.1.gate_proj is not quantized") != std::string::npos);
  }
  for (const char* part :
       {"model.layers.1.self_attn.q_a_proj", "model.layers.0.mlp.shared_experts.up_proj"}) {
    CHECK(with({part}, {}).transformers.empty());
    CHECK(!with({part}, {}).vllm.empty());
  }
}
