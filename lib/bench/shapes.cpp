#include "bench/shapes.h"

namespace baleen {
namespace {

// huggingface.co/deepseek-ai/DeepSeek-V3
constexpr std::string_view deepseek_v3 = R"({
  "model_type": "deepseek_v3", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
  "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
  "num_hidden_layers": 61, "first_k_dense_replace": 3, "moe_layer_freq": 1, "num_nextn_predict_layers": 1,
  "num_attention_heads": 128, "num_key_value_heads": 128, "attention_bias": false,
  "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
  "v_head_dim": 128,
  "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
  "n_group": 8, "topk_group": 4,
  "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": true,
  "routed_scaling_factor": 2.5,
  "max_position_embeddings": 163840, "rope_theta": 10000,
  "rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 32,
                   "beta_slow": 1, "original_max_position_embeddings": 4096},
  "bos_token_id": 0, "eos_token_id": 1
})";

// huggingface.co/moonshotai/Moonlight-16B-A3B
constexpr std::string_view moonlight = R"({
  "model_type": "deepseek_v3", "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
  "vocab_size": 163840, "hidden_size": 2048, "intermediate_size": 11264, "moe_intermediate_size": 1408,
  "num_hidden_layers": 27, "first_k_dense_replace": 1, "moe_layer_freq": 1, "num_nextn_predict_layers": 0,
  "num_attention_heads": 16, "num_key_value_heads": 16, "attention_bias": false,
  "q_lora_rank": null, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
  "v_head_dim": 128,
  "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "n_group": 1, "topk_group": 1,
  "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": true,
  "routed_scaling_factor": 2.446,
  "max_position_embeddings": 8192, "rope_theta": 50000, "rope_scaling": null,
  "bos_token_id": 163584, "eos_token_id": 163586
})";

// huggingface.co/Qwen/Qwen3-30B-A3B
constexpr std::string_view qwen3_30b_a3b = R"({
  "model_type": "qwen3_moe", "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
  "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
  "num_hidden_layers": 48, "decoder_sparse_step": 1, "mlp_only_layers": [],
  "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "attention_bias": false,
  "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true, "use_sliding_window": false,
  "max_position_embeddings": 40960, "rope_theta": 1000000, "rope_scaling": null,
  "bos_token_id": 151643, "eos_token_id": 151645
})";

// huggingface.co/allenai/OLMoE-1B-7B-0924
constexpr std::string_view olmoe = R"({
  "model_type": "olmoe", "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
  "vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 1024, "num_hidden_layers": 16,
  "num_attention_heads": 16, "num_key_value_heads": 16, "attention_bias": false, "clip_qkv": null,
  "num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": false,
  "max_position_embeddings": 4096, "rope_theta": 10000, "rope_scaling": null,
  "eos_token_id": 50279
})";

constexpr ShapePreset presets[] = {
    {"deepseek-v3", deepseek_v3},
    {"moonlight", moonlight},
    {"qwen3-30b-a3b", qwen3_30b_a3b},
    {"olmoe", olmoe},
};

}  // namespace

std::span<const ShapePreset> shape_presets() {
  return presets;
}

}  // namespace baleen
