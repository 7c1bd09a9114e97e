#include "checkpoint/config.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "checkpoint/fixture.h"
#include "error.h"

using namespace baleen;
using namespace baleen::test;
using nlohmann::json;

namespace {

Config parse(const json& config) {
  return parse_config(config.dump(), "config.json");
}

std::string parse_error(const json& config) {
  return error_of([&] { parse(config); });
}

// A config with some keys changed; null values stay, "" removes a key.
json with(json config, std::initializer_list<std::pair<const char*, json>> changes) {
  for (const auto& [key, value] : changes) {
    if (value == "")
      config.erase(key);
    else
      config[key] = value;
  }
  return config;
}

std::size_t count(const std::vector<bool>& flags) {
  return static_cast<std::size_t>(std::count(flags.begin(), flags.end(), true));
}

const json v3 = golden_config("deepseek_v3-grouped-yarn");
const json v2 = golden_config("deepseek_v2-lite");
const json qwen = golden_config("qwen3_moe");
const json olmoe = golden_config("olmoe");
const json mixtral = golden_config("mixtral");

struct Bad {
  const json* base;
  const char* key;
  const char* value;  // JSON
  const char* message;
};

const Bad bad_values[] = {
    {&v3, "model_type", R"("llama")",
     "model_type \"llama\", supported are deepseek_v3, kimi_k2, deepseek_v2"},
    {&v3, "model_type", "3", "no model_type"},
    {&v3, "hidden_act", R"("gelu")", R"(hidden_act: "gelu", expected "silu" or "swish")"},
    {&v3, "hidden_act", "null", "hidden_act: null, expected"},
    {&v3, "scoring_func", R"("softmax")", R"(scoring_func: "softmax", expected "sigmoid")"},
    {&v3, "topk_method", R"("greedy")", R"(topk_method: "greedy", expected "noaux_tc")"},
    {&v3, "moe_layer_freq", "2", "moe_layer_freq: 2, expected 1"},
    {&v2, "scoring_func", R"("sigmoid")", R"(expected "softmax")"},
    {&v2, "topk_method", R"("noaux_tc")", R"(expected "greedy" or "group_limited_greedy")"},
    {&v2, "mlp_bias", "true", "mlp_bias: true, expected false"},
    {&v3, "is_causal", "false", "is_causal: false, expected true"},
    {&v2, "is_causal", "false", "is_causal: false, expected true"},
    {&qwen, "is_causal", "false", "is_causal: false, expected true"},
    {&olmoe, "is_causal", "false", "is_causal: false, expected true"},
    {&mixtral, "is_causal", "null", "is_causal: null, expected true"},
    {&v3, "per_layer_config", R"({"1": {"num_experts_per_tok": 1}})",
     R"(per_layer_config: {"1":{"num_experts_per_tok":1}}, expected {} or null)"},
    {&v2, "per_layer_config", R"({"1": {}})", "per_layer_config: "},
    {&mixtral, "per_layer_config", R"({"1": {}})", "per_layer_config: "},
    {&v3, "hidden_size", R"("96")", R"(hidden_size: "96", expected a whole number from 1 to 16777216)"},
    {&v3, "hidden_size", "96.0", "hidden_size: 96.0"},
    {&v3, "hidden_size", "true", "hidden_size: true"},
    {&v3, "hidden_size", "null", "hidden_size: null"},
    {&v3, "hidden_size", "[96]", "hidden_size: [96]"},
    {&v3, "hidden_size", "0", "hidden_size: 0"},
    {&v3, "hidden_size", "-96", "hidden_size: -96"},
    {&v3, "hidden_size", "16777217", "hidden_size: 16777217"},
    {&v3, "hidden_size", "99999999999999999999", "hidden_size: 1e+20"},
    {&v3, "num_hidden_layers", "10001", "num_hidden_layers: 10001"},
    {&v3, "n_routed_experts", "65537", "n_routed_experts: 65537"},
    {&v3, "vocab_size", "-1", "vocab_size: -1"},
    {&v3, "q_lora_rank", "0", "q_lora_rank: 0"},
    {&v3, "rms_norm_eps", "0", "rms_norm_eps: 0, expected a number above 0"},
    {&v3, "rms_norm_eps", R"("1e-6")", "rms_norm_eps: \"1e-6\""},
    {&v3, "tie_word_embeddings", "1", "tie_word_embeddings: 1, expected true or false"},
    {&v3, "norm_topk_prob", R"("yes")", "norm_topk_prob: \"yes\""},
    {&v3, "routed_scaling_factor", "-2.5", "routed_scaling_factor: -2.5"},
    {&v3, "num_experts_per_tok", "17", "num_experts_per_tok: 17, expected at most n_routed_experts 16"},
    {&v3, "num_experts_per_tok", "9",
     "num_experts_per_tok: 9, expected at most the 8 experts of topk_group 2"},
    {&v3, "n_group", "3", "n_group: 3, expected a divisor of n_routed_experts 16"},
    {&v3, "n_group", "null", "n_group: null"},
    {&v3, "n_group", "16", "n_group: 16, expected groups of two experts at least"},
    {&v3, "topk_group", "5", "topk_group: 5, expected at most n_group 4"},
    {&v3, "num_key_value_heads", "2", "num_key_value_heads: 2, expected num_attention_heads 6"},
    {&v3, "qk_rope_head_dim", "15", "qk_rope_head_dim: 15, expected an even number"},
    {&v3, "eos_token_id", "512", "eos_token_id: 512, expected a token id from 0 to 511"},
    {&v3, "eos_token_id", "[1, -1]", "eos_token_id: -1"},
    {&v3, "eos_token_id", R"("1")", "eos_token_id: \"1\""},
    {&v3, "bos_token_id", "600", "bos_token_id: 600"},
    {&v3, "bos_token_id", "[0, 1]", "bos_token_id: [0,1], expected one"},
    {&v3, "first_k_dense_replace", "-1", "first_k_dense_replace: -1"},
    {&v3, "num_local_experts", "8", "num_local_experts: 8, but n_routed_experts is 16"},
    {&v2, "num_experts_per_tok", "\"\"", "num_experts_per_tok: not given"},
    {&qwen, "num_key_value_heads", "4",
     "num_key_value_heads: 4, expected a divisor of num_attention_heads 6"},
    {&qwen, "head_dim", "31", "head_dim: 31, expected an even number"},
    {&qwen, "decoder_sparse_step", "0", "decoder_sparse_step: 0"},
    {&qwen, "mlp_only_layers", R"([1, "x"])", "mlp_only_layers: [1,\"x\"], expected a list of layer numbers"},
    {&qwen, "mlp_only_layers", "1", "mlp_only_layers: 1"},
    {&qwen, "use_sliding_window", "3", "use_sliding_window: 3"},
    {&olmoe, "clip_qkv", "0", "clip_qkv: 0"},
    {&olmoe, "head_dim", "26", "head_dim: 26, expected hidden_size 96 / num_attention_heads 4"},
    {&olmoe, "intermediate_size", "0", "intermediate_size: 0"},
    {&mixtral, "sliding_window", "0", "sliding_window: 0"},
    {&mixtral, "hidden_size", "97", "hidden_size: 97, expected a multiple of num_attention_heads 6"},
};

}  // namespace

TEST_CASE("DeepSeek-V3's config") {
  const Config c = parse(v3);
  CHECK(c.model_type == "deepseek_v3");
  CHECK(c.attention == AttentionKind::mla);
  CHECK(c.num_hidden_layers == 4);
  CHECK(c.q_lora_rank == 56);
  CHECK(c.qk_head_dim() == 48);
  CHECK(c.scoring_func == ScoringFunc::sigmoid);
  CHECK(c.topk_method == TopkMethod::noaux_tc);
  CHECK(c.n_group == 4);
  CHECK(c.topk_group == 2);
  CHECK(c.norm_topk_prob);
  CHECK(c.topk_norm_eps == 1e-20);
  CHECK(c.routed_scaling_factor == 2.5);
  CHECK(c.is_moe_layer == std::vector<bool>{false, true, true, true});
  CHECK(c.sliding_window == std::vector<std::size_t>(4, 0));
  CHECK(c.rope.layout == RopeLayout::interleaved);
  CHECK(c.bos_token_id == 0);
  CHECK(c.eos_token_id == std::vector<std::int32_t>{1});
  CHECK(parse(golden_config("deepseek_v3-moonlight")).q_lora_rank == 0);
  CHECK(parse(with(v3, {{"rope_interleave", false}})).rope.layout == RopeLayout::half_split);
}

TEST_CASE("the other architectures' configs") {
  const Config deepseek_v2 = parse(v2);
  CHECK(deepseek_v2.topk_method == TopkMethod::greedy);
  CHECK(deepseek_v2.scoring_func == ScoringFunc::softmax);
  CHECK(deepseek_v2.n_shared_experts == 2);
  CHECK(deepseek_v2.n_group == 1);
  // transformers ignores it for V2.
  CHECK_FALSE(parse(with(v2, {{"norm_topk_prob", true}})).norm_topk_prob);

  const Config qwen3 = parse(qwen);
  CHECK(qwen3.attention == AttentionKind::grouped_query);
  CHECK(qwen3.qk_norm == QkNorm::per_head);
  CHECK(qwen3.head_dim == 32);
  CHECK(qwen3.n_routed_experts == 12);
  CHECK(qwen3.norm_topk_prob);
  CHECK(qwen3.topk_norm_eps == 0);
  CHECK(qwen3.is_moe_layer == std::vector<bool>{true, false, true});
  CHECK(qwen3.rope.theta == 1e6);
  CHECK(qwen3.rope.layout == RopeLayout::half_split);

  const Config olmo = parse(olmoe);
  CHECK(olmo.qk_norm == QkNorm::full_width);
  CHECK(olmo.head_dim == 24);
  CHECK(olmo.moe_intermediate_size == 48);
  CHECK(olmo.clip_qkv == 0);
  CHECK_FALSE(olmo.norm_topk_prob);
  CHECK(parse(with(olmoe, {{"clip_qkv", 8.0}})).clip_qkv == 8.0);

  const Config mix = parse(mixtral);
  CHECK(mix.head_dim == 16);
  CHECK(mix.num_key_value_heads == 3);
  CHECK(mix.moe_intermediate_size == 112);
  CHECK(mix.norm_topk_prob);
  CHECK(count(mix.is_moe_layer) == 3);
}

TEST_CASE("transformers' defaults stand for absent keys") {
  const Config deepseek = parse({{"model_type", "deepseek_v3"}});
  CHECK(deepseek.hidden_size == 7168);
  CHECK(deepseek.num_key_value_heads == 128);
  CHECK(deepseek.n_group == 8);
  CHECK(deepseek.max_position_embeddings == 4096);
  CHECK(count(deepseek.is_moe_layer) == 58);
  CHECK(deepseek.rope.theta == 10000);
  CHECK(parse({{"model_type", "qwen3_moe"}}).head_dim == 64);
  CHECK(parse({{"model_type", "qwen3_moe"}}).eos_token_id.empty());
  CHECK(parse({{"model_type", "olmoe"}}).rms_norm_eps == 1e-5);
  CHECK(parse({{"model_type", "olmoe"}}).bos_token_id == -1);
  CHECK(parse({{"model_type", "olmoe"}}).eos_token_id == std::vector<std::int32_t>{50279});
  CHECK(parse({{"model_type", "mixtral"}}).rope.theta == 1e6);
  CHECK(parse({{"model_type", "mixtral"}}).head_dim == 128);
  CHECK(parse({{"model_type", "mixtral"}}).eos_token_id == std::vector<std::int32_t>{2});
  CHECK(parse({{"model_type", "mixtral"}, {"num_key_value_heads", nullptr}}).num_key_value_heads == 32);
  CHECK(parse({{"model_type", "deepseek_v2"}, {"num_experts_per_tok", 6}}).rms_norm_eps == 1e-6);
}

TEST_CASE("kimi_k2 is DeepSeek-V3 with everything given") {
  const Config c = parse(with(v3, {{"model_type", "kimi_k2"}}));
  CHECK(c.model_type == "kimi_k2");
  CHECK(c.topk_method == TopkMethod::noaux_tc);
  CHECK(contains(parse_error(with(v3, {{"model_type", "kimi_k2"}, {"n_group", ""}})), "n_group: not given"));
}

TEST_CASE("other spellings") {
  CHECK(parse(with(v3, {{"n_routed_experts", ""}, {"num_local_experts", 16}})).n_routed_experts == 16);
  CHECK(parse(with(v3, {{"num_local_experts", 16}})).n_routed_experts == 16);
  CHECK(parse(with(v3, {{"num_mtp_layers", 1}})).num_nextn_predict_layers == 1);
  CHECK(parse(with(v3, {{"num_nextn_predict_layers", 1}})).num_nextn_predict_layers == 1);
  CHECK(parse(with(mixtral, {{"num_local_experts", ""}, {"num_experts", 6}})).n_routed_experts == 6);
  CHECK(parse(with(v3, {{"hidden_act", "swish"}})).hidden_size == 96);
  CHECK(parse(with(v3, {{"eos_token_id", {1, 2, 3}}})).eos_token_id == std::vector<std::int32_t>{1, 2, 3});
  CHECK(parse(with(v3, {{"eos_token_id", nullptr}})).eos_token_id.empty());
  CHECK(parse(with(v3, {{"bos_token_id", nullptr}})).bos_token_id == -1);
  CHECK(parse(with(v3, {{"an_unknown_key", {{"a", 1}}}})).hidden_size == 96);
}

TEST_CASE("group-limited choice of DeepSeek-V2") {
  const json config = with(v2, {{"topk_method", "group_limited_greedy"}, {"n_group", 5}, {"topk_group", 2}});
  const Config c = parse(config);
  CHECK(c.topk_method == TopkMethod::group_limited_greedy);
  CHECK(c.n_group == 5);
  CHECK(c.topk_group == 2);
  CHECK(
      contains(parse_error(with(config, {{"n_group", nullptr}})), "n_group: null, expected a whole number"));
}

TEST_CASE("sliding windows") {
  CHECK(parse(with(mixtral, {{"sliding_window", 8}})).sliding_window == std::vector<std::size_t>(3, 8));
  CHECK(parse(with(mixtral, {{"sliding_window", ""}})).sliding_window == std::vector<std::size_t>(3, 0));
  CHECK(parse(with(qwen, {{"sliding_window", 8}})).sliding_window == std::vector<std::size_t>(3, 0));
  const json used = with(qwen, {{"use_sliding_window", true}});
  CHECK(parse(with(used, {{"sliding_window", 8}})).sliding_window == std::vector<std::size_t>(3, 8));
  CHECK(parse(used).sliding_window == std::vector<std::size_t>(3, 4096));
  CHECK(parse(with(used, {{"sliding_window", nullptr}})).sliding_window == std::vector<std::size_t>(3, 0));
  CHECK(parse(with(olmoe, {{"sliding_window", 8}})).sliding_window == std::vector<std::size_t>(3, 0));
}

TEST_CASE("what is wrong with a config is named") {
  for (const Bad& bad : bad_values) {
    json config = *bad.base;
    if (json::parse(bad.value) == "")
      config.erase(bad.key);
    else
      config[bad.key] = json::parse(bad.value);
    const std::string error = parse_error(config);
    CAPTURE(bad.key);
    CAPTURE(bad.value);
    CAPTURE(error);
    CHECK(error.starts_with("config.json: "));
    CHECK(contains(error, bad.message));
    CHECK(error.find('\n') == error.npos);
  }
}

TEST_CASE("all problems of a config are told, up to ten") {
  const std::string two = parse_error(with(v3, {{"hidden_size", 0}, {"hidden_act", "relu"}}));
  CHECK(contains(two, "config.json: hidden_act: "));
  CHECK(contains(two, "\nconfig.json: hidden_size: 0"));
  json all = v3;
  for (auto& [key, value] : all.items())
    if (value.is_number_integer()) value = -7;
  const std::string many = parse_error(all);
  CHECK(std::count(many.begin(), many.end(), '\n') == 10);
  CHECK(contains(many, "more"));
}

TEST_CASE("broken JSON is named with its place") {
  const auto error = [](std::string_view text) {
    return error_of([&] { parse_config(text, "config.json"); });
  };
  CHECK(contains(error(""), "config.json: not valid JSON: parse error at line 1"));
  CHECK(contains(error("{\n\"a\": }"), "line 2"));
  CHECK(contains(error("[1]"), "config.json: [1], expected a JSON object"));
  CHECK(contains(error("{}"), "no model_type, supported are"));
  CHECK(contains(error("{\"a\": 1e999}"), "not valid JSON"));
  CHECK(contains(error("{\"a\": \"\xff\"}"), "not valid JSON"));
  CHECK(contains(error(std::string(100'000, '[')), "nested deeper"));
}

TEST_CASE("a multimodal wrapper is told apart") {
  const std::string error = parse_error({{"model_type", "kimi_k25"}, {"text_config", v3}});
  CHECK(contains(error, "model_type \"kimi_k25\""));
  CHECK(contains(error, "text_config"));
}
