// A limit on how long a model thinks: when it is reached, </think> is written for the model, which then goes
// on with its answer (the "budget forcing" of s1, arXiv:2501.19393, by its upper bound).
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/thinking.h"
#include "tokenizer/token_id.h"
#include "tokenizer/tokenizer.h"

namespace baleen {

class ThinkBudget {
 public:
  // `tokens`: how many may be decided inside <think>...</think>, in all. `inside`: the prompt ends inside it.
  // Throws Error if the tokenizer cannot write </think> with the first `vocab_size` tokens.
  ThinkBudget(const Tokenizer& tokenizer, std::size_t vocab_size, std::size_t tokens, bool inside);

  // The token that must come next, if the model may not choose it.
  std::optional<TokenId> forced() const;
  // A token was decided, be it forced or chosen.
  void accept(TokenId id);

 private:
  std::size_t written_with(TokenId id) const;

  std::vector<TokenId> close_;  // </think>, most often one token
  std::size_t left_;
  std::size_t written_ = 0;  // how many tokens of close_ are the last ones that were decided
  StreamDecoder decoder_;    // shows special tokens: in some vocabularies the tags are
  ThinkingSplitter splitter_;
};

}  // namespace baleen
