// What the checkpoints of each architecture hold: one table a family, one line a tensor. Loading, shape
// checks, the inventory of `run --inspect` and memory accounting walk these tables. To add an architecture,
// write its table here and its config keys in checkpoint/config.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/config.h"

namespace baleen {

// What a weight is to the forward pass. The names are the published tensor names' own; Mixtral's w1, w3 and
// w2 are gate_proj, up_proj and down_proj.
enum class Role : std::uint8_t {
  embed_tokens, norm, lm_head,
  input_layernorm, post_attention_layernorm,
  q_proj, q_a_proj, q_a_layernorm, q_b_proj, kv_a_proj_with_mqa, kv_a_layernorm, kv_b_proj,
  k_proj, v_proj, o_proj, q_norm, k_norm,
  q_proj_bias, q_a_proj_bias, kv_a_proj_bias, k_proj_bias, v_proj_bias, o_proj_bias,
  router, e_score_correction_bias,
  gate_proj, up_proj, down_proj,  // of a dense layer or of one routed expert
  shared_gate_proj, shared_up_proj, shared_down_proj,
};
inline constexpr std::size_t role_count = static_cast<std::size_t>(Role::shared_down_proj) + 1;

// One dimension of a tensor: its size, and the words for it in messages.
struct Dim {
  std::string_view name;  // "num_attention_heads * v_head_dim"
  std::size_t (*of)(const Config&);
};

// Where a tensor stands: once in the model, once a layer, once a routed expert.
enum class Scope : std::uint8_t { global, layer, expert };
// matrix: [rows, cols], in any storage format. vector: [cols], bf16, f16 or f32.
enum class Kind : std::uint8_t { matrix, vector };
// What a token touches: all of it, one row, or num_experts_per_tok of n_routed_experts.
enum class Use : std::uint8_t { every_token, one_row, routed };

struct TensorSpec {
  Role role;
  Scope scope;
  Kind kind;
  std::string_view name;  // "{layer}" and "{expert}" stand for numbers
  Dim rows;               // vectors: unused
  Dim cols;
  std::string_view part;  // the kind of tensor in reports: "attention", "routed experts"
  Use use = Use::every_token;
  // Whether layer `layer` of this configuration has the tensor; null: always.
  bool (*when)(const Config&, std::size_t layer) = nullptr;
};

// A tensor's name: the pattern with {layer} and {expert} replaced.
std::string tensor_name(std::string_view pattern, std::size_t layer, std::size_t expert);

// The table of the architecture that parse_config read.
std::span<const TensorSpec> tensor_table(const Config&);

}  // namespace baleen
