// Module names as quantization_config lists them: plain names, and regular expressions behind "re:".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace baleen {

inline constexpr std::string_view pattern_mark = "re:";

// One regular expression, matched as Python's re.match does: from the start of the name, not to its end.
class NamePattern {
 public:
  // Throws Error with the pattern and what is wrong with it.
  explicit NamePattern(std::string_view pattern);
  NamePattern(NamePattern&&) noexcept;
  NamePattern& operator=(NamePattern&&) noexcept;
  ~NamePattern();

  // Throws Error if the pattern needs more steps than any honest one.
  bool matches(std::string_view name) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

// A list of names and patterns.
class NameList {
 public:
  NameList() = default;
  explicit NameList(const std::vector<std::string>& entries);

  bool empty() const { return names_.empty() && patterns_.empty(); }
  bool names_exactly(std::string_view name) const;
  bool contains(std::string_view name) const;            // by name or by pattern
  bool contains_or_parent(std::string_view name) const;  // "a.b" covers "a.b.c"

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_set<std::string, Hash, std::equal_to<>> names_;
  std::vector<NamePattern> patterns_;
};

}  // namespace baleen
