#include "checkpoint/architectures.h"

#include <algorithm>

namespace baleen {

namespace {

// Defaults and behaviour: transformers 5.23, models/NAME/configuration_NAME.py and modeling_NAME.py.

constexpr SizeKey deepseek_v3_sizes[] = {
    {"vocab_size", &Config::vocab_size, 129280},
    {"hidden_size", &Config::hidden_size, 7168},
    {"intermediate_size", &Config::intermediate_size, 18432},
    {"moe_intermediate_size", &Config::moe_intermediate_size, 2048},
    {"num_hidden_layers", &Config::num_hidden_layers, 61, layers},
    {"num_attention_heads", &Config::num_attention_heads, 128, heads},
    {"num_key_value_heads", &Config::num_key_value_heads, as_num_attention_heads, heads,
     IfNull::num_attention_heads},
    {"max_position_embeddings", &Config::max_position_embeddings, 4096, context},
    {"q_lora_rank", &Config::q_lora_rank, 1536, width, IfNull::zero},
    {"kv_lora_rank", &Config::kv_lora_rank, 512},
    {"qk_nope_head_dim", &Config::qk_nope_head_dim, 128, heads},
    {"qk_rope_head_dim", &Config::qk_rope_head_dim, 64, heads},
    {"v_head_dim", &Config::v_head_dim, 128, heads},
    {"n_routed_experts", &Config::n_routed_experts, 256, experts, IfNull::error, "num_local_experts"},
    {"n_shared_experts", &Config::n_shared_experts, 1, shared_experts, IfNull::zero},
    {"num_experts_per_tok", &Config::num_experts_per_tok, 8, experts},
    {"n_group", &Config::n_group, 8, experts},
    {"topk_group", &Config::topk_group, 4, experts},
    // transformers' default is 1, but a checkpoint that does not say so has none.
    {"num_nextn_predict_layers",
     &Config::num_nextn_predict_layers,
     0,
     {0, max_layers},
     IfNull::zero,
     "num_mtp_layers"},
};

// Kimi K2's own defaults are neither DeepSeek-V3's nor in transformers: what shapes the model must be given.
constexpr auto kimi_k2_sizes = [] {
  std::array<SizeKey, std::size(deepseek_v3_sizes)> sizes{};
  std::copy(std::begin(deepseek_v3_sizes), std::end(deepseek_v3_sizes), sizes.begin());
  for (SizeKey& row : sizes)
    if (row.fallback != as_num_attention_heads && row.field != &Config::num_nextn_predict_layers)
      row.fallback = required;
  return sizes;
}();

constexpr SizeKey deepseek_v2_sizes[] = {
    {"vocab_size", &Config::vocab_size, 102400},
    {"hidden_size", &Config::hidden_size, 4096},
    {"intermediate_size", &Config::intermediate_size, 11008},
    {"moe_intermediate_size", &Config::moe_intermediate_size, 1407},
    {"num_hidden_layers", &Config::num_hidden_layers, 32, layers},
    {"num_attention_heads", &Config::num_attention_heads, 32, heads},
    {"num_key_value_heads", &Config::num_key_value_heads, as_num_attention_heads, heads,
     IfNull::num_attention_heads},
    {"max_position_embeddings", &Config::max_position_embeddings, 2048, context},
    {"q_lora_rank", &Config::q_lora_rank, 1536, width, IfNull::zero},
    {"kv_lora_rank", &Config::kv_lora_rank, 512},
    {"qk_nope_head_dim", &Config::qk_nope_head_dim, 128, heads},
    {"qk_rope_head_dim", &Config::qk_rope_head_dim, 64, heads},
    {"v_head_dim", &Config::v_head_dim, 128, heads},
    {"n_routed_experts", &Config::n_routed_experts, 64, experts, IfNull::error, "num_experts"},
    {"n_shared_experts", &Config::n_shared_experts, 2, shared_experts, IfNull::zero},
    {"num_experts_per_tok", &Config::num_experts_per_tok, required, experts},
    {"n_group", &Config::n_group, 0, experts, IfNull::zero},
    {"topk_group", &Config::topk_group, 0, experts, IfNull::zero},
};

constexpr SizeKey qwen3_moe_sizes[] = {
    {"vocab_size", &Config::vocab_size, 151936},
    {"hidden_size", &Config::hidden_size, 2048},
    {"intermediate_size", &Config::intermediate_size, 6144},
    {"moe_intermediate_size", &Config::moe_intermediate_size, 768},
    {"num_hidden_layers", &Config::num_hidden_layers, 24, layers},
    {"num_attention_heads", &Config::num_attention_heads, 32, heads},
    {"num_key_value_heads", &Config::num_key_value_heads, 4, heads},
    {"head_dim", &Config::head_dim, hidden_over_heads, heads, IfNull::fallback},
    {"max_position_embeddings", &Config::max_position_embeddings, 32768, context},
    {"num_experts", &Config::n_routed_experts, 128, experts, IfNull::error, "num_local_experts"},
    {"num_experts_per_tok", &Config::num_experts_per_tok, 8, experts},
};

// OLMoE and Mixtral have no dense layers: intermediate_size is an expert's width.
constexpr SizeKey olmoe_sizes[] = {
    {"vocab_size", &Config::vocab_size, 50304},
    {"hidden_size", &Config::hidden_size, 2048},
    {"intermediate_size", &Config::intermediate_size, 2048},
    {"intermediate_size", &Config::moe_intermediate_size, 2048},
    {"num_hidden_layers", &Config::num_hidden_layers, 16, layers},
    {"num_attention_heads", &Config::num_attention_heads, 16, heads},
    {"num_key_value_heads", &Config::num_key_value_heads, as_num_attention_heads, heads,
     IfNull::num_attention_heads},
    {"head_dim", &Config::head_dim, hidden_over_heads, heads, IfNull::fallback},
    {"max_position_embeddings", &Config::max_position_embeddings, 4096, context},
    {"num_experts", &Config::n_routed_experts, 64, experts, IfNull::error, "num_local_experts"},
    {"num_experts_per_tok", &Config::num_experts_per_tok, 8, experts},
};

constexpr SizeKey mixtral_sizes[] = {
    {"vocab_size", &Config::vocab_size, 32000},
    {"hidden_size", &Config::hidden_size, 4096},
    {"intermediate_size", &Config::intermediate_size, 14336},
    {"intermediate_size", &Config::moe_intermediate_size, 14336},
    {"num_hidden_layers", &Config::num_hidden_layers, 32, layers},
    {"num_attention_heads", &Config::num_attention_heads, 32, heads},
    {"num_key_value_heads", &Config::num_key_value_heads, 8, heads, IfNull::num_attention_heads},
    {"head_dim", &Config::head_dim, hidden_over_heads, heads, IfNull::fallback},
    {"max_position_embeddings", &Config::max_position_embeddings, 131072, context},
    {"num_local_experts", &Config::n_routed_experts, 8, experts, IfNull::error, "num_experts"},
    {"num_experts_per_tok", &Config::num_experts_per_tok, 2, experts},
};

constexpr AllowedValues silu{"hidden_act", {"\"silu\"", "\"swish\""}};  // two names of one function
// transformers 5: attention to later tokens too, and values that hold for one layer.
constexpr AllowedValues causal{"is_causal", {"true"}};
constexpr AllowedValues uniform{"per_layer_config", {"{}", "null"}};

// transformers ignores scoring_func, topk_method (V3) and moe_layer_freq; the authors' code does not.
constexpr AllowedValues deepseek_v3_allowed[] = {silu,
                                                 causal,
                                                 uniform,
                                                 {"scoring_func", {"\"sigmoid\""}},
                                                 {"topk_method", {"\"noaux_tc\""}},
                                                 {"moe_layer_freq", {"1"}}};
constexpr AllowedValues deepseek_v2_allowed[] = {silu,
                                                 causal,
                                                 uniform,
                                                 {"scoring_func", {"\"softmax\""}},
                                                 {"topk_method", {"\"greedy\"", "\"group_limited_greedy\""}},
                                                 {"moe_layer_freq", {"1"}},
                                                 {"mlp_bias", {"false"}}};
constexpr AllowedValues plain_allowed[] = {silu, causal, uniform};

constexpr TopkMethodName noaux_tc[] = {{"noaux_tc", TopkMethod::noaux_tc}};
constexpr TopkMethodName deepseek_v2_methods[] = {{"greedy", TopkMethod::greedy},
                                                  {"group_limited_greedy", TopkMethod::group_limited_greedy}};
constexpr TopkMethodName greedy[] = {{"greedy", TopkMethod::greedy}};

constexpr Architecture deepseek_v3 = {
    .model_type = "deepseek_v3",
    .sizes = deepseek_v3_sizes,
    .allowed = deepseek_v3_allowed,
    .attention = AttentionKind::mla,
    .reads_attention_bias = true,
    .rope_layout = RopeLayout::interleaved,
    .reads_rope_interleave = true,
    .moe_layers = MoeLayers::behind_first_k_dense,
    .first_k_dense_replace = 3,
    .scoring_func = ScoringFunc::sigmoid,
    .topk_methods = noaux_tc,
    .reads_norm_topk_prob = true,
    .norm_topk_prob = true,
    .topk_norm_eps = 1e-20,
    .routed_scaling_factor = 2.5,
    .bos_token_id = 0,
    .eos_token_id = 1,
};

constexpr Architecture kimi_k2 = [] {
  Architecture architecture = deepseek_v3;
  architecture.model_type = "kimi_k2";
  architecture.sizes = kimi_k2_sizes;
  return architecture;
}();

constexpr Architecture all[] = {
    deepseek_v3,
    kimi_k2,
    // transformers never normalises V2's weights, whatever norm_topk_prob says; the authors' code would, and
    // then leave routed_scaling_factor out. Every published V2 has norm_topk_prob false.
    {.model_type = "deepseek_v2",
     .sizes = deepseek_v2_sizes,
     .allowed = deepseek_v2_allowed,
     .attention = AttentionKind::mla,
     .reads_attention_bias = true,
     .rope_layout = RopeLayout::interleaved,
     .moe_layers = MoeLayers::behind_first_k_dense,
     .topk_methods = deepseek_v2_methods,
     .routed_scaling_factor = 1.0,
     .bos_token_id = 1,
     .eos_token_id = 2},
    {.model_type = "qwen3_moe",
     .sizes = qwen3_moe_sizes,
     .allowed = plain_allowed,
     .qk_norm = QkNorm::per_head,
     .reads_attention_bias = true,
     .sliding_window = SlidingWindow::if_used,
     .sliding_window_size = 4096,
     .moe_layers = MoeLayers::by_sparse_step,
     .topk_methods = greedy,
     .reads_norm_topk_prob = true},
    {.model_type = "olmoe",
     .sizes = olmoe_sizes,
     .allowed = plain_allowed,
     .rms_norm_eps = 1e-5,
     .qk_norm = QkNorm::full_width,
     .reads_attention_bias = true,
     .reads_clip_qkv = true,
     .topk_methods = greedy,
     .reads_norm_topk_prob = true,
     .eos_token_id = 50279},
    {.model_type = "mixtral",
     .sizes = mixtral_sizes,
     .allowed = plain_allowed,
     .rms_norm_eps = 1e-5,
     .sliding_window = SlidingWindow::if_set,
     .rope_theta = 1e6,
     .topk_methods = greedy,
     .norm_topk_prob = true,
     .bos_token_id = 1,
     .eos_token_id = 2},
};

}  // namespace

std::span<const Architecture> architectures() {
  return all;
}

}  // namespace baleen
