#include <doctest/doctest.h>

#include <cmath>

#include "checkpoint/config.h"
#include "checkpoint/fixture.h"

using namespace baleen;
using namespace baleen::test;
using nlohmann::json;

namespace {

json config_with(const char* model, const json& rope, const char* key = "rope_scaling") {
  json config = golden_config(model);
  config.erase("rope_scaling");
  config[key] = rope;
  return config;
}

RopeConfig rope_of(const json& config) {
  return parse_config(config.dump(), "config.json").rope;
}

RopeConfig v3_rope(const json& rope, const char* key = "rope_scaling") {
  return rope_of(config_with("deepseek_v3-grouped-yarn", rope, key));
}

std::string v3_error(const json& rope) {
  return error_of([&] { v3_rope(rope); });
}

}  // namespace

TEST_CASE("YaRN as DeepSeek-V3 publishes it") {
  const json published = {{"type", "yarn"},
                          {"factor", 40},
                          {"mscale", 1.0},
                          {"mscale_all_dim", 1.0},
                          {"beta_fast", 32},
                          {"beta_slow", 1},
                          {"original_max_position_embeddings", 4096}};
  const RopeConfig rope = v3_rope(published);
  CHECK(rope.type == RopeType::yarn);
  CHECK(rope.factor == 40);
  CHECK(rope.original_max_position_embeddings == 4096);
  CHECK(rope.attention_factor == 1.0);
  // transformers: yarn_get_mscale(40, 1.0) ** 2
  CHECK(rope.softmax_mscale == doctest::Approx(1.8738542070926265).epsilon(1e-15));
  CHECK(v3_rope(published, "rope_parameters").softmax_mscale == rope.softmax_mscale);
}

TEST_CASE("the attention factor follows transformers") {
  json rope = {{"rope_type", "yarn"}, {"factor", 40}, {"original_max_position_embeddings", 64}};
  const double g = 0.1 * std::log(40.0) + 1;
  CHECK(v3_rope(rope).attention_factor == doctest::Approx(g).epsilon(1e-15));
  CHECK(v3_rope(rope).softmax_mscale == 1);
  rope["mscale"] = 0.5;
  CHECK(v3_rope(rope).attention_factor == doctest::Approx(g).epsilon(1e-15));
  rope["mscale_all_dim"] = 0.707;
  const double all = 0.1 * 0.707 * std::log(40.0) + 1;
  CHECK(v3_rope(rope).attention_factor == doctest::Approx((0.05 * std::log(40.0) + 1) / all).epsilon(1e-15));
  CHECK(v3_rope(rope).softmax_mscale == doctest::Approx(all * all).epsilon(1e-15));
  rope["attention_factor"] = 1.25;
  CHECK(v3_rope(rope).attention_factor == 1.25);
  // Only MLA scales its softmax.
  CHECK(rope_of(config_with("qwen3_moe", rope)).softmax_mscale == 1);
  CHECK(rope_of(config_with("deepseek_v2-lite", rope)).softmax_mscale == doctest::Approx(all * all));
}

TEST_CASE("the other rotary types") {
  CHECK(v3_rope(nullptr).type == RopeType::standard);
  CHECK(v3_rope(json::object()).type == RopeType::standard);
  CHECK(v3_rope({{"rope_type", "default"}, {"rope_theta", 5e5}}).theta == 5e5);
  CHECK(v3_rope({{"type", "linear"}, {"factor", 2.0}}).type == RopeType::linear);
  // DeepSeek's mscale applies to every type but the default one.
  CHECK(v3_rope({{"type", "linear"}, {"factor", 2.0}, {"mscale_all_dim", 1.0}}).softmax_mscale > 1);
  CHECK(v3_rope({{"type", "default"}, {"mscale_all_dim", 1.0}}).softmax_mscale == 1);
  const RopeConfig llama3 =
      v3_rope({{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}, {"high_freq_factor", 4}});
  CHECK(llama3.type == RopeType::llama3);
  CHECK(llama3.high_freq_factor == 4);
  CHECK(llama3.original_max_position_embeddings == 256);
  CHECK_FALSE(v3_rope({{"type", "yarn"}, {"factor", 2}, {"truncate", false}}).truncate);
  CHECK(v3_rope({{"type", "yarn"}, {"factor", 2}, {"beta_fast", 0}, {"beta_slow", nullptr}}).beta_fast == 32);
}

TEST_CASE("which of several places wins") {
  json config = config_with("deepseek_v3-grouped-yarn", {{"type", "yarn"}, {"factor", 2}});
  config["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 3}};
  CHECK(rope_of(config).type == RopeType::yarn);
  config["rope_scaling"] = nullptr;
  CHECK(rope_of(config).type == RopeType::linear);
  config["rope_parameters"]["rope_theta"] = 7e4;
  CHECK(rope_of(config).theta == 7e4);
  // Both spellings of the type: rope_type.
  CHECK(v3_rope({{"type", "linear"}, {"rope_type", "yarn"}, {"factor", 2}}).type == RopeType::yarn);
  config = config_with("deepseek_v3-grouped-yarn",
                       {{"type", "yarn"}, {"factor", nullptr}, {"original_max_position_embeddings", 32}});
  CHECK(rope_of(config).factor == 8);  // 256 / 32
  config["original_max_position_embeddings"] = 64;
  CHECK(rope_of(config).original_max_position_embeddings == 64);
}

TEST_CASE("what is wrong with the rotary parameters is named") {
  CHECK(contains(v3_error({{"type", "dynamic"}, {"factor", 2}}),
                 R"(rope_scaling.type: "dynamic", expected default, linear, yarn or llama3)"));
  CHECK(contains(v3_error({{"rope_type", "longrope"}}), R"(rope_scaling.rope_type: "longrope")"));
  CHECK(contains(v3_error({{"type", 3}}), "rope_scaling.type: 3, expected a string"));
  CHECK(contains(v3_error({{"type", "yarn"}}), "rope_scaling.factor: not given, expected a number above 0"));
  CHECK(contains(v3_error({{"type", "yarn"}, {"factor", 0}}), "rope_scaling.factor: 0"));
  CHECK(contains(v3_error({{"type", "yarn"}, {"factor", "4"}}), "rope_scaling.factor: \"4\""));
  CHECK(
      contains(v3_error({{"type", "yarn"}, {"factor", 4}, {"beta_fast", -1}}), "rope_scaling.beta_fast: -1"));
  CHECK(contains(v3_error({{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 0.5}}),
                 "rope_scaling.original_max_position_embeddings: 0.5"));
  CHECK(contains(v3_error({{"type", "yarn"}, {"factor", 4}, {"mscale", 1}, {"mscale_all_dim", -1e9}}),
                 "give an attention scale of"));
  CHECK(
      contains(v3_error({{"type", "llama3"}, {"factor", 4}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}),
               "rope_scaling.high_freq_factor: 4, expected more than low_freq_factor"));
  CHECK(contains(v3_error({{"rope_theta", 1}}), "rope_scaling.rope_theta: 1, expected a number above 1"));
  CHECK(contains(v3_error({{"partial_rotary_factor", 0.5}}), "partial_rotary_factor: 0.5, expected 1"));
  CHECK(contains(v3_error({{"full_attention", {{"rope_type", "yarn"}}}}),
                 "by kind of layer are not supported"));
  CHECK(contains(v3_error("yarn"), "rope_scaling: \"yarn\", expected an object"));
}
