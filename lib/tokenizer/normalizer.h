// What happens to a text before it is split: Unicode forms, replacements, a prefix. Sequences in
// tokenizer.json are flattened: each step's output is the next one's input.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/growth.h"
#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"

namespace baleen {

namespace normalize {
struct Prepend {
  std::string text;  // before every text that is not empty
};
struct Replace {
  Pattern pattern;
  std::string content;
};
struct Strip {
  bool left, right;
};
struct Lowercase {};
struct ByteLevel {};  // each byte as the character that stands for it in byte-level vocabularies
}  // namespace normalize

using NormalizeStep = std::variant<unicode::Form, normalize::Prepend, normalize::Replace, normalize::Strip,
                                   normalize::Lowercase, normalize::ByteLevel>;

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizeStep> steps) : steps_(std::move(steps)) {}

  bool empty() const { return steps_.empty(); }
  std::string operator()(std::string_view text) const;  // throws Error for a text that grows too much

 private:
  std::vector<NormalizeStep> steps_;
};

// Every match of the pattern becomes `content`, which counts as growth.
std::string replace_all(std::string_view text, Matcher& pattern, std::string_view content, Growth& growth);

}  // namespace baleen
