// Splits a normalized text into the words that byte-pair encoding works on. Sequences in tokenizer.json are
// flattened: each step splits (or rewrites) the words of the step before.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/pattern.h"

namespace baleen {

// What becomes of a match: a word of its own, gone, part of a neighbour, or one word with the matches beside
// it.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

namespace pretokenize {
struct Split {
  Pattern pattern;
  SplitBehavior behavior;
  bool invert;  // what is between the matches counts as the match
};
struct ByteLevel {
  bool add_prefix_space;
  bool use_regex;
  Pattern words;  // GPT-2's pattern, if use_regex
};
struct Metaspace {
  std::string replacement;  // of a space
  enum class Prepend { first, never, always } prepend;
  bool split;
};
struct Digits {
  bool individual;
};
struct Punctuation {
  SplitBehavior behavior;
};
struct Delimiter {
  std::string character;
};
struct Whitespace {};       // \w+|[^\w\s]+, without the white space
struct WhitespaceSplit {};  // at white space
// Boundaries in long texts, for tiktoken: a piece has at most `piece` characters, and within it a run of
// white space, or of anything else, at most `run`.
struct Cut {
  std::size_t piece, run;
};
}  // namespace pretokenize

using PreTokenizeStep = std::variant<pretokenize::Split, pretokenize::ByteLevel, pretokenize::Metaspace,
                                     pretokenize::Digits, pretokenize::Punctuation, pretokenize::Delimiter,
                                     pretokenize::Whitespace, pretokenize::WhitespaceSplit, pretokenize::Cut>;

// Words (and tokens found earlier, which no step touches) with the memory of those that a step rewrote.
struct Words {
  std::vector<Segment> list;
  std::deque<std::string> memory;
};

class PreTokenizer {
 public:
  static constexpr std::string_view kGpt2Pattern =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<PreTokenizeStep> steps) : steps_(std::move(steps)) {}
  void operator()(Words& words) const;

 private:
  std::vector<PreTokenizeStep> steps_;
};

}  // namespace baleen
