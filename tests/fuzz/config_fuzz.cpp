// A config.json or generation_config.json from anywhere: read, or refused with an Error; a config that is
// read is one that a model can be built from.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "checkpoint/config.h"
#include "checkpoint/generation_config.h"
#include "checkpoint/quantized.h"
#include "error.h"

namespace {

template <typename Call>
void try_to(Call&& call) {
  try {
    call();
  } catch (const baleen::Error&) {
  }
}

void check(bool holds) {
  if (!holds) std::abort();
}

void check_config(const baleen::Config& c) {
  check(c.vocab_size > 0 && c.hidden_size > 0 && c.num_hidden_layers > 0 && c.num_attention_heads > 0);
  check(c.num_attention_heads % c.num_key_value_heads == 0 && c.qk_head_dim() > 0);
  check(c.is_moe_layer.size() == c.num_hidden_layers && c.sliding_window.size() == c.num_hidden_layers);
  check(c.num_experts_per_tok > 0 && c.num_experts_per_tok <= c.n_routed_experts);
  check(c.n_group > 0 && c.n_routed_experts % c.n_group == 0 && c.topk_group > 0 &&
        c.topk_group <= c.n_group);
  check(std::isfinite(c.rope.attention_factor) && std::isfinite(c.rope.softmax_mscale) && c.rope.theta > 1);
  check(c.rope.factor > 0 && c.rope.original_max_position_embeddings > 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try_to([&] { check_config(baleen::parse_config(text, "fuzz")); });
  try_to([&] { baleen::parse_quantization(text, "fuzz"); });
  try_to([&] { baleen::parse_generation_config(text, "fuzz"); });
  return 0;
}
