// A model small enough to count by hand.
#pragma once

#include <string>

#include "bench/random_model.h"

namespace baleen::test {

// Multi-head latent attention; layer 0 dense, layer 1 with 8 routed experts of which 2 are chosen, and a
// shared one.
inline const std::string tiny_config = R"({
  "model_type": "deepseek_v3", "hidden_act": "silu", "vocab_size": 100, "hidden_size": 64,
  "intermediate_size": 96,
  "moe_intermediate_size": 32, "num_hidden_layers": 2, "first_k_dense_replace": 1, "num_attention_heads": 2,
  "num_key_value_heads": 2, "q_lora_rank": null,
  "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
  "v_head_dim": 16, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1,
  "topk_group": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
  "norm_topk_prob": true,
  "routed_scaling_factor": 2.0, "max_position_embeddings": 256, "rope_theta": 10000, "rope_scaling": null,
  "tie_word_embeddings": false, "attention_bias": false})";

inline Model tiny_model(WeightFormat format, ThreadPool& pool, std::uint64_t seed = 1) {
  return random_model(parse_shape(tiny_config, "tiny", format), seed, pool);
}

}  // namespace baleen::test
