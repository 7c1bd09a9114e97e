// Tokens that are found in the text before the model sees it: special tokens and other added ones. Owns their
// flags and the search; tokenizer/added_vocabulary of the tokenizers library is the model for both.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/tokens.h"

namespace baleen {

struct AddedToken {
  TokenId id = kNoToken;
  std::string content;
  std::string matched;  // what is looked for: the content, normalized if the token is
  bool single_word = false;
  bool lstrip = false, rstrip = false;  // takes the white space on that side with it
  bool normalized = false;              // looked for in the normalized text
  bool special = false;
};

// A stretch of text, or a token that was found in it.
struct Segment {
  std::string_view text;
  TokenId token = kNoToken;
  bool at_start = false;  // the original text begins here
};

// A trie over the bytes of the tokens' `matched`, searched for the leftmost and of those the longest match.
class TokenMatcher {
 public:
  static constexpr std::size_t kMaxLength = 1024;  // bounds the search's cost per byte of text

  // False when `matched` is there already. It must not be empty, nor longer than kMaxLength.
  bool add(const AddedToken& token);
  bool empty() const { return tokens_.empty(); }

  // Appends the text's segments, in order; empty ones are left out.
  void split(std::string_view text, bool at_start, std::vector<Segment>& out) const;

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  std::uint32_t longest(std::string_view text, std::size_t at, std::size_t& end) const;
  static bool is_single_word(std::string_view text, std::size_t begin, std::size_t end);

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // node << 8 | byte -> node
  std::vector<std::uint32_t> ends_{kNone};                  // node -> index into tokens_
  std::array<bool, 256> begins_{};                          // some token begins with this byte
};

}  // namespace baleen
