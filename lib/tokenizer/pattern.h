// Patterns of tokenizer.json, matched by PCRE2. Owns the compiled program and the translation from the
// dialect that the file format means: Oniguruma's Ruby syntax, in which the tokenizers library reads them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace baleen {

// Rewrites an Oniguruma pattern into one that PCRE2 (with PCRE2_UTF, PCRE2_UCP and PCRE2_MULTILINE) matches
// alike. Throws std::invalid_argument that says what has no translation.
std::string translate_pattern(std::string_view oniguruma);

class Pattern {
 public:
  // Both throw std::invalid_argument when the pattern cannot be compiled.
  static Pattern regex(std::string_view oniguruma);
  static Pattern literal(std::string_view text);

  struct Code;

 private:
  friend class Matcher;
  explicit Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

// Finds a pattern's matches in one text after another. Cheap to reuse, not to be shared between threads.
class Matcher {
 public:
  explicit Matcher(const Pattern& pattern);
  ~Matcher();
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;

  // Calls visit(begin, end) for each match in valid UTF-8, in order. An empty match directly behind the
  // previous match does not count. Throws Error when PCRE2 gives up (its match limit, for patterns of
  // exponential cost).
  template <typename Visit>
  void for_each(std::string_view text, Visit&& visit) {
    std::size_t from = 0, last_end = std::string_view::npos, begin = 0, end = 0;
    while (from <= text.size() && find(text, from, begin, end)) {
      if (begin == end && end == last_end) {
        from += character_at(text, from);
      } else {
        visit(begin, end);
        from = last_end = end;
      }
    }
  }

 private:
  bool find(std::string_view text, std::size_t from, std::size_t& begin, std::size_t& end);
  int find_with_stack(std::string_view text, std::size_t from);
  static std::size_t character_at(std::string_view text, std::size_t at);

  struct State;
  std::shared_ptr<const Pattern::Code> code_;
  std::unique_ptr<State> state_;
};

}  // namespace baleen
