#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <utility>

#include "error.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

// Up to this many symbols a scan for the best pair is faster than a queue.
constexpr std::size_t kShortWord = 24;
constexpr std::uint32_t kNoRank = 0xFFFFFFFF;
constexpr char32_t kPlainCharacters = 0x200;

std::uint64_t pair_of(TokenId left, TokenId right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

void append_symbol(std::vector<Bpe::Symbol>& symbols, TokenId id) {
  const auto position = static_cast<std::int32_t>(symbols.size());
  if (position > 0) symbols.back().next = position;
  symbols.push_back({id, position - 1, -1, false});
}

}  // namespace

void MergeTable::reserve(std::size_t merges) {
  slots_.assign(std::bit_ceil(merges * 2 + 2), Slot{});
}

std::size_t MergeTable::home(std::uint64_t pair) const {
  const std::uint64_t hash = pair * 0x9E3779B97F4A7C15ULL;
  return (hash ^ hash >> 32) & (slots_.size() - 1);
}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = home(pair);; i = (i + 1) & mask) {
    if (slots_[i].pair == pair || slots_[i].merge.id == kNoToken) return i;
  }
}

void MergeTable::add(TokenId left, TokenId right, Merge merge) {
  slots_[slot_of(pair_of(left, right))] = {pair_of(left, right), merge};
}

void MergeTable::fetch(TokenId left, TokenId right) const {
  if (!slots_.empty()) __builtin_prefetch(&slots_[home(pair_of(left, right))]);
}

const Merge* MergeTable::find(TokenId left, TokenId right) const {
  if (slots_.empty()) return nullptr;
  const Slot& slot = slots_[slot_of(pair_of(left, right))];
  return slot.merge.id == kNoToken ? nullptr : &slot.merge;
}

Bpe::Bpe(BpeOptions options, Vocabulary vocabulary, MergeTable merges)
    : options_(std::move(options)), vocabulary_(std::move(vocabulary)), merges_(std::move(merges)) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    char spelling[8];
    std::snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
    byte_tokens_[byte] = vocabulary_.find(spelling);
  }
  for (char32_t c = 0; c < kPlainCharacters; ++c) {
    std::string spelling;
    unicode::append(spelling, c);
    plain_.push_back(vocabulary_.find(spelling));
  }
  if (options_.unk_token) unk_ = vocabulary_.find(*options_.unk_token);
}

// The token of one character, kNoToken if it has none; scratch.spelling is left as the spelling looked for.
TokenId Bpe::character(std::string_view c, bool first, bool last, Scratch& scratch) const {
  const bool prefixed = !first && !options_.continuing_subword_prefix.empty();
  const bool suffixed = last && !options_.end_of_word_suffix.empty();
  if (!prefixed && !suffixed && c.size() < 3) {
    std::size_t at = 0;
    const char32_t code_point = unicode::next(c, at);
    if (code_point < kPlainCharacters && plain_[code_point] != kNoToken) return plain_[code_point];
  }
  scratch.spelling.clear();
  if (prefixed) scratch.spelling += options_.continuing_subword_prefix;
  scratch.spelling += c;
  if (suffixed) scratch.spelling += options_.end_of_word_suffix;
  return vocabulary_.find(scratch.spelling);
}

// All bytes of the spelling as tokens, or nothing when one of them has none.
bool Bpe::fall_back(std::string_view spelling, std::vector<Symbol>& symbols) const {
  const auto token = [&](char c) { return byte_tokens_[static_cast<unsigned char>(c)]; };
  if (std::any_of(spelling.begin(), spelling.end(), [&](char c) { return token(c) == kNoToken; }))
    return false;
  for (const char c : spelling) append_symbol(symbols, token(c));
  return true;
}

// The word's characters as symbols. A run of unknown ones becomes one symbol with fuse_unk, and a pending one
// is written when the next known character comes: behind bytes that fell back in between, as in the
// reference.
void Bpe::split(std::string_view word, Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  bool pending = false;
  for (std::size_t at = 0; at < word.size();) {
    const std::string_view c = word.substr(at, unicode::length(word[at]));
    const bool first = at == 0;
    at += c.size();
    const TokenId id = character(c, first, at == word.size(), scratch);
    if (id != kNoToken) {
      if (pending) append_symbol(symbols, unk_);
      pending = false;
      append_symbol(symbols, id);
    } else if (!options_.byte_fallback || !fall_back(scratch.spelling, symbols)) {
      if (!options_.unk_token) continue;  // dropped
      if (unk_ == kNoToken)
        throw Error("the tokenizer's unk_token '" + *options_.unk_token + "' is not in its vocabulary");
      if (pending && !options_.fuse_unk) append_symbol(symbols, unk_);
      pending = true;
    }
  }
  if (pending) append_symbol(symbols, unk_);
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<TokenId>& out) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    const TokenId whole = vocabulary_.find(word);
    if (whole != kNoToken) {
      out.push_back(whole);
      return;
    }
  }
  split(word, scratch);
  if (scratch.symbols.size() <= kShortWord) {
    merge_short(scratch);
  } else {
    merge_long(scratch);
  }
  for (const Symbol& symbol : scratch.symbols) {
    if (!symbol.gone) out.push_back(symbol.id);
  }
}

// Merges the leftmost pair of the lowest rank until there is none, by scanning.
void Bpe::merge_short(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<std::uint32_t>& ranks = scratch.ranks;
  const auto rank = [&](std::size_t i) {
    const Merge* merge = i + 1 < symbols.size() ? merges_.find(symbols[i].id, symbols[i + 1].id) : nullptr;
    return merge ? merge->rank : kNoRank;
  };
  ranks.resize(symbols.size());
  for (std::size_t i = 0; i < symbols.size(); ++i) ranks[i] = rank(i);
  while (!ranks.empty()) {
    const auto best = static_cast<std::size_t>(std::min_element(ranks.begin(), ranks.end()) - ranks.begin());
    if (ranks[best] == kNoRank) return;
    symbols[best].id = merges_.find(symbols[best].id, symbols[best + 1].id)->id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    ranks.erase(ranks.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    ranks[best] = rank(best);
    if (best > 0) ranks[best - 1] = rank(best - 1);
  }
}

// Queues the pair that begins at `position` if it merges.
void Bpe::offer(Scratch& scratch, std::int32_t position) const {
  if (position < 0) return;
  const Symbol& left = scratch.symbols[static_cast<std::size_t>(position)];
  if (left.next < 0) return;
  const Merge* merge = merges_.find(left.id, scratch.symbols[static_cast<std::size_t>(left.next)].id);
  if (merge) scratch.queue.push(merge->rank, static_cast<std::uint32_t>(position), merge->id);
}

// The same with a queue over a linked list, O(n log n): words of a megabyte exist.
void Bpe::merge_long(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  for (std::size_t i = 0; i < symbols.size(); ++i) offer(scratch, static_cast<std::int32_t>(i));
  std::uint32_t position = 0;
  TokenId id = kNoToken;
  while (scratch.queue.pop(position, id)) {
    Symbol& left = symbols[position];
    if (left.gone || left.next < 0) continue;
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    const Merge* merge = merges_.find(left.id, right.id);
    if (!merge || merge->id != id) continue;  // the pair has changed since
    left.id = id;
    left.next = right.next;
    right.gone = true;
    if (right.next >= 0)
      symbols[static_cast<std::size_t>(right.next)].previous = static_cast<std::int32_t>(position);
    offer(scratch, left.previous);
    offer(scratch, static_cast<std::int32_t>(position));
  }
}

}  // namespace baleen
