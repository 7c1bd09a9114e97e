// Which added tokens there are and which ids they have, as added_vocabulary.rs of the tokenizers library
// gives them out. Owns neither the model's vocabulary nor the normalizer, which must outlive it.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/vocabulary.h"

namespace baleen {

class AddedVocabulary {
 public:
  AddedVocabulary(const Vocabulary& vocabulary, const Normalizer& normalizer)
      : vocabulary_(vocabulary), normalizer_(normalizer) {}

  // Begins one call of the library's add_tokens: its new tokens get ids from the highest added one on, or
  // from the vocabulary's size where that is more.
  void start_batch();

  // The id is that of the same content, added or in the vocabulary, else the next one, whatever `token` says.
  // Flags replace those that the content had, but what was special once is left out of texts without special
  // tokens for ever. Empty contents are left out. Throws std::invalid_argument.
  void add(AddedToken token);

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  TokenId next_id(const AddedToken& token);

  const Vocabulary& vocabulary_;
  const Normalizer& normalizer_;
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, std::size_t> by_content_;
  TokenId highest_ = kNoToken, next_ = 0;
};

}  // namespace baleen
