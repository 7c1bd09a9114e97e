// config.json as named fields. Names are the published configs' own; where architectures spell one thing
// differently (num_experts, num_local_experts, n_routed_experts) the DeepSeek name stands for all. What
// differs between architectures is a value here: nothing later asks for the model_type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace baleen {

enum class AttentionKind : std::uint8_t { mla, grouped_query };
enum class ScoringFunc : std::uint8_t { sigmoid, softmax };
// greedy: the k best of all. group_limited_greedy (DeepSeek-V2): groups ranked by their best expert.
// noaux_tc (DeepSeek-V3): score plus e_score_correction_bias chooses, groups ranked by their two best.
enum class TopkMethod : std::uint8_t { greedy, group_limited_greedy, noaux_tc };
enum class QkNorm : std::uint8_t { none, per_head, full_width };
// interleaved rotates pairs (2i, 2i + 1), half_split pairs (i, i + dim / 2).
enum class RopeLayout : std::uint8_t { interleaved, half_split };
enum class RopeType : std::uint8_t { standard, linear, yarn, llama3 };

// Rotary embedding: frequencies of `dim` / 2 pairs from theta, changed for long contexts by `type`.
struct RopeConfig {
  RopeType type = RopeType::standard;
  RopeLayout layout = RopeLayout::half_split;
  double theta = 10000;
  double factor = 1;
  std::size_t original_max_position_embeddings = 0;
  double beta_fast = 32;        // yarn
  double beta_slow = 1;         // yarn
  bool truncate = true;         // yarn: correction range rounded to whole dimensions
  double attention_factor = 1;  // resolved: multiplies cos and sin
  double softmax_mscale = 1;    // resolved: multiplies the softmax scale (DeepSeek's mscale_all_dim, squared)
  double low_freq_factor = 1;   // llama3
  double high_freq_factor = 4;  // llama3
};

struct Config {
  std::string model_type;
  std::size_t vocab_size = 0;
  std::size_t hidden_size = 0;
  std::size_t intermediate_size = 0;  // of dense layers
  std::size_t num_hidden_layers = 0;
  std::size_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;

  AttentionKind attention = AttentionKind::mla;
  std::size_t num_attention_heads = 0;
  std::size_t num_key_value_heads = 0;
  std::size_t head_dim = 0;          // grouped_query
  std::size_t q_lora_rank = 0;       // mla; 0: queries are not compressed
  std::size_t kv_lora_rank = 0;      // mla
  std::size_t qk_nope_head_dim = 0;  // mla
  std::size_t qk_rope_head_dim = 0;  // mla
  std::size_t v_head_dim = 0;        // mla
  bool attention_bias = false;       // which projections have one: the architecture's tensor table
  QkNorm qk_norm = QkNorm::none;
  double clip_qkv = 0;                      // 0: not clipped
  std::vector<std::size_t> sliding_window;  // [num_hidden_layers], 0: the layer sees everything
  RopeConfig rope;

  std::size_t n_routed_experts = 0;
  std::size_t n_shared_experts = 0;
  std::size_t num_experts_per_tok = 0;
  std::size_t moe_intermediate_size = 0;
  std::vector<bool> is_moe_layer;  // [num_hidden_layers]
  ScoringFunc scoring_func = ScoringFunc::softmax;
  TopkMethod topk_method = TopkMethod::greedy;
  std::size_t n_group = 1;
  std::size_t topk_group = 1;
  bool norm_topk_prob = false;  // combine weights divided by their sum
  double topk_norm_eps = 0;     // added to that sum: 1e-20 in DeepSeek's code
  double routed_scaling_factor = 1;
  std::size_t num_nextn_predict_layers = 0;  // MTP layers behind the last one: recognised, unused

  std::int32_t bos_token_id = -1;  // -1: none
  std::vector<std::int32_t> eos_token_id;

  // Width of one head's query and key.
  std::size_t qk_head_dim() const {
    return attention == AttentionKind::mla ? qk_nope_head_dim + qk_rope_head_dim : head_dim;
  }
};

// Reads the bytes of a config.json; `file` names it in errors. Throws FormatError naming the key, its value
// and what is supported.
Config parse_config(std::string_view json, std::string_view file);

// The model_type values that parse_config accepts.
std::vector<std::string_view> supported_model_types();

}  // namespace baleen
