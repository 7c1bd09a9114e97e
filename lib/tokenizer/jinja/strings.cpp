#include "tokenizer/jinja/strings.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "tokenizer/jinja/case_table.h"
#include "tokenizer/unicode.h"

namespace baleen::jinja {
namespace {

utf8proc_int32_t code(char32_t c) {
  return static_cast<utf8proc_int32_t>(c);
}

bool in(char32_t c, char32_t first, char32_t last) {
  return first <= c && c <= last;
}

bool is_lower(char32_t c) {  // Lowercase: Ll and Other_Lowercase
  if (utf8proc_category(code(c)) == UTF8PROC_CATEGORY_LL) return true;
  return c == 0xAA || c == 0xBA || in(c, 0x2B0, 0x2B8) || c == 0x2C0 || c == 0x2C1 || in(c, 0x2E0, 0x2E4) ||
         c == 0x345 || c == 0x37A || in(c, 0x1D2C, 0x1D6A) || c == 0x1D78 || in(c, 0x1D9B, 0x1DBF) ||
         c == 0x2071 || c == 0x207F || in(c, 0x2090, 0x209C) || in(c, 0x2170, 0x217F) ||
         in(c, 0x24D0, 0x24E9) || c == 0x2C7C || c == 0x2C7D || c == 0xA69C || c == 0xA69D || c == 0xA770 ||
         c == 0xA7F8 || c == 0xA7F9 || in(c, 0xAB5C, 0xAB5F);
}

bool is_upper(char32_t c) {  // Uppercase: Lu and Other_Uppercase
  return utf8proc_category(code(c)) == UTF8PROC_CATEGORY_LU || in(c, 0x2160, 0x216F) ||
         in(c, 0x24B6, 0x24CF) || in(c, 0x1F130, 0x1F149) || in(c, 0x1F150, 0x1F169) ||
         in(c, 0x1F170, 0x1F189);
}

bool is_titlecase(char32_t c) {
  return utf8proc_category(code(c)) == UTF8PROC_CATEGORY_LT;
}

bool is_cased(char32_t c) {
  return is_lower(c) || is_upper(c) || is_titlecase(c);
}

bool is_case_ignorable(char32_t c) {
  switch (utf8proc_category(code(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      break;
  }
  constexpr std::u32string_view others =
      U"'.:\u00B7\u0387\u055F\u05F4"
      U"\u2018\u2019\u2024\u2027\uFE13\uFE52\uFE55\uFF07\uFF0E\uFF1A";
  return others.find(c) != others.npos;
}

bool is_decimal(char32_t c) {
  return utf8proc_category(code(c)) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(char32_t c) {  // Numeric_Type Decimal or Digit
  struct Run {
    char32_t first, last;
  };
  static constexpr std::array<Run, 20> others = {
      {{0xB2, 0xB3},     {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},   {0x2070, 0x2070},
       {0x2074, 0x2079}, {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247C},   {0x2488, 0x2490},
       {0x24EA, 0x24EA}, {0x24F5, 0x24FD},   {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},
       {0x278A, 0x2792}, {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}}};
  return is_decimal(c) || std::any_of(others.begin(), others.end(),
                                      [&](const Run& run) { return in(c, run.first, run.last); });
}

char major_category(char32_t c) {
  return utf8proc_category_string(code(c))[0];
}

bool is_numeric(char32_t c) {
  // The ideographs that are numbers, the common ones: Unicode knows some 70 more.
  constexpr std::u32string_view ideographs = U"一二三四五六七八九十百千万億兆零〇壹贰叁肆伍陆柒捌玖拾";
  return major_category(c) == 'N' || ideographs.find(c) != ideographs.npos;
}

bool starts_identifier(char32_t c) {
  return c == '_' || is_letter(c) || utf8proc_category(code(c)) == UTF8PROC_CATEGORY_NL;
}

bool continues_identifier(char32_t c) {
  const auto category = utf8proc_category(code(c));
  return starts_identifier(c) || is_decimal(c) || category == UTF8PROC_CATEGORY_MN ||
         category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_PC;
}

const LongCase* long_case(char32_t c) {
  const auto at = std::lower_bound(kLongCases.begin(), kLongCases.end(), c,
                                   [](const LongCase& row, char32_t value) { return row.character < value; });
  return at != kLongCases.end() && at->character == c ? &*at : nullptr;
}

void append_upper(std::string& out, char32_t c) {
  if (const LongCase* row = c < 0x80 ? nullptr : long_case(c))
    out += row->upper;
  else
    unicode::append(out, static_cast<char32_t>(utf8proc_toupper(code(c))));
}

void append_title(std::string& out, char32_t c) {
  if (const LongCase* row = c < 0x80 ? nullptr : long_case(c))
    out += row->title;
  else
    unicode::append(out, static_cast<char32_t>(utf8proc_totitle(code(c))));
}

// A capital sigma that ends a word becomes a final one: a cased letter before it, none behind it, and what is
// ignored for case in between does not count.
bool is_final_sigma(std::u32string_view text, std::size_t at) {
  std::size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  std::size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_lower(std::string& out, std::u32string_view text, std::size_t at) {
  const char32_t c = text[at];
  if (c == 0x3A3) return unicode::append(out, is_final_sigma(text, at) ? 0x3C2 : 0x3C3);
  if (c == 0x130) return void(out += "i\u0307");
  unicode::append(out, static_cast<char32_t>(utf8proc_tolower(code(c))));
}

// str.isupper, islower, istitle: of the cased characters, of which there must be one.
bool is_titled(std::u32string_view text) {
  bool any = false, previous_cased = false;
  for (const char32_t c : text) {
    const bool capital = is_upper(c) || is_titlecase(c), small = is_lower(c);
    if ((capital && previous_cased) || (small && !previous_cased)) return false;
    previous_cased = capital || small;
    any |= previous_cased;
  }
  return any;
}

template <typename Wrong, typename Right>
bool cased_are(std::u32string_view text, Wrong wrong, Right right) {
  return std::none_of(text.begin(), text.end(), wrong) && std::any_of(text.begin(), text.end(), right);
}

bool is_identifier(std::u32string_view text) {
  return !text.empty() && starts_identifier(text[0]) &&
         std::all_of(text.begin(), text.end(), continues_identifier);
}

// Where the last character of `text` begins.
std::size_t last_character(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80) --at;
  return at;
}

char32_t first_of(std::string_view text) {
  std::size_t at = 0;
  return unicode::next(text, at);
}

std::string reversed_bytes(std::string_view text) {
  return {text.rbegin(), text.rend()};
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, std::int64_t most) {
  std::vector<std::string_view> pieces;
  while (most < 0 || static_cast<std::int64_t>(pieces.size()) < most) {
    const std::size_t at = find_text(text, separator);
    if (at == text.npos) break;
    pieces.push_back(text.substr(0, at));
    text = text.substr(at + separator.size());
  }
  pieces.push_back(text);
  return pieces;
}

// The same from the right, the last piece first.
std::vector<std::string_view> split_at_from_right(std::string_view text, std::string_view separator,
                                                  std::int64_t most) {
  const std::string mirrored = reversed_bytes(text);
  std::vector<std::string_view> pieces = split_at(mirrored, reversed_bytes(separator), most);
  std::size_t end = text.size();
  for (std::string_view& piece : pieces) {
    piece = text.substr(end - piece.size(), piece.size());
    end -= std::min(end, piece.size() + separator.size());
  }
  return pieces;
}

// The bytes that the first (or last) run of characters takes that are not white space.
std::size_t word_bytes(std::string_view text, bool from_right) {
  std::size_t bytes = 0;
  while (bytes < text.size()) {
    const std::string_view rest = from_right ? text.substr(0, text.size() - bytes) : text.substr(bytes);
    const std::size_t at = from_right ? last_character(rest) : 0;
    if (unicode::is_python_space(first_of(rest.substr(at)))) break;
    bytes += from_right ? rest.size() - at : unicode::length(rest[0]);
  }
  return bytes;
}

std::vector<std::string_view> split_words(std::string_view text, std::int64_t most, bool from_right) {
  std::vector<std::string_view> words;
  const Side near = from_right ? Side::right : Side::left;
  while (!(text = strip(text, near)).empty()) {
    if (most >= 0 && static_cast<std::int64_t>(words.size()) == most) {
      words.push_back(text);
      break;
    }
    const std::size_t bytes = word_bytes(text, from_right);
    words.push_back(from_right ? text.substr(text.size() - bytes) : text.substr(0, bytes));
    text = from_right ? text.substr(0, text.size() - bytes) : text.substr(bytes);
  }
  return words;
}

bool ends_line(char32_t c) {
  return in(c, 0x0A, 0x0D) || in(c, 0x1C, 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80; }));
}

std::size_t byte_offset(std::string_view text, std::size_t characters) {
  std::size_t at = 0;
  for (; characters > 0 && at < text.size(); --characters) at += unicode::length(text[at]);
  return at;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> all;
  for (std::size_t at = 0; at < text.size(); at += all.back().size())
    all.push_back(text.substr(at, unicode::length(text[at])));
  return all;
}

std::u32string decode(std::string_view text) {
  std::u32string code_points;
  code_points.reserve(count_characters(text));
  for (std::size_t at = 0; at < text.size();) code_points += unicode::next(text, at);
  return code_points;
}

bool is_letter(char32_t c) {
  return major_category(c) == 'L';
}

bool is_word(char32_t c) {
  return c == '_' || is_letter(c) || is_numeric(c);
}

std::string upper(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) append_upper(out, unicode::next(text, at));
  return out;
}

std::string lower(std::string_view text) {
  const std::u32string code_points = decode(text);
  std::string out;
  for (std::size_t at = 0; at < code_points.size(); ++at) append_lower(out, code_points, at);
  return out;
}

std::string capitalize(std::string_view text) {
  const std::u32string code_points = decode(text);
  std::string out;
  for (std::size_t at = 0; at < code_points.size(); ++at)
    at == 0 ? append_title(out, code_points[0]) : append_lower(out, code_points, at);
  return out;
}

std::string title(std::string_view text) {
  const std::u32string code_points = decode(text);
  std::string out;
  bool inside_word = false;
  for (std::size_t at = 0; at < code_points.size(); ++at) {
    inside_word ? append_lower(out, code_points, at) : append_title(out, code_points[at]);
    inside_word = is_cased(code_points[at]);
  }
  return out;
}

std::string swap_case(std::string_view text) {
  const std::u32string code_points = decode(text);
  std::string out;
  for (std::size_t at = 0; at < code_points.size(); ++at) {
    if (is_upper(code_points[at]))
      append_lower(out, code_points, at);
    else if (is_lower(code_points[at]))
      append_upper(out, code_points[at]);
    else
      unicode::append(out, code_points[at]);
  }
  return out;
}

// Unicode's full case folding: letters that differ in case alone become the same, and "ß" becomes "ss".
std::string case_fold(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::array<utf8proc_int32_t, 4> folded{};  // a character becomes three at most
    const auto count = utf8proc_decompose_char(code(unicode::next(text, at)), folded.data(), folded.size(),
                                               UTF8PROC_CASEFOLD, nullptr);
    for (utf8proc_ssize_t i = 0; i < count; ++i)
      unicode::append(out, static_cast<char32_t>(folded[static_cast<std::size_t>(i)]));
  }
  return out;
}

bool is_printable(char32_t c) {
  const auto category = utf8proc_category(code(c));
  const char major = major_category(c);
  return c == ' ' || (major != 'C' && major != 'Z' && category != UTF8PROC_CATEGORY_CN);
}

bool is_all(std::string_view text, Class which) {
  const std::u32string s = decode(text);
  const auto every = [&](auto is) { return !s.empty() && std::all_of(s.begin(), s.end(), is); };
  switch (which) {
    case Class::alnum:
      return every([](char32_t c) { return is_letter(c) || is_numeric(c); });
    case Class::alpha:
      return every(is_letter);
    case Class::ascii:
      return unicode::is_ascii(text);
    case Class::decimal:
      return every(is_decimal);
    case Class::digit:
      return every(is_digit);
    case Class::identifier:
      return is_identifier(s);
    case Class::lower:
      return cased_are(
          s, [](char32_t c) { return is_upper(c) || is_titlecase(c); }, is_lower);
    case Class::numeric:
      return every(is_numeric);
    case Class::printable:
      return s.empty() || every(is_printable);
    case Class::space:
      return every(unicode::is_python_space);
    case Class::title:
      return is_titled(s);
    default:
      return cased_are(
          s, [](char32_t c) { return is_lower(c) || is_titlecase(c); }, is_upper);
  }
}

std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> chars) {
  std::u32string wanted = chars ? decode(*chars) : U"";
  std::sort(wanted.begin(), wanted.end());
  const auto goes = [&](std::string_view character) {
    return chars ? std::binary_search(wanted.begin(), wanted.end(), first_of(character))
                 : unicode::is_python_space(first_of(character));
  };
  if (side != Side::right)
    while (!text.empty() && goes(text.substr(0, unicode::length(text[0]))))
      text.remove_prefix(unicode::length(text[0]));
  if (side != Side::left)
    while (!text.empty() && goes(text.substr(last_character(text))))
      text = text.substr(0, last_character(text));
  return text;
}

std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    std::int64_t most, bool from_right) {
  std::vector<std::string_view> pieces = !separator   ? split_words(text, most, from_right)
                                         : from_right ? split_at_from_right(text, *separator, most)
                                                      : split_at(text, *separator, most);
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at;
    const char32_t c = unicode::next(text, at);
    if (!ends_line(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

// std::string_view::find takes quadratic time for "aaa...b" in "aaa...".
std::size_t find_text(std::string_view text, std::string_view part) {
  if (part.size() > text.size()) return text.npos;
  if (part.empty()) return 0;
  const void* found = memmem(text.data(), text.size(), part.data(), part.size());
  return found ? static_cast<std::size_t>(static_cast<const char*>(found) - text.data()) : text.npos;
}

std::size_t find_last_text(std::string_view text, std::string_view part) {
  const std::size_t at = find_text(reversed_bytes(text), reversed_bytes(part));
  return at == text.npos ? text.npos : text.size() - at - part.size();
}

std::size_t count_occurrences(std::string_view text, std::string_view part) {
  if (part.empty()) return count_characters(text) + 1;
  std::size_t count = 0;
  for (std::size_t at = 0; (at = find_text(text, part)) != text.npos; ++count)
    text.remove_prefix(at + part.size());
  return count;
}

}  // namespace baleen::jinja
