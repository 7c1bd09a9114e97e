#include "model/architecture.h"

#include <array>
#include <charconv>

#include "error.h"

namespace baleen {
namespace {

using C = const Config&;

constexpr Dim none{"1", [](C) -> std::size_t { return 1; }};
constexpr Dim vocab{"vocab_size", [](C c) { return c.vocab_size; }};
constexpr Dim hidden{"hidden_size", [](C c) { return c.hidden_size; }};
constexpr Dim dense_inner{"intermediate_size", [](C c) { return c.intermediate_size; }};
constexpr Dim expert_inner{"moe_intermediate_size", [](C c) { return c.moe_intermediate_size; }};
constexpr Dim shared_inner{"n_shared_experts * moe_intermediate_size",
                           [](C c) { return c.n_shared_experts * c.moe_intermediate_size; }};
constexpr Dim experts{"n_routed_experts", [](C c) { return c.n_routed_experts; }};
constexpr Dim q_lora{"q_lora_rank", [](C c) { return c.q_lora_rank; }};
constexpr Dim kv_lora{"kv_lora_rank", [](C c) { return c.kv_lora_rank; }};
constexpr Dim kv_a{"kv_lora_rank + qk_rope_head_dim", [](C c) { return c.kv_lora_rank + c.qk_rope_head_dim; }};
constexpr Dim mla_q{"num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)",
                    [](C c) { return c.num_attention_heads * c.qk_head_dim(); }};
constexpr Dim mla_kv{"num_attention_heads * (qk_nope_head_dim + v_head_dim)",
                     [](C c) { return c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim); }};
constexpr Dim mla_o{"num_attention_heads * v_head_dim", [](C c) { return c.num_attention_heads * c.v_head_dim; }};
constexpr Dim gqa_q{"num_attention_heads * head_dim", [](C c) { return c.num_attention_heads * c.head_dim; }};
constexpr Dim gqa_kv{"num_key_value_heads * head_dim", [](C c) { return c.num_key_value_heads * c.head_dim; }};
// Qwen3 norms each head's query and key, OLMoE their full width.
constexpr Dim q_norm_width{"head_dim or num_attention_heads * head_dim",
                           [](C c) { return c.qk_norm == QkNorm::per_head ? c.head_dim : gqa_q.of(c); }};
constexpr Dim k_norm_width{"head_dim or num_key_value_heads * head_dim",
                           [](C c) { return c.qk_norm == QkNorm::per_head ? c.head_dim : gqa_kv.of(c); }};

constexpr auto untied = [](C c, std::size_t) { return !c.tie_word_embeddings; };
constexpr auto dense = [](C c, std::size_t layer) { return !c.is_moe_layer[layer]; };
constexpr auto moe = [](C c, std::size_t layer) -> bool { return c.is_moe_layer[layer]; };
constexpr auto shared = [](C c, std::size_t layer) { return c.is_moe_layer[layer] && c.n_shared_experts > 0; };
constexpr auto biased_router = [](C c, std::size_t layer) {
  return c.is_moe_layer[layer] && c.topk_method == TopkMethod::noaux_tc;
};
constexpr auto compressed_q = [](C c, std::size_t) { return c.q_lora_rank > 0; };
constexpr auto plain_q = [](C c, std::size_t) { return c.q_lora_rank == 0; };
constexpr auto biased = [](C c, std::size_t) { return c.attention_bias; };
constexpr auto biased_compressed_q = [](C c, std::size_t) { return c.attention_bias && c.q_lora_rank > 0; };
constexpr auto normed = [](C c, std::size_t) { return c.qk_norm != QkNorm::none; };

using enum Scope;
using enum Kind;

// DeepSeek-V2, DeepSeek-V3, Moonlight, Kimi-K2. attention_bias never reaches q_proj, q_b_proj and kv_b_proj.
constexpr auto deepseek = std::to_array<TensorSpec>({
    {Role::embed_tokens, global, matrix, "model.embed_tokens.weight", vocab, hidden, "embedding", Use::one_row},
    {Role::norm, global, vector, "model.norm.weight", none, hidden, "norms"},
    {Role::lm_head, global, matrix, "lm_head.weight", vocab, hidden, "output head", Use::every_token, untied},
    {Role::input_layernorm, layer, vector, "model.layers.{layer}.input_layernorm.weight", none, hidden, "norms"},
    {Role::post_attention_layernorm, layer, vector, "model.layers.{layer}.post_attention_layernorm.weight", none,
     hidden, "norms"},
    {Role::q_proj, layer, matrix, "model.layers.{layer}.self_attn.q_proj.weight", mla_q, hidden, "attention",
     Use::every_token, plain_q},
    {Role::q_a_proj, layer, matrix, "model.layers.{layer}.self_attn.q_a_proj.weight", q_lora, hidden, "attention",
     Use::every_token, compressed_q},
    {Role::q_a_proj_bias, layer, vector, "model.layers.{layer}.self_attn.q_a_proj.bias", none, q_lora, "attention",
     Use::every_token, biased_compressed_q},
    {Role::q_a_layernorm, layer, vector, "model.layers.{layer}.self_attn.q_a_layernorm.weight", none, q_lora,
     "norms", Use::every_token, compressed_q},
    {Role::q_b_proj, layer, matrix, "model.layers.{layer}.self_attn.q_b_proj.weight", mla_q, q_lora, "attention",
     Use::every_token, compressed_q},
    {Role::kv_a_proj_with_mqa, layer, matrix, "model.layers.{layer}.self_attn.kv_a_proj_with_mqa.weight", kv_a,
     hidden, "attention"},
    {Role::kv_a_proj_bias, layer, vector, "model.layers.{layer}.self_attn.kv_a_proj_with_mqa.bias", none, kv_a,
     "attention", Use::every_token, biased},
    {Role::kv_a_layernorm, layer, vector, "model.layers.{layer}.self_attn.kv_a_layernorm.weight", none, kv_lora,
     "norms"},
    {Role::kv_b_proj, layer, matrix, "model.layers.{layer}.self_attn.kv_b_proj.weight", mla_kv, kv_lora,
     "attention"},
    {Role::o_proj, layer, matrix, "model.layers.{layer}.self_attn.o_proj.weight", hidden, mla_o, "attention"},
    {Role::o_proj_bias, layer, vector, "model.layers.{layer}.self_attn.o_proj.bias", none, hidden, "attention",
     Use::every_token, biased},
    {Role::gate_proj, layer, matrix, "model.layers.{layer}.mlp.gate_proj.weight", dense_inner, hidden, "dense mlp",
     Use::every_token, dense},
    {Role::up_proj, layer, matrix, "model.layers.{layer}.mlp.up_proj.weight", dense_inner, hidden, "dense mlp",
     Use::every_token, dense},
    {Role::down_proj, layer, matrix, "model.layers.{layer}.mlp.down_proj.weight", hidden, dense_inner, "dense mlp",
     Use::every_token, dense},
    {Role::router, layer, matrix, "model.layers.{layer}.mlp.gate.weight", experts, hidden, "router",
     Use::every_token, moe},
    {Role::e_score_correction_bias, layer, vector, "model.layers.{layer}.mlp.gate.e_score_correction_bias", none,
     experts, "router", Use::every_token, biased_router},
    {Role::shared_gate_proj, layer, matrix, "model.layers.{layer}.mlp.shared_experts.gate_proj.weight",
     shared_inner, hidden, "shared experts", Use::every_token, shared},
    {Role::shared_up_proj, layer, matrix, "model.layers.{layer}.mlp.shared_experts.up_proj.weight", shared_inner,
     hidden, "shared experts", Use::every_token, shared},
    {Role::shared_down_proj, layer, matrix, "model.layers.{layer}.mlp.shared_experts.down_proj.weight", hidden,
     shared_inner, "shared experts", Use::every_token, shared},
    {Role::gate_proj, expert, matrix, "model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight", expert_inner,
     hidden, "routed experts", Use::routed, moe},
    {Role::up_proj, expert, matrix, "model.layers.{layer}.mlp.experts.{expert}.up_proj.weight", expert_inner,
     hidden, "routed experts", Use::routed, moe},
    {Role::down_proj, expert, matrix, "model.layers.{layer}.mlp.experts.{expert}.down_proj.weight", hidden,
     expert_inner, "routed experts", Use::routed, moe},
});

// Qwen3-MoE and OLMoE.
constexpr auto qwen3_moe = std::to_array<TensorSpec>({
    {Role::embed_tokens, global, matrix, "model.embed_tokens.weight", vocab, hidden, "embedding", Use::one_row},
    {Role::norm, global, vector, "model.norm.weight", none, hidden, "norms"},
    {Role::lm_head, global, matrix, "lm_head.weight", vocab, hidden, "output head", Use::every_token, untied},
    {Role::input_layernorm, layer, vector, "model.layers.{layer}.input_layernorm.weight", none, hidden, "norms"},
    {Role::post_attention_layernorm, layer, vector, "model.layers.{layer}.post_attention_layernorm.weight", none,
     hidden, "norms"},
    {Role::q_proj, layer, matrix, "model.layers.{layer}.self_attn.q_proj.weight", gqa_q, hidden, "attention"},
    {Role::k_proj, layer, matrix, "model.layers.{layer}.self_attn.k_proj.weight", gqa_kv, hidden, "attention"},
    {Role::v_proj, layer, matrix, "model.layers.{layer}.self_attn.v_proj.weight", gqa_kv, hidden, "attention"},
    {Role::o_proj, layer, matrix, "model.layers.{layer}.self_attn.o_proj.weight", hidden, gqa_q, "attention"},
    {Role::q_proj_bias, layer, vector, "model.layers.{layer}.self_attn.q_proj.bias", none, gqa_q, "attention",
     Use::every_token, biased},
    {Role::k_proj_bias, layer, vector, "model.layers.{layer}.self_attn.k_proj.bias", none, gqa_kv, "attention",
     Use::every_token, biased},
    {Role::v_proj_bias, layer, vector, "model.layers.{layer}.self_attn.v_proj.bias", none, gqa_kv, "attention",
     Use::every_token, biased},
    {Role::o_proj_bias, layer, vector, "model.layers.{layer}.self_attn.o_proj.bias", none, hidden, "attention",
     Use::every_token, biased},
    {Role::q_norm, layer, vector, "model.layers.{layer}.self_attn.q_norm.weight", none, q_norm_width, "norms",
     Use::every_token, normed},
    {Role::k_norm, layer, vector, "model.layers.{layer}.self_attn.k_norm.weight", none, k_norm_width, "norms",
     Use::every_token, normed},
    {Role::gate_proj, layer, matrix, "model.layers.{layer}.mlp.gate_proj.weight", dense_inner, hidden, "dense mlp",
     Use::every_token, dense},
    {Role::up_proj, layer, matrix, "model.layers.{layer}.mlp.up_proj.weight", dense_inner, hidden, "dense mlp",
     Use::every_token, dense},
    {Role::down_proj, layer, matrix, "model.layers.{layer}.mlp.down_proj.weight", hidden, dense_inner, "dense mlp",
     Use::every_token, dense},
    {Role::router, layer, matrix, "model.layers.{layer}.mlp.gate.weight", experts, hidden, "router",
     Use::every_token, moe},
    {Role::gate_proj, expert, matrix, "model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight", expert_inner,
     hidden, "routed experts", Use::routed, moe},
    {Role::up_proj, expert, matrix, "model.layers.{layer}.mlp.experts.{expert}.up_proj.weight", expert_inner,
     hidden, "routed experts", Use::routed, moe},
    {Role::down_proj, expert, matrix, "model.layers.{layer}.mlp.experts.{expert}.down_proj.weight", hidden,
     expert_inner, "routed experts", Use::routed, moe},
});

constexpr auto mixtral = std::to_array<TensorSpec>({
    {Role::embed_tokens, global, matrix, "model.embed_tokens.weight", vocab, hidden, "embedding", Use::one_row},
    {Role::norm, global, vector, "model.norm.weight", none, hidden, "norms"},
    {Role::lm_head, global, matrix, "lm_head.weight", vocab, hidden, "output head", Use::every_token, untied},
    {Role::input_layernorm, layer, vector, "model.layers.{layer}.input_layernorm.weight", none, hidden, "norms"},
    {Role::post_attention_layernorm, layer, vector, "model.layers.{layer}.post_attention_layernorm.weight", none,
     hidden, "norms"},
    {Role::q_proj, layer, matrix, "model.layers.{layer}.self_attn.q_proj.weight", gqa_q, hidden, "attention"},
    {Role::k_proj, layer, matrix, "model.layers.{layer}.self_attn.k_proj.weight", gqa_kv, hidden, "attention"},
    {Role::v_proj, layer, matrix, "model.layers.{layer}.self_attn.v_proj.weight", gqa_kv, hidden, "attention"},
    {Role::o_proj, layer, matrix, "model.layers.{layer}.self_attn.o_proj.weight", hidden, gqa_q, "attention"},
    {Role::router, layer, matrix, "model.layers.{layer}.block_sparse_moe.gate.weight", experts, hidden, "router",
     Use::every_token, moe},
    {Role::gate_proj, expert, matrix, "model.layers.{layer}.block_sparse_moe.experts.{expert}.w1.weight",
     expert_inner, hidden, "routed experts", Use::routed, moe},
    {Role::up_proj, expert, matrix, "model.layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight",
     expert_inner, hidden, "routed experts", Use::routed, moe},
    {Role::down_proj, expert, matrix, "model.layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight", hidden,
     expert_inner, "routed experts", Use::routed, moe},
});

void append_number(std::string& text, std::size_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  text.append(digits, end);
}

struct Architecture {
  std::string_view model_type;
  std::span<const TensorSpec> tensors;
};

constexpr Architecture architectures[] = {
    {"deepseek_v3", deepseek}, {"kimi_k2", deepseek}, {"deepseek_v2", deepseek},
    {"qwen3_moe", qwen3_moe},  {"olmoe", qwen3_moe},  {"mixtral", mixtral},
};

}  // namespace

std::string tensor_name(std::string_view pattern, std::size_t layer, std::size_t expert) {
  std::string name;
  name.reserve(pattern.size() + 8);
  while (!pattern.empty()) {
    const std::size_t brace = pattern.find('{');
    name += pattern.substr(0, brace);
    if (brace == std::string_view::npos) break;
    pattern.remove_prefix(brace);
    append_number(name, pattern.starts_with("{layer}") ? layer : expert);
    pattern.remove_prefix(pattern.find('}') + 1);
  }
  return name;
}

std::span<const TensorSpec> tensor_table(const Config& config) {
  for (const Architecture& architecture : architectures)
    if (architecture.model_type == config.model_type) return architecture.tensors;
  throw Error("model_type " + config.model_type + " has no tensor table");
}

}  // namespace baleen
