// Log-probabilities of tokens: the log-softmax of the model's own logits, before penalty, temperature and
// every other step of sampling.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tokenizer/token_id.h"

namespace baleen {

struct TokenLogprobs {
  TokenId id = 0;
  std::optional<double> logprob;  // none for the first token of a prompt
  std::vector<std::pair<TokenId, double>>
      top;  // the likeliest at that place, best first, ties by ascending id
};

// Of token `id` and of the `top` likeliest (all, if there are fewer).
TokenLogprobs token_logprobs(std::span<const float> logits, TokenId id, std::size_t top);

}  // namespace baleen
