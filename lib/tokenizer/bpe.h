// Byte-pair encoding of one word (a piece of the pre-tokenized text) into token ids, as models/bpe of the
// tokenizers library does it; and tiktoken, if every pair that makes a token is a merge of that token's rank.
// Owns the vocabulary and the merge table.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/merge_queue.h"
#include "tokenizer/tokens.h"
#include "tokenizer/vocabulary.h"

namespace baleen {

struct Merge {
  std::uint32_t rank = 0;
  TokenId id = kNoToken;  // what the pair becomes
};

// Pairs of token ids to their merge, by open addressing.
class MergeTable {
 public:
  void reserve(std::size_t merges);
  void add(TokenId left, TokenId right, Merge merge);  // a pair that is there already gets the new merge
  const Merge* find(TokenId left, TokenId right) const;
  void fetch(TokenId left, TokenId right) const;  // brings the pair's slot into the cache

 private:
  struct Slot {
    std::uint64_t pair = ~std::uint64_t{0};
    Merge merge;
  };
  std::size_t home(std::uint64_t pair) const;
  std::size_t slot_of(std::uint64_t pair) const;

  std::vector<Slot> slots_;
};

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;  // of every character but a word's first
  std::string end_of_word_suffix;         // of a word's last character
  bool fuse_unk = false;
  bool byte_fallback = false;  // an unknown character becomes its bytes' tokens <0x00> to <0xFF>
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
};

class Bpe {
 public:
  Bpe() = default;
  Bpe(BpeOptions options, Vocabulary vocabulary, MergeTable merges);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Memory that encode() uses again from word to word.
  struct Symbol {
    TokenId id;
    std::int32_t previous, next;
    bool gone;
  };
  struct Scratch {
    std::vector<Symbol> symbols;
    MergeQueue queue;
    std::vector<std::uint32_t> ranks;
    std::string spelling;
  };

  // Appends the word's tokens. Throws Error for an unknown character when unk_token is no token itself.
  void encode(std::string_view word, Scratch& scratch, std::vector<TokenId>& out) const;

 private:
  void split(std::string_view word, Scratch& scratch) const;
  TokenId character(std::string_view c, bool first, bool last, Scratch& scratch) const;
  bool fall_back(std::string_view spelling, std::vector<Symbol>& symbols) const;
  void merge_short(Scratch& scratch) const;
  void merge_long(Scratch& scratch) const;
  void offer(Scratch& scratch, std::int32_t position) const;

  BpeOptions options_;
  Vocabulary vocabulary_;
  MergeTable merges_;
  std::array<TokenId, 256> byte_tokens_{};  // <0x00> to <0xFF>
  std::vector<TokenId> plain_;  // ids of the characters below U+0200, which spell all byte-level text
  TokenId unk_ = kNoToken;
};

}  // namespace baleen
