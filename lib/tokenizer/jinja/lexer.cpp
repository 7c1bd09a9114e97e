#include "tokenizer/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "tokenizer/jinja/strings.h"
#include "tokenizer/jinja/value.h"
#include "tokenizer/unicode.h"

namespace baleen::jinja {
namespace {

bool is_decimal_digit(char c) {
  return c >= '0' && c <= '9';
}

std::size_t space_bytes(std::string_view text) {
  return text.size() - strip(text, Side::left).size();
}

// Digits of `base` with single underscores between them, from the front; 0 if there are none. A leading
// underscore is allowed behind a prefix such as 0x.
std::size_t digits(std::string_view text, int base, bool leading_underscore) {
  const auto is_digit = [&](char c) {
    const int value = is_decimal_digit(c)                      ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                               : 99;
    return value < base;
  };
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t underscore = text[at] == '_' && (at > 0 || leading_underscore) ? 1 : 0;
    if (at + underscore >= text.size() || !is_digit(text[at + underscore])) break;
    at += underscore + 1;
  }
  return at;
}

std::string without_underscores(std::string_view text) {
  std::string digits_only(text);
  std::erase(digits_only, '_');
  return digits_only;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_until_tag();
    add(Token::Kind::end, at_);
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return source_.substr(at_); }
  bool starts(std::string_view what) const { return rest().starts_with(what); }

  [[noreturn]] void wrong(std::string message) const { fail(std::move(message), line_); }

  void advance(std::size_t bytes) {
    line_ += static_cast<std::size_t>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                                 source_.begin() + static_cast<std::ptrdiff_t>(at_ + bytes),
                                                 '\n'));
    at_ += bytes;
  }

  Token& add(Token::Kind kind, std::size_t end, std::string text = {}) {
    tokens_.push_back({kind, std::move(text), line_, at_, end});
    return tokens_.back();
  }

  // Data up to a tag that begins at `end` with white space sign `sign` ("-" takes all white space before it;
  // by default a tag that is no {{ takes what stands before it on its line).
  void add_data(std::size_t end, char sign, bool is_print) {
    std::string_view text = source_.substr(at_, end - at_);
    if (sign == '-') {
      text = strip(text, Side::right);
    } else if (sign != '+' && !is_print) {
      const std::size_t line_begin = text.rfind('\n') + 1;  // npos + 1 is 0
      const bool at_line_begin = line_begin > 0 || line_starting_;
      if (at_line_begin && strip(text.substr(line_begin), Side::left).empty())
        text = text.substr(0, line_begin);
    }
    if (!text.empty()) add(Token::Kind::data, end, std::string(text));
    advance(end - at_);
  }

  char sign_at(std::size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  void text_until_tag() {
    std::size_t tag = at_;
    while ((tag = source_.find('{', tag)) != source_.npos) {
      const char kind = tag + 1 < source_.size() ? source_[tag + 1] : '\0';
      if (kind == '%' || kind == '{' || kind == '#') break;
      ++tag;
    }
    if (tag == source_.npos) return add_data(source_.size(), '+', false);
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    const std::size_t sign_bytes = sign ? 1 : 0;
    add_data(tag, sign, kind == '{');
    line_starting_ = false;
    if (kind == '%' && raw_block(sign_bytes)) return;
    const auto begin = kind == '%' ? Token::Kind::block_begin : Token::Kind::print_begin;
    if (kind != '#') add(begin, at_ + 2);
    advance(2 + sign_bytes);
    kind == '#' ? comment() : code(kind == '%');
  }

  // The end of a tag at the front, and behind it what it swallows: "-" all white space, a block the line's
  // end. 0 if there is none.
  std::size_t tag_end(std::string_view text, std::string_view close, bool trims_line) const {
    const std::size_t sign = !text.empty() && (text[0] == '-' || (text[0] == '+' && trims_line)) ? 1 : 0;
    if (!text.substr(sign).starts_with(close)) return 0;
    const std::size_t end = sign + close.size();
    if (sign && text[0] == '-') return end + space_bytes(text.substr(end));
    if (!sign && trims_line && text.substr(end).starts_with('\n')) return end + 1;
    return end;
  }

  void finish_tag(std::size_t bytes) {
    line_starting_ = source_[at_ + bytes - 1] == '\n';
    advance(bytes);
  }

  void comment() {
    for (std::size_t at = at_; at < source_.size(); ++at) {
      const std::size_t end = tag_end(source_.substr(at), "#}", true);
      if (end) return finish_tag(at + end - at_);
    }
    wrong("a comment without an end");
  }

  // {% raw %}...{% endraw %} at the front: only data.
  bool raw_block(std::size_t sign_bytes) {
    std::string_view text = rest().substr(2 + sign_bytes);
    text = strip(text, Side::left);
    if (!text.starts_with("raw")) return false;
    text = strip(text.substr(3), Side::left);
    const std::size_t end = tag_end(text, "%}", false);
    if (!end) return false;
    advance(rest().size() - text.size() + end);
    for (std::size_t tag = at_; (tag = source_.find("{%", tag)) != source_.npos; tag += 2) {
      const char sign = sign_at(tag + 2);
      std::string_view inside = strip(source_.substr(tag + (sign ? 3 : 2)), Side::left);
      if (!inside.starts_with("endraw")) continue;
      inside = strip(inside.substr(6), Side::left);
      const std::size_t close = tag_end(inside, "%}", true);
      if (!close) continue;
      add_data(tag, sign, false);
      finish_tag(rest().size() - inside.size() + close);
      return true;
    }
    wrong("a raw block without an end");
  }

  void code(bool is_block) {
    const auto kind = is_block ? Token::Kind::block_end : Token::Kind::print_end;
    brackets_.clear();
    while (at_ < source_.size()) {
      // Inside brackets "}}" and "%}" are operators.
      const std::size_t end = brackets_.empty() ? tag_end(rest(), is_block ? "%}" : "}}", is_block) : 0;
      if (end) {
        add(kind, at_ + end);
        return finish_tag(end);
      }
      if (const std::size_t space = space_bytes(rest()))
        advance(space);
      else
        token();
    }
  }

  void token() {
    const char c = rest()[0];
    if (is_decimal_digit(c)) return number();
    if (c == '\'' || c == '"') return string(c);
    if (const std::size_t bytes = name_bytes()) {
      const std::string name(rest().substr(0, bytes));
      if (!is_all(name, Class::identifier)) wrong("'" + name + "' is no identifier");
      add(Token::Kind::name, at_ + bytes, name);
      return advance(bytes);
    }
    op();
  }

  std::size_t name_bytes() const {
    std::size_t at = at_;
    while (at < source_.size()) {
      std::size_t after = at;
      const char32_t c = unicode::next(source_, after);
      if (!is_word(c) &&
          !(c >= 0x80 && is_all(std::string("a").append(source_.substr(at, after - at)), Class::identifier)))
        break;
      at = after;
    }
    return at - at_;
  }

  void number() {
    const std::string_view text = rest();
    const std::size_t whole = digits(text, 10, false);
    std::size_t end = whole;
    const auto tail = [&](std::size_t from) {
      return from < text.size() ? digits(text.substr(from), 10, false) : 0;
    };
    if (end < text.size() && text[end] == '.' && tail(end + 1)) end += 1 + tail(end + 1);
    if (end < text.size() && (text[end] | 0x20) == 'e') {
      const std::size_t sign =
          end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-') ? 1 : 0;
      if (tail(end + 1 + sign)) end += 1 + sign + tail(end + 1 + sign);
    }
    const bool behind_dot = at_ > 0 && source_[at_ - 1] == '.';  // x.1.2 is twice an index
    if (end > whole && !behind_dot) return real(text.substr(0, end));
    integer(text);
  }

  void real(std::string_view text) {
    const std::string plain = without_underscores(text);
    double value = 0;
    const auto result = std::from_chars(plain.data(), plain.data() + plain.size(), value);
    if (result.ec == std::errc::result_out_of_range) value = std::strtod(plain.c_str(), nullptr);
    add(Token::Kind::real, at_ + text.size(), std::string(text)).real = value;
    advance(text.size());
  }

  void integer(std::string_view text) {
    int base = 10;
    if (text.size() > 2 && text[0] == '0') {
      const char mark = static_cast<char>(text[1] | 0x20);
      base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
      if (base != 10 && !digits(text.substr(2), base, true)) base = 10;
    }
    const std::size_t prefix = base == 10 ? 0 : 2;
    // "007" is three numbers, as the first has no business to begin with zero.
    const bool zero = base == 10 && text[0] == '0';
    std::size_t bytes = prefix + digits(text.substr(prefix), zero ? 1 : base, prefix > 0);
    const std::string plain = without_underscores(text.substr(prefix, bytes - prefix));
    std::int64_t value = 0;
    const auto result = std::from_chars(plain.data(), plain.data() + plain.size(), value, base);
    if (result.ec != std::errc())
      wrong("the integer " + std::string(text.substr(0, bytes)) + " is beyond 64 bits");
    add(Token::Kind::integer, at_ + bytes, std::string(text.substr(0, bytes))).integer = value;
    advance(bytes);
  }

  void string(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) wrong("a string without an end");
    add(Token::Kind::string, end + 1, unescape_here(source_.substr(at_ + 1, end - at_ - 1)));
    advance(end + 1 - at_);
  }

  std::string unescape_here(std::string_view literal) const {
    try {
      return unescape(literal);
    } catch (Failure& failure) {
      wrong(failure.message);
    }
  }

  void op() {
    // The longer ones first.
    static constexpr std::array<std::string_view, 26> ops = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found = std::find_if(ops.begin(), ops.end(), [&](std::string_view o) { return starts(o); });
    if (found == ops.end())
      wrong("unexpected character '" + std::string(rest().substr(0, unicode::length(rest()[0]))) + "'");
    balance((*found)[0]);
    add(Token::Kind::op, at_ + found->size(), std::string(*found));
    advance(found->size());
  }

  void balance(char c) {
    if (c == '(') brackets_ += ')';
    if (c == '[') brackets_ += ']';
    if (c == '{') brackets_ += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (brackets_.empty() || brackets_.back() != c) {
      std::string message = std::string("unexpected '") + c + "'";
      if (!brackets_.empty()) message += std::string(", expected '") + brackets_.back() + "'";
      wrong(message);
    }
    brackets_.pop_back();
  }

  std::string_view source_;
  std::size_t at_ = 0, line_ = 1;
  bool line_starting_ = true;  // nothing but a swallowed line end stands before the next data
  std::string brackets_;       // the closing ones that are expected
  std::vector<Token> tokens_;
};

// Reads exactly `count` hexadecimal digits behind \x, \u or \U.
void append_code_point(std::string& out, std::string_view digits_text, std::size_t count) {
  std::uint32_t value = 0;
  const std::string_view hex = digits_text.substr(0, count);
  const auto result = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
  if (hex.size() < count || result.ptr != hex.data() + count) fail("a truncated escape in a string");
  if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
    fail("an escape in a string that is no character");
  unicode::append(out, value);
}

// Python sees a backslash and the character's own escape, and takes the backslash for itself.
void append_escaped_character(std::string& out, char32_t c) {
  char digits_of[12];
  const auto end =
      std::to_chars(digits_of, digits_of + sizeof digits_of, static_cast<std::uint32_t>(c), 16).ptr;
  const std::size_t size = static_cast<std::size_t>(end - digits_of);
  const std::size_t width = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  out += '\\';
  out += width == 2 ? 'x' : width == 4 ? 'u' : 'U';
  out.append(width - size, '0').append(digits_of, size);
}

}  // namespace

std::string normalize_lines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\r') {
      out += text[at];
      continue;
    }
    out += '\n';
    if (at + 1 < text.size() && text[at + 1] == '\n') ++at;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

std::string unescape(std::string_view literal) {
  static constexpr std::string_view letters = "nrtabfv\\'\"", meanings = "\n\r\t\a\b\f\v\\'\"";
  std::string out;
  for (std::size_t at = 0; at < literal.size();) {
    if (literal[at] != '\\') {
      out += literal[at++];
      continue;
    }
    const char c = literal[++at];  // the lexer made sure that there is one
    const std::string_view behind = literal.substr(at + 1);
    if (const std::size_t simple = letters.find(c); simple != letters.npos) {
      out += meanings[simple];
      ++at;
    } else if (c == '\n') {
      ++at;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      append_code_point(out, behind, count);
      at += 1 + count;
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      for (std::size_t i = 0; i < 3 && at < literal.size() && literal[at] >= '0' && literal[at] <= '7'; ++i)
        value = value * 8 + static_cast<char32_t>(literal[at++] - '0');
      unicode::append(out, value);
    } else if (c == 'N') {
      fail("\\N{...} in a string is not supported");
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      append_escaped_character(out, unicode::next(literal, at));
    } else {
      out += '\\';
    }
  }
  return out;
}

}  // namespace baleen::jinja
