#include <doctest/doctest.h>

#include "checkpoint/fixture.h"
#include "checkpoint/quantization_rules.h"
#include "checkpoint/quantized.h"

using namespace baleen;
using namespace baleen::test;
using nlohmann::json;

namespace {

Quantization parse(const json& quantization, const char* key = "quantization_config") {
  return parse_quantization(json{{key, quantization}}.dump(), "config.json");
}

std::string parse_error(const json& quantization) {
  return error_of([&] { parse(quantization); });
}

const json fp8 = {{"quant_method", "fp8"},
                  {"fmt", "e4m3"},
                  {"weight_block_size", {128, 128}},
                  {"activation_scheme", "dynamic"}};
const json int4 = golden_config("deepseek_v3-int4")["quantization_config"];

// What compressed-tensors 0.20 writes of its preset MXFP4A16.
const json mxfp4 = {{"quant_method", "compressed-tensors"},
                    {"format", "mxfp4-pack-quantized"},
                    {"ignore", {"lm_head"}},
                    {"config_groups",
                     {{"group_0",
                       {{"targets", {"Linear"}},
                        {"input_activations", nullptr},
                        {"format", "mxfp4-pack-quantized"},
                        {"weights",
                         {{"num_bits", 4},
                          {"type", "float"},
                          {"symmetric", true},
                          {"group_size", 32},
                          {"strategy", "group"},
                          {"dynamic", false},
                          {"scale_dtype", "torch.uint8"}}}}}}}};

// A config with the value at a JSON pointer changed.
json changed(json config, const char* pointer, const json& value) {
  config[json::json_pointer(pointer)] = value;
  return config;
}

constexpr const char* weights = "/config_groups/group_0/weights";

json with_weights(const char* key, const json& value) {
  return changed(int4, (std::string(weights) + "/" + key).c_str(), value);
}

}  // namespace

TEST_CASE("a config without quantization") {
  CHECK(parse_quantization("{}", "config.json").description().empty());
  CHECK(parse(nullptr).description().empty());
  CHECK(Quantization().description().empty());
}

TEST_CASE("supported ways of storing") {
  CHECK(parse(fp8).description() == "fp8 128x128");
  CHECK(parse({{"quant_method", "fp8"}}).description() == "fp8 128x128");
  CHECK(parse(changed(fp8, "/weight_block_size", {64, 32})).description() == "fp8 64x32");
  CHECK(parse(changed(fp8, "/weight_block_size", nullptr)).description() == "fp8 per tensor");
  // DeepSeek-V3.1 says so of scales stored as F32.
  CHECK(parse(changed(fp8, "/scale_fmt", "ue8m0")).description() == "fp8 128x128");
  CHECK(parse(int4).description() == "int4 group 32");
  CHECK(parse(int4, "compression_config").description() == "int4 group 32");
  CHECK(parse(golden_config("deepseek_v3-int8")["quantization_config"]).description() == "int8 group 32");
  CHECK(parse(with_weights("strategy", nullptr)).description() == "int4 group 32");
  CHECK(parse(with_weights("symmetric", false)).description() == "int4 group 32 asymmetric");
  for (const json& order :
       {json("weight"), json("static"), json("group"), json("dynamic"), json(true), json(false)})
    CHECK(parse(with_weights("actorder", order)).description() == "int4 group 32");
  json channel = changed(int4, weights, {{"num_bits", 8}, {"group_size", -1}});
  CHECK(parse(channel).description() == "int8 channel");
  CHECK(parse(changed(int4, "/config_groups/group_0/format", "pack-quantized")).description() ==
        "int4 group 32");
  CHECK(parse(changed(changed(int4, "/format", "mixed-precision"), "/config_groups/group_0/format",
                      "pack-quantized"))
            .description() == "int4 group 32");
}

TEST_CASE("which group a module is in") {
  using Targets = std::vector<const char*>;
  // Groups of 1, 2, 4 and so on, named 9, 10, 11 in this order.
  const auto group_of = [](const std::vector<Targets>& groups, const char* module) -> std::size_t {
    nlohmann::ordered_json config = int4;
    config["config_groups"] = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < groups.size(); ++i) {
      auto& group = config["config_groups"]["group_" + std::to_string(9 + i)];
      group = int4["config_groups"]["group_0"];
      group["targets"] = groups[i];
      group["weights"]["group_size"] = 1 << i;
    }
    const nlohmann::ordered_json whole{{"quantization_config", config}};
    const Quantization quantization = parse_quantization(whole.dump(), "config.json");
    const PackedScheme* scheme = quantization.rules().scheme_of(module);
    return scheme == nullptr ? 0 : scheme->group_size;
  };
  CHECK(group_of({{"Linear"}, {"re:a"}, {"a.b"}}, "a.b") == 4);
  CHECK(group_of({{"Linear"}, {"re:a"}, {"a.b"}}, "a.c") == 2);
  CHECK(group_of({{"Linear"}, {"re:a"}, {"a.b"}}, "b.a") == 1);
  CHECK(group_of({{"re:a"}, {"a.b"}}, "b.a") == 0);
  // Of patterns the first in the order of their bytes, not of the groups.
  CHECK(group_of({{"re:.*b"}, {"re:.*[.]b"}}, "a.b") == 2);
  CHECK(group_of({{"re:a"}, {"re:b", "re:.*b"}, {"re:Z"}}, "a.b") == 2);
  // The same target twice: the later group in the file, by whatever name.
  CHECK(group_of({{"Linear"}, {"Linear"}}, "a.b") == 2);
  CHECK(group_of({{"re:a"}, {"re:a"}, {"re:c"}}, "a.b") == 2);
  CHECK(group_of({{"a.b"}, {"re:a"}, {"a.b"}}, "a.b") == 4);
}

TEST_CASE("config groups given twice: the last ones count") {
  const std::string groups = int4["config_groups"].dump();
  json other = int4["config_groups"];
  other["group_1"] = other["group_0"];
  other.erase("group_0");
  const auto text = [&](const std::string& first, const std::string& last) {
    return R"({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": )" + first +
           R"(}, "quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized")" +
           last + "}}";
  };
  const auto parse_text = [](const std::string& config) { return parse_quantization(config, "config.json"); };
  CHECK(
      parse_text(text(other.dump(), ", \"config_groups\": 1, \"config_groups\": " + groups)).description() ==
      "int4 group 32");
  CHECK(contains(error_of([&] { parse_text(text(groups, "")); }), "config_groups: not given"));
}

TEST_CASE("mxfp4, alone and beside integers") {
  CHECK(parse(mxfp4).description() == "mxfp4");
  CHECK(parse(changed(mxfp4, "/config_groups/group_0/format", nullptr)).description() == "mxfp4");
  const std::string args = std::string(weights) + "/";
  for (const auto& [key, value] :
       {std::pair<const char*, json>{"strategy", nullptr}, {"scale_dtype", nullptr}, {"actorder", "static"}})
    CHECK(parse(changed(mxfp4, (args + key).c_str(), value)).description() == "mxfp4");
  json mixed = changed(mxfp4, "/format", "mixed-precision");
  mixed["config_groups"]["group_1"] = int4["config_groups"]["group_0"];
  mixed["config_groups"]["group_1"]["format"] = "pack-quantized";
  mixed["config_groups"]["group_1"]["targets"] = {"re:.*self_attn.*"};
  CHECK(parse(mixed).description() == "mxfp4, int4 group 32");
  const auto refuses = [&](const char* key, const json& value, const char* message) {
    CHECK(contains(parse_error(changed(mxfp4, (args + key).c_str(), value)),
                   std::string("weights.") + message));
  };
  refuses("num_bits", 8, "num_bits: 8, expected 4");
  refuses("num_bits", nullptr, "num_bits: null");
  refuses("type", "int", "type: \"int\", expected float");
  refuses("type", nullptr, "type: null, expected float");
  refuses("group_size", 16, "group_size: 16, expected 32");
  refuses("strategy", "channel", "strategy: \"channel\", expected group");
  refuses("strategy", "tensor_group", "strategy: \"tensor_group\"");
  refuses("symmetric", false, "symmetric: false, expected true");
  refuses("actorder", "group", "actorder: \"group\", expected null, weight or static");
  refuses("scale_dtype", "torch.float8_e4m3fn", "scale_dtype: \"torch.float8_e4m3fn\", expected torch.uint8");
  refuses("dynamic", true, "dynamic: true, expected false");
}

TEST_CASE("everything else is refused by name") {
  const auto refuses = [](const json& config, const char* message) {
    const std::string error = parse_error(config);
    CAPTURE(message);
    CAPTURE(error);
    CHECK(error.starts_with("config.json: quantization_config"));
    CHECK(contains(error, message));
  };
  for (const char* method : {"gptq", "awq", "bitsandbytes", "mxfp4", "fbgemm_fp8", "modelopt"})
    refuses({{"quant_method", method}},
            (std::string("quant_method: \"") + method + "\", expected fp8 or compressed-tensors").c_str());
  refuses(json::object({{"bits", 4}}), "quant_method: not given, expected fp8 or compressed-tensors");
  refuses({{"quant_method", 8}}, "quant_method: 8, expected a string");
  refuses("fp8", "quantization_config: \"fp8\", expected an object");
  for (const char* format :
       {"float-quantized", "int-quantized", "naive-quantized", "marlin-24", "nvfp4-pack-quantized", "dense"})
    refuses(changed(int4, "/format", format),
            "expected pack-quantized or mxfp4-pack-quantized or mixed-precision");
  refuses(changed(int4, "/format", nullptr),
          "config_groups.group_0.format: not given, expected pack-quantized or mxfp4-pack-quantized");
  refuses(changed(int4, "/config_groups/group_0/format", "float-quantized"),
          "\"float-quantized\", expected pack-quantized or mxfp4-pack-quantized");
  refuses(changed(int4, "/config_groups", json::object()),
          "config_groups: {}, expected an object with at least one");
  refuses(changed(int4, "/config_groups/group_0", 1), "config_groups.group_0: 1, expected an object");
  refuses(changed(int4, weights, nullptr), "group_0.weights: null, expected an object");
  refuses(changed(int4, "/config_groups/group_0/input_activations", {{"num_bits", 8}}),
          "quantized activations are not supported");
  refuses(changed(int4, "/kv_cache_scheme", {{"num_bits", 8}}), "a quantized KV cache is not supported");
  // An empty object asks for the defaults: 8 bits.
  for (const char* key : {"/kv_cache_scheme", "/config_groups/group_0/input_activations",
                          "/config_groups/group_0/output_activations"})
    refuses(changed(int4, key, json::object()), ": {}, expected null: ");
  refuses(changed(int4, "/transform_config", {{"config_groups", {{"a", 1}}}}),
          "transformed weights are not supported");
  refuses(changed(int4, "/sparsity_config", {{"format", "sparse-24-bitmask"}}),
          "sparsity_config.format: \"sparse-24-bitmask\"");
  refuses(changed(int4, "/ignore", "lm_head"), "ignore: \"lm_head\", expected a list of strings");
  refuses(changed(int4, "/ignore", {"re:("}), "ignore: re:(: not a regular expression");
  refuses(changed(int4, "/config_groups/group_0/targets", {"re:[z-a]"}),
          "targets: re:[z-a]: not a regular expression");
  refuses(with_weights("num_bits", 3), "num_bits: 3, expected 4 or 8");
  refuses(with_weights("num_bits", 16), "num_bits: 16");
  refuses(with_weights("type", "float"), "type: \"float\", expected int");
  refuses(with_weights("dynamic", true), "dynamic: true, expected false");
  refuses(with_weights("strategy", "block"), "strategy: \"block\", expected group or channel or tensor");
  refuses(with_weights("group_size", 0), "group_size: 0");
  refuses(with_weights("group_size", nullptr),
          "group_size: null, expected a number above 0 with strategy group");
  refuses(with_weights("actorder", "random"), "actorder: \"random\"");
  refuses(with_weights("actorder", 3), "actorder: 3");
  refuses(with_weights("block_structure", {128, 128}), "block_structure: [128,128], expected null");
  refuses(changed(int4, weights, {{"strategy", "tensor"}, {"symmetric", false}}),
          "symmetric: false, expected true");
  refuses(changed(fp8, "/fmt", "e5m2"), "fmt: \"e5m2\", expected e4m3");
  refuses(changed(fp8, "/activation_scheme", "static"), "activation_scheme: \"static\", expected dynamic");
  refuses(changed(fp8, "/expert_dtype", "fp4"), "expert_dtype: \"fp4\", expected fp8");
  refuses(changed(fp8, "/weight_block_size", {128}), "weight_block_size: [128], expected two numbers");
  refuses(changed(fp8, "/weight_block_size", {0, 128}), "weight_block_size: [0,128]");
  refuses(changed(fp8, "/weight_block_size", "128x128"), "weight_block_size: \"128x128\"");
  refuses(changed(fp8, "/modules_to_not_convert", {1}),
          "modules_to_not_convert: [1], expected a list of strings");
}
