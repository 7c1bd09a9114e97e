// In which form tokens of a prompt attend (MLA only; attention.cpp has both):
//   absorbed   queries meet the latents that the KV cache holds, folded with W_UK and W_UV: 2 kv_lora_rank +
//              qk_rope_head_dim multiplications a head and position, and nothing to prepare
//   expanded   keys and values are made of the latents first, which every query of the pass then shares:
//              qk_head_dim + v_head_dim multiplications, a third of them in DeepSeek-V3
// To expand pays if some 170 queries or more share it. The two round differently, so the form is decided by
// fixed positions and the length of the prompt, never by what a pass happens to hold: blocks of positions
// that lie within the prompt as a whole are expanded, from a position on below which it buys little.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "checkpoint/config.h"
#include "tokenizer/token_id.h"

namespace baleen {

struct Positions {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool has(std::size_t position) const { return begin <= position && position < end; }
};

// The first tokens of a prompt, and how long all of it is.
struct Beginning {
  std::span<const TokenId> ids;
  std::size_t prompt_tokens = 0;
};

// Where expanded blocks begin and end. Another rule needs another version of prompt caches, which hold rows
// of both forms (runtime/prompt_cache.cpp).
struct Expansion {
  std::size_t first = 256;  // position; a multiple of block
  std::size_t block = 128;  // positions of a block
  // From position `far` on, a multiple of both, blocks are larger: a short question behind a long text that
  // is in the cache already costs an expansion of all of it where it completes a block.
  std::size_t far = 1024;
  std::size_t far_block = 512;

  // The last end of a block at or before a position.
  std::size_t boundary(std::size_t position) const {
    const std::size_t size = position < far ? block : far_block;
    return position / size * size;
  }

  // The expanded positions of a prompt that fills [begin, end).
  Positions of(const Config& config, std::size_t begin, std::size_t end) const {
    if (config.attention != AttentionKind::mla) return {};
    std::size_t from = boundary(begin);
    if (from < begin) from += begin < far ? block : far_block;
    from = std::max(first, from);
    const std::size_t to = boundary(end);
    return from < to ? Positions{from, to} : Positions{};
  }

  // How many rows of the KV cache are the same for prompts of `a` and `b` tokens from position 0 on, whose
  // first `common` tokens are.
  std::size_t common_rows(const Config& config, std::size_t common, std::size_t a, std::size_t b) const {
    const std::size_t a_end = std::max(first, of(config, 0, a).end);
    const std::size_t b_end = std::max(first, of(config, 0, b).end);
    return a_end == b_end ? common : std::min({common, a_end, b_end});
  }
  std::size_t common_rows(const Config& config, const Beginning& a, const Beginning& b) const {
    const auto differs = std::mismatch(a.ids.begin(), a.ids.end(), b.ids.begin(), b.ids.end());
    const auto common = static_cast<std::size_t>(differs.first - a.ids.begin());
    return common_rows(config, common, a.prompt_tokens, b.prompt_tokens);
  }
};

}  // namespace baleen
