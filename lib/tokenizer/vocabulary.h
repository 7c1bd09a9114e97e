// Token spellings and their ids: one string for all the text, an array by id and an open-addressing hash
// table by spelling, because a vocabulary of 200,000 tokens has to be there within milliseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokens.h"

namespace baleen {

std::uint64_t hash_bytes(std::string_view text);

class Vocabulary {
 public:
  void reserve(std::size_t tokens, std::size_t bytes);

  // False, and nothing changes, when the id is taken. A spelling that is there already gets the new id.
  bool add(std::string_view spelling, TokenId id);

  TokenId find(std::string_view spelling) const;  // kNoToken if there is none

  // The same in steps, for many look-ups at once: memory latency is what they cost, so a caller goes through
  // a batch with fetch_slot, then with fetch_text, then with find.
  void fetch_slot(std::uint64_t hash) const;
  void fetch_text(std::uint64_t hash) const;
  TokenId find(std::string_view spelling, std::uint64_t hash) const;

  std::string_view spelling(TokenId id) const;  // empty if there is none
  bool has(TokenId id) const;
  std::size_t size() const { return count_; }               // tokens
  std::size_t id_bound() const { return entries_.size(); }  // highest id + 1

 private:
  struct Entry {
    std::uint32_t offset = 0, length = 0;
    bool used = false;
  };
  struct Slot {
    std::uint32_t tag = 0;  // part of the hash
    TokenId id = kNoToken;
    std::uint32_t offset = 0, length = 0;
  };
  std::size_t slot_of(std::string_view spelling, std::uint64_t hash) const;
  void grow(std::size_t slots);

  std::string text_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;
  std::size_t count_ = 0;
};

}  // namespace baleen
