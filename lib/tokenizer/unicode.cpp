#include "tokenizer/unicode.h"

#include <simdjson.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tokenizer/unicode_tables.h"

namespace baleen::unicode {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct Category {
  char major, minor;
};

Category category(char32_t c) {
  const utf8proc_int32_t code = static_cast<utf8proc_int32_t>(c);
  if (utf8proc_category(code) == UTF8PROC_CATEGORY_CN) {
    const auto table = new_categories();
    const auto after = std::upper_bound(table.begin(), table.end(), c,
                                        [](char32_t value, const NewCategory& n) { return value < n.first; });
    if (after != table.begin() && c <= (after - 1)->last) return {(after - 1)->major, (after - 1)->minor};
  }
  const char* name = utf8proc_category_string(code);
  return {name[0], name[1]};
}

bool in(char32_t c, char32_t first, char32_t last) {
  return first <= c && c <= last;
}

std::vector<utf8proc_int32_t> decode(std::string_view text) {
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size());
  for (std::size_t at = 0; at < text.size();)
    code_points.push_back(static_cast<utf8proc_int32_t>(next(text, at)));
  return code_points;
}

// Decomposes text into canonical order and, if `options` ask for it, composes it again.
void normalize_run(std::string_view text, utf8proc_option_t options, std::string& out) {
  std::vector<utf8proc_int32_t> result;
  result.reserve(text.size() + 8);
  int last_class = 0;
  for (const utf8proc_int32_t code : decode(text)) {
    utf8proc_int32_t parts[32];  // U+FDFA has the longest decomposition: 18
    const auto count = utf8proc_decompose_char(code, parts, 32, options, &last_class);
    result.insert(result.end(), parts, parts + std::clamp<utf8proc_ssize_t>(count, 0, 32));
  }
  // Canonical ordering: a stable sort by combining class of each run of non-starters.
  const auto combining = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto from = result.begin(); from != result.end();) {
    const auto begin = std::find_if(from, result.end(), [&](auto c) { return combining(c) != 0; });
    const auto end = std::find_if(begin, result.end(), [&](auto c) { return combining(c) == 0; });
    std::stable_sort(begin, end, [&](auto a, auto b) { return combining(a) < combining(b); });
    from = end;
  }
  auto size = static_cast<utf8proc_ssize_t>(result.size());
  if (options & UTF8PROC_COMPOSE) size = utf8proc_normalize_utf32(result.data(), size, options);
  for (utf8proc_ssize_t i = 0; i < size; ++i)
    append(out, static_cast<char32_t>(result[static_cast<std::size_t>(i)]));
}

utf8proc_option_t options_of(Form form) {
  int options = UTF8PROC_STABLE;
  options |= form == Form::nfc || form == Form::nfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == Form::nfkc || form == Form::nfkd) options |= UTF8PROC_COMPAT;
  return static_cast<utf8proc_option_t>(options);
}

// Nothing below U+0300 changes in NFC, nor do CJK ideographs, kana letters and Hangul syllables, unless
// something follows that composes with them: that something is not in this set.
bool untouched_by_nfc(char32_t c) {
  return c < 0x300 || in(c, 0x3400, 0x9FFF) || in(c, 0x3041, 0x3096) || in(c, 0x30A1, 0x30FA) ||
         in(c, 0xAC00, 0xD7A3) || in(c, 0x410, 0x44F) || in(c, 0x3000, 0x3002) || in(c, 0xFF01, 0xFF5E) ||
         in(c, 0x1F300, 0x1F64F);
}

}  // namespace

char32_t next(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return text[at++] & 0x7F;
  if (lead < 0xE0) {
    at += 2;
    return static_cast<char32_t>((lead & 0x1F) << 6 | (byte(at - 1) & 0x3F));
  }
  if (lead < 0xF0) {
    at += 3;
    return static_cast<char32_t>((lead & 0x0F) << 12 | (byte(at - 2) & 0x3F) << 6 | (byte(at - 1) & 0x3F));
  }
  at += 4;
  return static_cast<char32_t>((lead & 0x07) << 18 | (byte(at - 3) & 0x3F) << 12 |
                               (byte(at - 2) & 0x3F) << 6 | (byte(at - 1) & 0x3F));
}

void append(std::string& text, char32_t c) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::size_t length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_valid(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

std::string repair(std::string_view text) {
  if (is_valid(text)) return std::string(text);
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  LossyDecoder decoder;
  decoder.push(text, out);
  decoder.finish(out);
  return out;
}

void LossyDecoder::push(std::string_view bytes, std::string& out) {
  for (const char byte : bytes) push(byte, out);
}

// Unicode, table 3-7: which bytes may follow which.
void LossyDecoder::begin(char byte, std::string& out) {
  const auto b = static_cast<unsigned char>(byte);
  if (b < 0x80) {
    out.push_back(byte);
    return;
  }
  if (b < 0xC2 || b > 0xF4) {
    out += kReplacement;
    ++errors_;
    return;
  }
  needed_ = b < 0xE0 ? 1 : b < 0xF0 ? 2 : 3;
  low_ = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
  high_ = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
  pending_ = byte;
}

void LossyDecoder::push(char byte, std::string& out) {
  if (needed_ == 0) return begin(byte, out);
  const auto b = static_cast<unsigned char>(byte);
  if (b < low_ || b > high_) {
    finish(out);
    return begin(byte, out);
  }
  low_ = 0x80;
  high_ = 0xBF;
  pending_.push_back(byte);
  if (--needed_ == 0) out += pending_;
}

void LossyDecoder::finish(std::string& out) {
  if (needed_ == 0) return;
  out += kReplacement;
  ++errors_;
  needed_ = 0;
}

std::string normalize(std::string_view text, Form form) {
  if (is_ascii(text)) return std::string(text);
  std::size_t at = 0;
  if (form == Form::nfc) {
    while (at < text.size()) {
      if (!untouched_by_nfc(next(text, at))) break;
      if (at == text.size()) return std::string(text);
    }
  }
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  const utf8proc_option_t options = options_of(form);
  std::size_t run = 0;
  for (at = 0; at < text.size();) {
    const std::size_t here = at;
    const char32_t c = next(text, at);
    if (!contains(unknown_to_normalizer(), c)) continue;
    normalize_run(text.substr(run, here - run), options, out);
    out += text.substr(here, at - here);
    run = at;
  }
  normalize_run(text.substr(run), options, out);
  return out;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next(text, at);
    const auto capitals = new_capitals();
    const auto capital = c < 0x1C89 ? capitals.end()
                                    : std::find_if(capitals.begin(), capitals.end(),
                                                   [&](auto& n) { return in(c, n.first, n.last); });
    if (capital != capitals.end()) {
      append(out, static_cast<char32_t>(static_cast<int>(c) + capital->to_small));
    } else if (c == 0x130) {  // capital I with dot: the one letter whose small form is two code points
      out += "i\xCC\x87";
    } else {
      append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return out;
}

bool is_space(char32_t c) {
  return in(c, 9, 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || in(c, 0x2000, 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_python_space(char32_t c) {
  return is_space(c) || in(c, 0x1C, 0x1F);
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return in(c, '0', '9');
  return category(c).major == 'N' || in(c, 0x11DE0, 0x11DE9) ||
         in(c, 0x16FF4, 0x16FF6);  // the last two: Unicode 17
}

bool is_word(char32_t c) {
  if (c < 0x80) return in(c, '0', '9') || in(c, 'A', 'Z') || in(c, 'a', 'z') || c == '_';
  const Category k = category(c);
  return k.major == 'L' || k.major == 'M' || (k.major == 'N' && k.minor != 'o') ||
         (k.major == 'P' && k.minor == 'c') || c == 0x200C || c == 0x200D || in(c, 0x24B6, 0x24E9) ||
         in(c, 0x1F130, 0x1F149) || in(c, 0x1F150, 0x1F169) ||
         in(c, 0x1F170, 0x1F189);  // the circled and squared letters are Other_Alphabetic
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return in(c, '!', '/') || in(c, ':', '@') || in(c, '[', '`') || in(c, '{', '~');
  if (c == 0x166D || c == 0x111C9) return true;  // became symbols after Unicode 8
  if (utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_CN) return false;
  return category(c).major == 'P' && !contains(new_punctuation(), c);
}

}  // namespace baleen::unicode
