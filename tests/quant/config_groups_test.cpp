#include "quant/config_groups.h"

#include <doctest/doctest.h>

#include <functional>
#include <set>

#include "checkpoint/quantization_rules.h"
#include "error.h"
#include "model/architecture.h"

using namespace baleen;
using nlohmann::ordered_json;

namespace {

constexpr Target int4{Encoding::int4, 32};
constexpr Target int8{Encoding::int8, whole_row};
constexpr Target mxfp4{.encoding = Encoding::mxfp4};
constexpr Target fp8{.encoding = Encoding::fp8};

using Modules = std::vector<ModuleFormat>;
using Choose =
    std::function<std::optional<Target>(std::string_view part, std::size_t layer, std::size_t expert)>;

// Four layers, the first one dense, twelve experts.
Config small_config(const char* model_type) {
  Config config;
  config.model_type = model_type;
  config.num_hidden_layers = 4;
  config.is_moe_layer = {false, true, true, true};
  config.n_routed_experts = 12;
  config.n_shared_experts = 1;
  config.q_lora_rank = 8;
  return config;
}

// Every matrix of the model but the embedding; routers and lm_head stay.
Modules modules_of(const Config& config, const Choose& choose) {
  Modules modules;
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer)
    for (const TensorSpec& spec : tensor_table(config)) {
      if (spec.kind != Kind::matrix || spec.part == "embedding") continue;
      if (spec.scope == Scope::global ? layer > 0 : spec.when != nullptr && !spec.when(config, layer))
        continue;
      for (std::size_t e = 0; e < (spec.scope == Scope::expert ? config.n_routed_experts : 1); ++e) {
        const std::string name = tensor_name(spec.name, layer, e);
        const bool stays = spec.part == "router" || spec.part == "output head";
        modules.push_back(
            {name.substr(0, name.rfind('.')), stays ? std::nullopt : choose(spec.part, layer, e)});
      }
    }
  return modules;
}

Modules deepseek(const Choose& choose) {
  return modules_of(small_config("deepseek_v3"), choose);
}

// Every module as its own group: what was written is read back, and speaks of all of them rightly.
void check_read_back(const Modules& modules, const ordered_json& written) {
  const Quantization quantization =
      parse_quantization(ordered_json{{"quantization_config", written}}.dump(), "config.json");
  const Quantization::Rules& rules = quantization.rules();
  for (const ModuleFormat& module : modules) {
    CAPTURE(module.name);
    CHECK(rules.ignore.contains(module.name) == !module.target.has_value());
    if (!module.target) continue;
    const PackedScheme* scheme = rules.scheme_of(module.name);
    REQUIRE(scheme != nullptr);
    CHECK(scheme->label == target_name(*module.target));
    // Programs differ in which of several matching targets counts: those of one group alone may match.
    std::set<std::size_t> speaking;
    for (const auto& [text, target] : rules.targets)
      if (text == "Linear" || text == module.name || (target.pattern && target.pattern->matches(module.name)))
        speaking.insert(target.scheme);
    CHECK(speaking.size() == 1);
  }
}

ordered_json targets(const ordered_json& config, const char* group) {
  return config["config_groups"][group]["targets"];
}

}  // namespace

TEST_CASE("one group is for every linear layer, what stays is on the ignore list") {
  const Modules modules = deepseek([](auto...) { return int4; });
  const ordered_json config = quantization_config(modules);
  CHECK(config == ordered_json::parse(R"({
    "config_groups": {"group_0": {
      "targets": ["Linear"],
      "weights": {"num_bits": 4, "type": "int", "symmetric": true, "group_size": 32, "strategy": "group",
                  "dynamic": false},
      "input_activations": null, "output_activations": null, "format": "pack-quantized"}},
    "format": "pack-quantized", "global_compression_ratio": null,
    "ignore": ["lm_head", "re:.*\\.mlp\\.gate$"],
    "kv_cache_scheme": null, "quant_method": "compressed-tensors", "quantization_status": "compressed"})"));
  check_read_back(modules, config);
}

TEST_CASE("kinds of module") {
  const Modules modules = deepseek([](std::string_view part, auto...) {
    return part == "routed experts" ? int4 : part == "dense mlp" ? Target{Encoding::int8, 32} : int8;
  });
  const ordered_json config = quantization_config(modules);
  check_read_back(modules, config);
  // First the experts, though attention comes before them in the file.
  CHECK(targets(config, "group_0") == ordered_json{"re:.*\\.mlp\\.experts\\..*"});
  CHECK(targets(config, "group_1") ==
        ordered_json{"re:.*\\.mlp\\.shared_experts\\..*", "re:.*\\.self_attn\\..*"});
  CHECK(targets(config, "group_2") == ordered_json{"re:.*\\.mlp\\.(down_proj|gate_proj|up_proj)$"});
  CHECK(config["config_groups"]["group_1"]["weights"] ==
        ordered_json::parse(R"({"num_bits": 8, "type": "int", "symmetric": true, "group_size": null,
                                "strategy": "channel", "dynamic": false})"));
}

TEST_CASE("layers, leaves and single experts") {
  const auto by_layer = [](std::string_view part, std::size_t layer, auto) {
    return part == "routed experts" && layer != 2 ? int4 : int8;
  };
  ordered_json config = quantization_config(deepseek(by_layer));
  check_read_back(deepseek(by_layer), config);
  CHECK(targets(config, "group_0") == ordered_json{"re:.*\\.layers\\.(1|3)\\.mlp\\.experts\\..*"});
  CHECK(targets(config, "group_1")[1] == "re:.*\\.layers\\.2\\.mlp\\.experts\\..*");

  const auto by_expert = [](std::string_view part, std::size_t layer, std::size_t expert) {
    return part == "routed experts" && (layer != 2 || expert % 5 == 1) ? int4 : int8;
  };
  config = quantization_config(deepseek(by_expert));
  check_read_back(deepseek(by_expert), config);
  CHECK(targets(config, "group_0") == ordered_json{"re:.*\\.layers\\.(1|3)\\.mlp\\.experts\\..*",
                                                   "re:.*\\.layers\\.2\\.mlp\\.experts\\.(1|6|11)\\..*"});

  // One leaf otherwise, as where the group does not divide its columns.
  Modules modules = deepseek([](auto...) { return int4; });
  for (ModuleFormat& module : modules)
    if (module.name.ends_with(".down_proj") && module.name.find(".experts.") != std::string::npos)
      module.target = int8;
    else if (module.name == "model.layers.1.self_attn.o_proj")
      module.target.reset();
  config = quantization_config(modules);
  check_read_back(modules, config);
  CHECK(targets(config, "group_1") == ordered_json{"re:.*\\.mlp\\.experts\\.\\d+\\.down_proj$"});
  CHECK(config["ignore"] ==
        ordered_json{"lm_head", "re:.*\\.mlp\\.gate$", "model.layers.1.self_attn.o_proj"});
}

TEST_CASE("other architectures") {
  const auto mix = [](std::string_view part, std::size_t layer, std::size_t expert) -> std::optional<Target> {
    if (part == "attention") return layer == 1 ? std::nullopt : std::optional(int8);
    return expert == 3 && layer == 2 ? std::nullopt : std::optional(int4);
  };
  for (const char* type : {"deepseek_v2", "qwen3_moe", "olmoe", "mixtral"}) {
    CAPTURE(type);
    Config config = small_config(type);
    if (std::string_view(type) != "deepseek_v2") config.is_moe_layer = {true, true, true, true};
    const Modules modules = modules_of(config, mix);
    check_read_back(modules, quantization_config(modules));
  }
}

TEST_CASE("names for which a pattern would say something wrong are listed") {
  // The same layers twice: ".*\\.layers\\.1\\." would mean both.
  Modules modules;
  for (const char* model : {"model", "draft"})
    for (const char* tail :
         {".layers.0.self_attn.q_proj", ".layers.1.self_attn.q_proj", ".layers.1.self_attn.k_proj"})
      modules.push_back({std::string(model) + tail, int4});
  modules[4].target = modules[5].target = int8;
  modules.push_back({"model.layers.7", int8});
  modules.push_back({"model.layers.99999999999999999999.q", std::nullopt});
  modules.push_back({"proj", std::nullopt});
  const ordered_json config = quantization_config(modules);
  check_read_back(modules, config);
  CHECK(targets(config, "group_0") ==
        ordered_json{modules[0].name, modules[1].name, modules[2].name, modules[3].name});
  // A layer that is there once more behind the others, and stays: DeepSeek's MTP layer.
  modules = deepseek([](auto...) { return int4; });
  for (const ModuleFormat& module : Modules(modules))
    if (module.name.find(".layers.3.") != std::string::npos)
      modules.push_back({std::string(module.name).replace(13, 1, "4"), std::nullopt});
  modules.push_back({"model.layers.4.eh_proj", std::nullopt});
  check_read_back(modules, quantization_config(modules));
  CHECK(quantization_config(modules)["ignore"] ==
        ordered_json{"lm_head", "model.layers.4.eh_proj", "re:.*\\.mlp\\.gate$",
                     "re:.*\\.layers\\.4\\.mlp\\.experts\\..*",
                     "re:.*\\.layers\\.4\\.mlp\\.shared_experts\\..*",
                     "re:.*\\.layers\\.4\\.self_attn\\..*"});
}

TEST_CASE("mxfp4, alone and beside others") {
  const Modules all = deepseek([](auto...) { return mxfp4; });
  const ordered_json alone = quantization_config(all);
  check_read_back(all, alone);
  CHECK(alone["format"] == "mxfp4-pack-quantized");
  CHECK(targets(alone, "group_0") == ordered_json{"Linear"});
  CHECK(alone["config_groups"]["group_0"]["weights"] ==
        ordered_json::parse(R"({"num_bits": 4, "type": "float", "symmetric": true, "group_size": 32,
                                "strategy": "group", "dynamic": false, "scale_dtype": "torch.uint8"})"));
  CHECK(alone["config_groups"]["group_0"]["input_activations"].is_null());
  const Modules some =
      deepseek([](std::string_view part, auto...) { return part == "attention" ? int8 : mxfp4; });
  const ordered_json mixed = quantization_config(some);
  check_read_back(some, mixed);
  CHECK(mixed["format"] == "mixed-precision");
  CHECK(mixed["config_groups"]["group_0"]["format"] == "mxfp4-pack-quantized");
  CHECK(mixed["config_groups"]["group_1"]["format"] == "pack-quantized");
}

TEST_CASE("DeepSeek's fp8") {
  const auto some = [](std::string_view part, std::size_t layer,
                       std::size_t expert) -> std::optional<Target> {
    if (part == "routed experts" && (layer == 1 || (layer == 2 && expert == 5))) return std::nullopt;
    return fp8;
  };
  const Modules modules = deepseek(some);
  const ordered_json config = quantization_config(modules);
  CHECK(config == ordered_json::parse(R"({
    "activation_scheme": "dynamic", "fmt": "e4m3",
    "modules_to_not_convert": ["lm_head", "model.layers.1.mlp.gate", "model.layers.1.mlp.experts",
      "model.layers.2.mlp.gate", "model.layers.2.mlp.experts.5.gate_proj",
      "model.layers.2.mlp.experts.5.up_proj", "model.layers.2.mlp.experts.5.down_proj",
      "model.layers.3.mlp.gate"],
    "quant_method": "fp8", "weight_block_size": [128, 128]})"));
  const Quantization read =
      parse_quantization(ordered_json{{"quantization_config", config}}.dump(), "config.json");
  CHECK(read.description() == "fp8 128x128");
  for (const ModuleFormat& module : modules)
    CHECK(read.rules().ignore.contains_or_parent(module.name) == !module.target.has_value());
}

TEST_CASE("nothing to say, and what cannot be said") {
  CHECK(quantization_config({}).is_null());
  CHECK(quantization_config(deepseek([](auto...) { return std::nullopt; })).is_null());
  CHECK_THROWS_AS(quantization_config(deepseek(
                      [](std::string_view part, auto...) { return part == "attention" ? fp8 : int8; })),
                  UsageError);
  // The group of those that have none of their own to choose makes no second target.
  const Modules modules = {{"a", fp8}, {"b", Target{Encoding::fp8, 128}}};
  CHECK(quantization_config(modules)["quant_method"] == "fp8");
}
