#include "tokenizer/added_vocabulary.h"

#include <algorithm>
#include <stdexcept>

#include "error.h"

namespace baleen {
namespace {

void check_length(std::string_view text) {
  if (text.size() > TokenMatcher::kMaxLength)
    throw std::invalid_argument("an added token longer than 1024 bytes");
}

}  // namespace

void AddedVocabulary::start_batch() {
  next_ = std::max(static_cast<TokenId>(vocabulary_.size()), highest_ + 1);
}

TokenId AddedVocabulary::next_id(const AddedToken& token) {
  const TokenId id = next_++;
  if (id > kMaxTokenId) throw std::invalid_argument("more than " + std::to_string(kMaxTokenId) + " tokens");
  if (vocabulary_.has(id)) {
    throw std::invalid_argument("the added token '" + token.content + "' would get the id " +
                                std::to_string(id) + ", which is that of '" +
                                std::string(vocabulary_.spelling(id)) + "'");
  }
  return id;
}

void AddedVocabulary::add(AddedToken token) {
  if (token.content.empty()) return;
  check_length(token.content);
  const auto [place, is_new] = by_content_.try_emplace(token.content, tokens_.size());
  if (is_new) {
    token.id = vocabulary_.find(token.content);
    if (token.id == kNoToken) token.id = next_id(token);
    highest_ = std::max(highest_, token.id);
    tokens_.emplace_back();
  } else {
    token.id = tokens_[place->second].id;
    token.special |= tokens_[place->second].special;
  }
  try {
    token.matched = token.normalized ? normalizer_(token.content) : token.content;
  } catch (const Error& e) {
    throw std::invalid_argument(e.what());
  }
  if (token.matched.empty())
    throw std::invalid_argument("the added token '" + token.content + "' is normalized away");
  check_length(token.matched);
  tokens_[place->second] = std::move(token);
}

}  // namespace baleen
