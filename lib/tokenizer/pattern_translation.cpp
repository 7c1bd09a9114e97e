// From Oniguruma's Ruby syntax to PCRE2. What differs, for patterns of published tokenizers: the Unicode
// version behind \p{...}; \s and \w; (?m); `{n,m}+`, which repeats instead of being possessive; `&&` and
// nested brackets in character classes; script names, which mean Script there and Script_Extensions in PCRE2.
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"
#include "tokenizer/unicode_tables.h"

namespace baleen {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument(what);
}

std::string hex(char32_t c) {
  char text[16];
  std::snprintf(text, sizeof text, "\\x{%X}", static_cast<unsigned>(c));
  return text;
}

std::string range(char32_t first, char32_t last) {
  return first == last ? hex(first) : hex(first) + "-" + hex(last);
}

// The code points newer than PCRE2's tables whose category begins with `major`, `minor` (0: any).
std::string additions(char major, char minor) {
  std::string items;
  for (const auto& n : unicode::new_categories()) {
    if (n.major == major && (minor == 0 || n.minor == minor)) items += range(n.first, n.last);
  }
  return items;
}

std::string category(char major, char minor) {
  const std::string name = minor == 0 ? std::string(1, major) : std::string{major, minor};
  return "\\p{" + name + "}" + additions(major, minor);
}

std::string space() {
  return "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
}
std::string alphabetic() {
  return "\\p{Alphabetic}" + additions('L', 0);
}
// Oniguruma counts Latin-1's superscripts and fractions as word characters.
std::string word() {
  return "\\p{Alphabetic}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" + category('M', 0) + category('N', 'd') +
         category('P', 'c') + additions('L', 0);
}

struct Named {
  std::string_view name;  // lower case, without spaces, hyphens and underscores
  char major, minor;
};
constexpr Named kCategories[] = {
    {"letter", 'L', 0},
    {"uppercaseletter", 'L', 'u'},
    {"lowercaseletter", 'L', 'l'},
    {"titlecaseletter", 'L', 't'},
    {"modifierletter", 'L', 'm'},
    {"otherletter", 'L', 'o'},
    {"mark", 'M', 0},
    {"nonspacingmark", 'M', 'n'},
    {"spacingmark", 'M', 'c'},
    {"enclosingmark", 'M', 'e'},
    {"number", 'N', 0},
    {"decimalnumber", 'N', 'd'},
    {"letternumber", 'N', 'l'},
    {"othernumber", 'N', 'o'},
    {"punctuation", 'P', 0},
    {"symbol", 'S', 0},
    {"separator", 'Z', 0},
    {"other", 'C', 0},
    {"control", 'C', 'c'},
    {"format", 'C', 'f'},
};

// The inside of a bracket for the property `name` in \p{name} or [:name:].
std::string property(std::string_view name, bool posix_bracket) {
  std::string key;
  for (const char c : name) {
    if (c != ' ' && c != '-' && c != '_') key.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  }
  for (const Named& n : kCategories) {
    if (key == n.name) return category(n.major, n.minor);
  }
  static constexpr std::string_view majors = "lmnpszc";
  if (!posix_bracket && (key.size() == 1 || key.size() == 2) && majors.find(key[0]) != majors.npos) {
    return category(static_cast<char>(key[0] - 32), key.size() == 2 ? key[1] : '\0');
  }
  if (key == "any") return "\\x{0}-\\x{10FFFF}";
  if (key == "alpha" || key == "alphabetic") return alphabetic();
  if (key == "alnum") return alphabetic() + category('N', 'd');
  if (key == "digit") return category('N', 'd');
  if (key == "space" || key == "whitespace") return space();
  if (key == "blank") return "\\t" + category('Z', 's');
  if (key == "upper" || key == "uppercase") return "\\p{Uppercase}" + additions('L', 'u');
  if (key == "lower" || key == "lowercase") return "\\p{Lowercase}" + additions('L', 'l');
  if (key == "cntrl") return "\\p{Cc}";
  if (key == "xdigit") return "0-9A-Fa-f";
  if (key == "word") return word();
  if (key == "punct") return category('P', 0) + (posix_bracket ? category('S', 0) : "");
  if (posix_bracket) refuse("[:" + std::string(name) + ":] is not supported");
  std::string script = "\\p{sc:" + key + "}";
  if (key == "han") {
    for (const auto& r : unicode::new_han()) script += range(r.first, r.last);
  }
  return script;  // an unknown script is PCRE2's to report
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) element();
    if (!groups_.empty()) refuse("a group is not closed");
    return out_;
  }

 private:
  bool at(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  char take() {
    if (at_ >= in_.size()) refuse("the pattern ends too early");
    return in_[at_++];
  }

  void element() {
    const char c = in_[at_];
    if (c == '(') return open_group();
    if (c == ')') return close_group();
    if (c == '|' || c == '^' || c == '$') {
      out_.push_back(take());
      atom_ = out_.size();
      return;
    }
    if (c == '*' || c == '+' || c == '?' || interval()) return quantifier();
    atom_ = out_.size();
    if (c == '[') {
      out_ += bracket();
    } else if (c == '\\') {
      out_ += escape();
    } else if (c == '{' || c == '}') {  // not an interval: literal in Oniguruma
      out_ += std::string("\\") + take();
    } else {
      const std::size_t length = std::min(unicode::length(c), in_.size() - at_);
      out_ += in_.substr(at_, length);
      at_ += length;
    }
  }

  void open_group() {
    if (groups_.size() > 100) refuse("groups are nested too deeply");
    const std::size_t begin = out_.size();
    if (at("(?#")) {
      while (take() != ')') continue;
      return;
    }
    out_.push_back(take());
    if (at("?")) {
      if (at("?P") || at("?(") || at("?&") || at("?R") || at("?~"))
        refuse("the group (" + std::string(in_.substr(at_, 3)) + " is not supported");
      out_.push_back(take());
      if (at("<") && !at("<=") && !at("<!")) {  // (?<name>
        while (out_.back() != '>') out_.push_back(take());
      } else if (!at("<")) {
        if (inline_options()) {  // (?i) without a group: up to the end of the enclosing one, in both dialects
          atom_ = out_.size();
          return;
        }
      }
    }
    groups_.push_back(begin);
    atom_ = out_.size();
  }

  // Letters between "(?" and ":" or ")". Ruby's m is "dot matches newline", which is s here.
  bool inline_options() {
    while (at_ < in_.size() && std::string_view("imx-").find(in_[at_]) != std::string_view::npos) {
      const char c = take();
      out_.push_back(c == 'm' ? 's' : c);
    }
    if (!at(")")) return false;
    out_.push_back(take());
    return true;
  }

  void close_group() {
    if (groups_.empty()) refuse("a parenthesis closes nothing");
    out_.push_back(take());
    atom_ = groups_.back();
    groups_.pop_back();
  }

  // Whether a {n}, {n,}, {,m} or {n,m} stands here.
  bool interval() const {
    if (!at("{")) return false;
    std::size_t i = at_ + 1;
    const auto digits = [&] {
      const std::size_t from = i;
      while (i < in_.size() && in_[i] >= '0' && in_[i] <= '9') ++i;
      return i - from;
    };
    std::size_t count = digits();
    if (i < in_.size() && in_[i] == ',') {
      ++i;
      count += digits();
    }
    return count > 0 && i < in_.size() && in_[i] == '}';
  }

  void quantifier() {
    const bool braces = at("{");
    if (!braces) {
      out_.push_back(take());
      if (at("?") || at("+")) out_.push_back(take());
      return;
    }
    out_ += at("{,") ? "{0" : "{";
    ++at_;
    while (out_.back() != '}') out_.push_back(take());
    if (at("?")) {
      out_.push_back(take());
    } else if (at("+") || at("*")) {  // a second quantifier, not a possessive one
      out_.insert(atom_, "(?:");
      out_ += ")";
    }
  }

  // One escape outside of brackets.
  std::string escape() {
    const std::size_t begin = at_;
    ++at_;
    const char c = take();
    if (std::string_view("AzZKXR").find(c) != std::string_view::npos) return std::string("\\") + c;
    if (c == 'G') return "\\G";
    if (c == 'b')
      return "(?:(?<=[" + word() + "])(?![" + word() + "])|(?<![" + word() + "])(?=[" + word() + "]))";
    if (c == 'B')
      return "(?:(?<=[" + word() + "])(?=[" + word() + "])|(?<![" + word() + "])(?![" + word() + "]))";
    if (c >= '1' && c <= '9') return std::string("\\") + c;
    at_ = begin;
    bool negated = false;
    const std::string items = class_escape(negated);
    return (negated ? "[^" : "[") + items + "]";
  }

  // An escape that stands for characters, as the inside of a bracket.
  std::string class_escape(bool& negated) {
    ++at_;
    const char c = take();
    negated = c == 'S' || c == 'D' || c == 'W' || c == 'H' || c == 'P';
    switch (c) {
      case 's':
      case 'S':
        return space();
      case 'd':
      case 'D':
        return category('N', 'd');
      case 'w':
      case 'W':
        return word();
      case 'h':
      case 'H':
        return "0-9A-Fa-f";
      case 'p':
      case 'P':
        return braced_property(negated);
      case 't':
      case 'n':
      case 'r':
      case 'f':
      case 'a':
      case 'e':
        return std::string("\\") + c;
      case 'v':
        return "\\x{B}";
      case 'b':
        return "\\x{8}";
      case 'u':
        return hex(hex_digits(4, 4));
      case 'x':
        return hex_escape();
      case '0':
        return "\\x{0}";
      default:
        break;
    }
    if ((c >= '1' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
      refuse(std::string("the escape \\") + c + " is not supported");
    }
    if (static_cast<unsigned char>(c) < 0x80) return std::string("\\") + c;
    --at_;
    return hex(unicode::next(in_, at_));
  }

  std::string braced_property(bool& negated) {
    if (take() != '{') refuse("\\p needs a name in braces");
    if (at("^")) {
      negated = !negated;
      ++at_;
    }
    const std::size_t end = in_.find('}', at_);
    if (end == in_.npos) refuse("\\p{ is not closed");
    const std::string_view name = in_.substr(at_, end - at_);
    at_ = end + 1;
    return property(name, false);
  }

  char32_t hex_digits(std::size_t least, std::size_t most) {
    char32_t value = 0;
    std::size_t count = 0;
    for (; count < most && at_ < in_.size(); ++count, ++at_) {
      const char c = in_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value * 16 + static_cast<char32_t>(digit);
    }
    if (count < least) refuse("hexadecimal digits are missing");
    return value;
  }

  std::string hex_escape() {
    if (at("{")) {
      ++at_;
      const char32_t value = hex_digits(1, 8);
      if (take() != '}') refuse("\\x{ is not closed");
      return hex(value);
    }
    const char32_t value = hex_digits(1, 2);
    if (value > 0x7F) refuse("\\x escapes of single bytes above 7F are not supported");
    return hex(value);
  }

  // A bracket as an expression that matches one character.
  std::string bracket() {
    if (++depth_ > 32) refuse("brackets are nested too deeply");
    ++at_;  // [
    const bool negated = at("^");
    if (negated) ++at_;
    std::vector<std::string> operands(1);  // those of &&
    std::string items;
    std::vector<std::string> parts;
    const auto operand = [&] {
      if (!items.empty()) parts.push_back("[" + items + "]");
      if (parts.empty()) refuse("an empty character class");
      std::string any = parts[0];
      for (std::size_t i = 1; i < parts.size(); ++i) any += "|" + parts[i];
      // Atomic: one character is one match, whichever part it is in. Else a repeated class would be tried
      // anew in every other way, exponentially many.
      operands.back() = parts.size() == 1 ? any : "(?>" + any + ")";
    };
    for (bool first = true; first || !at("]"); first = false) {
      if (at_ >= in_.size()) refuse("a character class is not closed");
      if (at("&&")) {
        at_ += 2;
        operand();
        operands.emplace_back();
        items.clear();
        parts.clear();
      } else {
        class_item(first, items, parts);
      }
    }
    ++at_;  // ]
    --depth_;
    if (parts.empty() && operands.size() == 1) return (negated ? "[^" : "[") + items + "]";
    operand();
    std::string all = operands.back();
    for (std::size_t i = operands.size() - 1; i-- > 0;) all = "(?=" + operands[i] + ")" + all;
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  void class_item(bool first, std::string& items, std::vector<std::string>& parts) {
    if (at("[:")) {
      const std::size_t end = in_.find(":]", at_);
      if (end != in_.npos) {
        const bool negated = in_.substr(at_).starts_with("[:^");
        const std::size_t from = at_ + (negated ? 3 : 2);
        const std::string inside = property(in_.substr(from, std::max(end, from) - from), true);
        at_ = end + 2;
        if (negated) {
          parts.push_back("[^" + inside + "]");
        } else {
          items += inside;
        }
        return;
      }
    }
    if (at("[")) {
      parts.push_back(bracket());
    } else if (at("\\")) {
      bool negated = false;
      const bool one = std::string_view("sSdDwWhHpP").find(in_.substr(at_ + 1, 1)) == std::string_view::npos;
      const std::string inside = class_escape(negated);
      after_class_ = !one;
      if (negated) {
        parts.push_back("[^" + inside + "]");
      } else {
        items += inside;
      }
    } else if (at("-")) {
      // A hyphen is literal at either end and behind a class such as \s.
      ++at_;
      const bool range_operator = !first && !at("]") && !items.empty() && !after_class_;
      items += range_operator ? "-" : "\\-";
      after_class_ = false;
    } else {
      after_class_ = false;
      items += hex_or_plain(unicode::next(in_, at_));
    }
  }

  static std::string hex_or_plain(char32_t c) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ' ';
    return plain ? std::string(1, static_cast<char>(c)) : hex(c);
  }

  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0;
  std::size_t atom_ = 0;             // where in out_ the last element begins that a quantifier applies to
  std::vector<std::size_t> groups_;  // where in out_ the open groups begin
  int depth_ = 0;                    // of brackets
  bool after_class_ = false;         // the last item of the bracket was a class, not a character
};

}  // namespace

std::string translate_pattern(std::string_view oniguruma) {
  if (!unicode::is_valid(oniguruma)) refuse("the pattern is not UTF-8");
  if (oniguruma.size() > 65536) refuse("the pattern is longer than 64 KiB");
  return Translator(oniguruma).run();
}

}  // namespace baleen
