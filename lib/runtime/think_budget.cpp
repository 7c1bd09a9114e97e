#include "runtime/think_budget.h"

#include <algorithm>
#include <string>

#include "error.h"

namespace baleen {
namespace {

constexpr std::string_view close_tag = "</think>";

std::vector<TokenId> close_ids(const Tokenizer& tokenizer, std::size_t vocab_size) {
  std::vector<TokenId> ids = tokenizer.encode(close_tag, Tokenizer::SpecialTokens::none);
  const auto known = [&](TokenId id) { return static_cast<std::size_t>(id) < vocab_size; };
  // Tokenizers that begin a text with a space give " </think>", which closes as well.
  const bool closes = tokenizer.decode(ids).find(close_tag) != std::string::npos;
  if (closes && std::all_of(ids.begin(), ids.end(), known)) return ids;
  throw Error("a limit on thinking needs " + std::string(close_tag) +
              ", which this model's vocabulary cannot write");
}

}  // namespace

ThinkBudget::ThinkBudget(const Tokenizer& tokenizer, std::size_t vocab_size, std::size_t tokens, bool inside)
    : close_(close_ids(tokenizer, vocab_size)), left_(tokens), decoder_(tokenizer), splitter_(inside) {}

// A tag that the model has begun itself is finished, not begun anew.
std::optional<TokenId> ThinkBudget::forced() const {
  if (left_ > 0 || !splitter_.inside()) return {};
  return close_[written_];
}

void ThinkBudget::accept(TokenId id) {
  if (splitter_.inside()) {
    if (left_ > 0) --left_;
    written_ = written_with(id);
  }
  splitter_.push(decoder_.push(id));
  // The decoder may still hold the tag's text back.
  if (written_ == close_.size()) splitter_ = ThinkingSplitter(false);
  if (!splitter_.inside()) written_ = 0;
}

// The longest beginning of close_ that ends with `id`, where the tokens in front of it are the first written_
// of close_: a step of Knuth, Morris and Pratt's search, by trial since tags are short.
std::size_t ThinkBudget::written_with(TokenId id) const {
  const auto begin = close_.begin();
  for (std::size_t length = written_ + 1; length > 0; --length) {
    const auto before = static_cast<std::ptrdiff_t>(length - 1);
    const auto tail = begin + static_cast<std::ptrdiff_t>(written_) - before;
    if (close_[length - 1] == id && std::equal(begin, begin + before, tail)) return length;
  }
  return 0;
}

}  // namespace baleen
