// What each architecture's config.json may say: keys, other spellings, transformers' defaults, and what is
// fixed. Data only; parse_config walks it. A new architecture is a new entry here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include "checkpoint/config.h"

namespace baleen {

struct Limits {
  std::size_t min = 1;
  std::size_t max = 0;
};

// Far beyond any model, and small enough that no product of three sizes and an element overflows 64 bits.
inline constexpr std::size_t max_width = std::size_t{1} << 24;
inline constexpr std::size_t max_layers = 10'000;
inline constexpr Limits width{1, max_width};
inline constexpr Limits layers{1, max_layers};
inline constexpr Limits heads{1, 65'536};  // their number, and the width of one
inline constexpr Limits experts{1, 65'536};
inline constexpr Limits shared_experts{0, 1'024};
inline constexpr Limits context{1, std::size_t{1} << 30};

// In place of a default.
inline constexpr std::size_t required = std::numeric_limits<std::size_t>::max();
inline constexpr std::size_t as_num_attention_heads = required - 1;
inline constexpr std::size_t hidden_over_heads = required - 2;

enum class IfNull : std::uint8_t { error, zero, fallback, num_attention_heads };

// A key that holds a whole number.
struct SizeKey {
  std::string_view key;
  std::size_t Config::*field;
  std::size_t fallback;  // transformers' default where the key is absent
  Limits limits = width;
  IfNull if_null = IfNull::error;
  std::string_view alias = {};
};

// A key of which only these values are supported, as JSON text.
struct AllowedValues {
  std::string_view key;
  std::array<std::string_view, 2> values;
};

struct TopkMethodName {
  std::string_view name;
  TopkMethod method;
};

enum class SlidingWindow : std::uint8_t { none, if_set, if_used };  // if_used: asks use_sliding_window
enum class MoeLayers : std::uint8_t { all, behind_first_k_dense, by_sparse_step };

struct Architecture {
  std::string_view model_type;
  std::span<const SizeKey> sizes;
  std::span<const AllowedValues> allowed;
  double rms_norm_eps = 1e-6;

  AttentionKind attention = AttentionKind::grouped_query;
  QkNorm qk_norm = QkNorm::none;
  bool reads_attention_bias = false;
  bool reads_clip_qkv = false;
  SlidingWindow sliding_window = SlidingWindow::none;
  std::size_t sliding_window_size = 0;  // where it is used and no size is given
  RopeLayout rope_layout = RopeLayout::half_split;
  bool reads_rope_interleave = false;
  double rope_theta = 10000;

  MoeLayers moe_layers = MoeLayers::all;
  std::size_t first_k_dense_replace = 0;
  ScoringFunc scoring_func = ScoringFunc::softmax;
  std::span<const TopkMethodName> topk_methods;  // the first is the default
  bool reads_norm_topk_prob = false;
  bool norm_topk_prob = false;
  double topk_norm_eps = 0;
  std::optional<double> routed_scaling_factor = {};  // without one the key is not read

  std::int32_t bos_token_id = -1;  // -1: none
  std::int32_t eos_token_id = -1;
};

std::span<const Architecture> architectures();

}  // namespace baleen
