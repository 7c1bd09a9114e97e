// Filters that take or give texts.
#include <algorithm>
#include <array>
#include <cmath>

#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/numbers.h"
#include "tokenizer/jinja/strings.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace baleen::jinja::filters {
namespace {

// The value as text, and still marked as safe if it was (markupsafe.soft_str).
Text soft(Runtime& runtime, const Value& value) {
  if (const Text* text = value.get<Text>()) return *text;
  return *make_text(to_text(runtime, value)).get<Text>();
}

template <std::string change(std::string_view)>
Value changed(Runtime& runtime, const Value& value) {
  const Text text = soft(runtime, value);
  return runtime.text(change(*text.bytes), text.markup);
}

bool begins_words(char32_t c) {
  return unicode::is_python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

std::string titled(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    const bool between = begins_words(unicode::next(text, end));
    const std::size_t first = end;
    for (std::size_t next = end; end < text.size() && begins_words(unicode::next(text, next)) == between;)
      end = next;
    out += jinja::upper(text.substr(at, first - at)) + jinja::lower(text.substr(first, end - first));
    at = end;
  }
  return out;
}

// Removes what stands from each `open` to the next `close`.
std::string without(std::string_view text, std::string_view open, std::string_view close) {
  std::string out;
  while (true) {
    const std::size_t begin = text.find(open);
    const std::size_t end = begin == text.npos ? text.npos : text.find(close, begin);
    if (end == text.npos) return out.append(text);
    out += text.substr(0, begin);
    text.remove_prefix(end + close.size());
  }
}

// &amp; and the few other names that a template can meet, and numbers.
std::string unescape_html(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> names = {
      {{"amp", "&"}, {"lt", "<"}, {"gt", ">"}, {"quot", "\""}, {"apos", "'"}, {"nbsp", "\u00A0"}}};
  std::string out;
  while (!text.empty()) {
    const std::size_t begin = std::min(text.find('&'), text.size());
    out += text.substr(0, begin);
    text.remove_prefix(begin);
    const std::size_t end = text.substr(0, 16).find(';');
    const std::string_view name = end == text.npos ? "" : text.substr(1, end - 1);
    const auto* known =
        std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.first == name; });
    const bool is_number = name.starts_with('#') && name.size() > 1;
    const bool is_hex = is_number && (name[1] == 'x' || name[1] == 'X');
    const auto code = is_number ? parse_integer(name.substr(is_hex ? 2 : 1), is_hex ? 16 : 10) : std::nullopt;
    if (known != names.end())
      out += known->second;
    else if (code && *code > 0 && *code < 0x110000 && !(*code >= 0xD800 && *code < 0xE000))
      unicode::append(out, static_cast<char32_t>(*code));
    else if (!text.empty()) {
      out += '&';
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(std::min(end == text.npos ? text.size() : end + 1, text.size()));
  }
  return out;
}

std::string url_quoted(Runtime& runtime, const Value& value, bool in_query) {
  static constexpr std::string_view plain = "_.-~", hex = "0123456789ABCDEF";
  std::string out;
  for (const char c : to_text(runtime, value)) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
        plain.find(c) != plain.npos || (c == '/' && !in_query))
      out += c;
    else if (c == ' ' && in_query)
      out += '+';
    else
      out += {'%', hex[byte >> 4U], hex[byte & 15U]};
  }
  return out;
}

JsonStyle json_style(const Call& call) {
  JsonStyle style;
  style.ensure_ascii = call.flag(1);
  style.sort_keys = call.flag(4);
  if (call.given_not_none(2)) {
    style.has_indent = true;
    style.item_separator = ",";
    if (const std::string* indent = call[2].text())
      style.indent = *indent;
    else if (const std::int64_t width = call.integer(2); width > 0)
      style.indent.assign(static_cast<std::size_t>(std::min<std::int64_t>(width, 1 << 20)), ' ');
  }
  if (call.given_not_none(3)) {
    const List* both = call[3].list();
    if (!both || both->items.size() != 2 || !both->items[0].text() || !both->items[1].text())
      fail("tojson: separators must be two strings");
    style.item_separator = *both->items[0].text();
    style.key_separator = *both->items[1].text();
  }
  return style;
}

// A piece of a line that is to be wrapped. What follows from going through it is kept: a long word becomes
// many lines.
struct Chunk {
  std::string_view text;
  std::int64_t size;  // in characters
  std::size_t solid;  // bytes up to the white space at its end
  bool is_blank() const { return solid == 0; }
};

Chunk chunk_of(std::string_view text) {
  return {text, static_cast<std::int64_t>(count_characters(text)), strip(text, Side::right).size()};
}

Chunk take_front(Chunk& chunk, std::size_t bytes) {
  const Chunk front = chunk_of(chunk.text.substr(0, bytes));
  chunk.text.remove_prefix(bytes);
  chunk.size -= front.size;
  chunk.solid -= std::min(chunk.solid, bytes);
  return front;
}

// The pieces that a line may be broken into, as Python's textwrap finds them: runs of white space, and words,
// which may end behind a hyphen between letters.
std::vector<Chunk> chunks_of(Runtime& runtime, std::string_view line, bool break_on_hyphens) {
  runtime.spend(line.size() * sizeof(char32_t));
  const std::u32string all = decode(line);
  const auto is_one_of = [&](std::size_t i, std::u32string_view any) {
    return i < all.size() && any.find(all[i]) != any.npos;
  };
  const auto is_blank = [&](std::size_t i) { return is_one_of(i, U" \t\n\v\f\r"); };
  const auto is_dash = [&](std::size_t i) { return is_one_of(i, U"-"); };
  const auto is_word_letter = [&](std::size_t i) {
    return i < all.size() && (is_letter(all[i]) || all[i] == '_');
  };
  const auto is_word_character = [&](std::size_t i) { return i < all.size() && is_word(all[i]); };
  const auto is_word_part = [&](std::size_t i) { return is_word_character(i) || is_one_of(i, U"!\"'&.,?"); };
  // Two dashes or more between words, of which the first ends before i: where the second begins, else i.
  const auto behind_dashes = [&](std::size_t i) {
    if (!break_on_hyphens || i == 0 || !is_dash(i) || !is_word_part(i - 1)) return i;
    std::size_t end = i;
    while (is_dash(end)) ++end;
    return end - i >= 2 && is_word_character(end) ? end : i;
  };
  // Between character i - 1, a hyphen, and i.
  const auto may_break_behind_hyphen = [&](std::size_t i) {
    const bool letters_before = (i >= 3 && is_word_letter(i - 2) && is_word_letter(i - 3)) ||
                                (i >= 4 && is_word_letter(i - 4) && is_dash(i - 3) && is_word_part(i - 2));
    const bool letters_behind =
        is_word_letter(i) && (is_word_letter(i + 1) || (is_dash(i + 1) && is_word_letter(i + 2)));
    return letters_before && letters_behind;
  };
  std::vector<Chunk> chunks;
  for (std::size_t begin = 0; begin < all.size();) {
    std::size_t end = begin + 1;
    if (is_blank(begin)) {
      while (is_blank(end)) ++end;
    } else if (const std::size_t behind = behind_dashes(begin); behind > begin) {
      end = behind;
    } else {
      while (end < all.size() && !is_blank(end) && behind_dashes(end) == end &&
             !(break_on_hyphens && is_dash(end - 1) && may_break_behind_hyphen(end)))
        ++end;
    }
    const std::size_t bytes = byte_offset(line, end - begin);
    runtime.spend(sizeof(Chunk));
    chunks.push_back(chunk_of(line.substr(0, bytes)));
    line.remove_prefix(bytes);
    begin = end;
  }
  return chunks;
}

struct Wrapping {
  std::int64_t width;
  bool break_long_words, break_on_hyphens;
  std::string separator;  // between lines
};

// How many bytes of a word longer than a line go on a line that has `space` left: up to a hyphen if there is
// one.
std::size_t bytes_that_fit(std::string_view word, std::int64_t space, bool break_on_hyphens) {
  const std::size_t bytes = byte_offset(word, static_cast<std::size_t>(space));
  if (!break_on_hyphens) return bytes;
  const std::size_t hyphen = word.substr(0, bytes).rfind('-');
  const bool is_between = hyphen != word.npos && word.substr(0, hyphen).find_first_not_of('-') != word.npos;
  return is_between ? hyphen + 1 : bytes;
}

// textwrap.wrap(line, width, expand_tabs=False, replace_whitespace=False, ...).
void write_wrapped(Writer& out, std::string_view line, const Wrapping& how) {
  if (how.width <= 0) fail("wordwrap: the width must be above 0");
  auto chunks = chunks_of(out.runtime(), line, how.break_on_hyphens);
  std::reverse(chunks.begin(), chunks.end());  // the next one at the end
  bool any_lines = false;
  while (!chunks.empty()) {
    out.runtime().step();
    if (any_lines && chunks.back().is_blank()) chunks.pop_back();
    std::vector<Chunk> current;
    std::int64_t used = 0;
    const auto put = [&](const Chunk& chunk) {
      used += chunk.size;
      current.push_back(chunk);
    };
    while (!chunks.empty() && used + chunks.back().size <= how.width) {
      put(chunks.back());
      chunks.pop_back();
    }
    if (!chunks.empty() && chunks.back().size > how.width) {
      // A word longer than a line: cut, or a line of its own.
      if (how.break_long_words) {
        Chunk& word = chunks.back();
        put(take_front(word, bytes_that_fit(word.text, how.width - used, how.break_on_hyphens)));
      } else if (current.empty()) {
        put(chunks.back());
        chunks.pop_back();
      }
    }
    if (!current.empty() && current.back().is_blank()) current.pop_back();
    if (current.empty()) continue;
    if (any_lines) out.add(how.separator);
    any_lines = true;
    for (const Chunk& chunk : current) out.add(chunk.text);
  }
}

}  // namespace

Value capitalize(Runtime& runtime, Call& call) {
  return changed<jinja::capitalize>(runtime, call[0]);
}

Value center(Runtime& runtime, Call& call) {
  return call_method(runtime, soft(runtime, call[0]), "center", {call.value_or(1, {std::int64_t{80}})});
}

Value escape(Runtime& runtime, Call& call) {
  const Text* text = call[0].get<Text>();
  if (text && text->markup) return call[0];
  return make_text(escape_html(runtime, to_text(runtime, call[0])), true);
}

Value file_size(Runtime&, Call& call) {
  const auto given = call[0].text()       ? parse_real(*call[0].text())
                     : is_number(call[0]) ? std::optional(to_double(call[0]))
                                          : std::nullopt;
  if (!given) fail("filesizeformat: expected a number");
  const bool binary = call.flag(1);
  const double base = binary ? 1024 : 1000;
  if (*given == 1) return make_text("1 Byte");
  if (*given < base) return make_text(std::to_string(truncated(*given).value_or(0)) + " Bytes");
  static constexpr std::string_view prefixes = "kMGTPEZY";
  double unit = base;
  std::size_t at = 0;
  while (at + 1 < prefixes.size() && *given >= unit * base) unit *= base, ++at;
  std::string prefix(1, prefixes[at]);
  if (binary) prefix = (at == 0 ? "K" : prefix) + "i";
  return make_text(fixed(base * *given / (unit * base), 1) + " " + prefix + "B");
}

Value force_escape(Runtime& runtime, Call& call) {
  return make_text(escape_html(runtime, to_text(runtime, call[0])), true);
}

Value format(Runtime& runtime, Call& call) {
  Arguments& given = call.rest();
  if (!given.positional.empty() && !given.named.empty())
    fail("format: can't handle positional and keyword arguments at the same time");
  const Text text = soft(runtime, call[0]);
  if (given.named.empty()) return format_percent(runtime, text, make_tuple(std::move(given.positional)));
  std::vector<std::pair<Value, Value>> items;
  for (auto& [key, value] : given.named) items.emplace_back(make_text(key), std::move(value));
  return format_percent(runtime, text, make_dict(std::move(items)));
}

Value indent(Runtime& runtime, Call& call) {
  const Text* text = call[0].get<Text>();
  if (!text) (void)call.text(0);
  std::string by;
  if (call.has(1) && call[1].text())
    by = *call[1].text();
  else
    by = padded(runtime, "", call.integer_or(1, 4), Align::left);
  const std::string whole = *text->bytes + "\n";
  const auto lines = split_lines(whole, false);
  const bool blank = call.flag(3);
  Writer out(runtime);
  if (call.flag(2)) out.add(by);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.add("\n");
    if (i > 0 && (blank || !lines[i].empty())) out.add(by);
    out.add(lines[i]);
  }
  return make_text(out.take(), text->markup);
}

Value lower(Runtime& runtime, Call& call) {
  return changed<jinja::lower>(runtime, call[0]);
}

Value replace(Runtime& runtime, Call& call) {
  const Value text = make_text(to_text(runtime, call[0]));
  std::vector<Value> given = {make_text(to_text(runtime, call[1])), make_text(to_text(runtime, call[2]))};
  if (call.given_not_none(3)) given.push_back(call[3]);
  return call_method(runtime, *text.get<Text>(), "replace", std::move(given));
}

Value safe(Runtime& runtime, Call& call) {
  return make_text(to_text(runtime, call[0]), true);
}

Value string(Runtime& runtime, Call& call) {
  return {soft(runtime, call[0])};
}

Value strip_tags(Runtime& runtime, Call& call) {
  const std::string text = without(without(to_text(runtime, call[0]), "<!--", "-->"), "<", ">");
  std::string out;
  for (const std::string_view word : split(text, std::nullopt, -1, false)) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  return runtime.text(unescape_html(out));
}

Value title(Runtime& runtime, Call& call) {
  const Text text = soft(runtime, call[0]);
  return runtime.text(titled(*text.bytes));
}

Value to_json(Runtime& runtime, Call& call) {
  return make_text(jinja::to_json(runtime, call[0], json_style(call)));
}

Value trim(Runtime& runtime, Call& call) {
  const Text text = soft(runtime, call[0]);
  std::optional<std::string_view> chars;
  if (call.given_not_none(1)) chars = call.text(1);
  return runtime.text(std::string(strip(*text.bytes, Side::both, chars)), text.markup);
}

Value truncate(Runtime& runtime, Call& call) {
  const std::string end = call.text_or(3, "...");
  const std::int64_t most = call.integer_or(1, 255),
                     end_size = static_cast<std::int64_t>(count_characters(end));
  const std::int64_t leeway = call.given_not_none(4) ? call.integer(4) : 5;
  if (most < end_size)
    fail("truncate: expected length >= " + std::to_string(end_size) + ", got " + std::to_string(most));
  if (leeway < 0) fail("truncate: expected leeway >= 0, got " + std::to_string(leeway));
  const auto given = jinja::length(runtime, call[0]);
  const auto size = static_cast<std::int64_t>(given ? *given : count_characters(call.text(0)));
  if (size <= most || size - most <= leeway) return call[0];
  const std::string& text = call.text(0);
  std::string_view kept =
      std::string_view(text).substr(0, byte_offset(text, static_cast<std::size_t>(most - end_size)));
  if (!call.flag(2)) kept = kept.substr(0, kept.rfind(' '));
  return runtime.text(std::string(kept) + end);
}

Value upper(Runtime& runtime, Call& call) {
  return changed<jinja::upper>(runtime, call[0]);
}

Value url_encode(Runtime& runtime, Call& call) {
  const Value& value = call[0];
  if (value.text() || !is_iterable(value)) return runtime.text(url_quoted(runtime, value, false));
  const Dict* dict = value.dict();
  Writer out(runtime);
  for (const Value& item : to_vector(runtime, value)) {
    std::vector<Value> both;
    if (dict)
      both = {item, *find(runtime, *dict, item)};
    else
      both = to_vector(runtime, item);
    if (both.size() != 2) fail("urlencode: expected pairs");
    if (out.size() > 0) out.add("&");
    out.add(url_quoted(runtime, both[0], true) + "=" + url_quoted(runtime, both[1], true));
  }
  return make_text(out.take());
}

Value word_count(Runtime& runtime, Call& call) {
  const std::string text = to_text(runtime, call[0]);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const bool in_word = is_word(unicode::next(text, at));
    words += in_word && !inside ? 1 : 0;
    inside = in_word;
  }
  return {words};
}

Value word_wrap(Runtime& runtime, Call& call) {
  const Wrapping how = {call.integer_or(1, 79), !call.has(2) || call.flag(2), !call.has(4) || call.flag(4),
                        call.given_not_none(3) ? call.text(3) : "\n"};
  Writer out(runtime);
  bool is_first = true;
  for (const std::string_view paragraph : split_lines(call.text(0), false)) {
    if (!is_first) out.add(how.separator);
    is_first = false;
    write_wrapped(out, paragraph, how);
  }
  return make_text(out.take());
}

Value xml_attributes(Runtime& runtime, Call& call) {
  const Dict* dict = call[0].dict();
  if (!dict) fail("xmlattr: expected a dict, found " + std::string(type_name(call[0])));
  Writer out(runtime);
  for (const auto& [key, value] : dict->items) {
    if (value.is_none() || value.is_undefined()) continue;
    if (!key.text()) fail("xmlattr: expected names, found " + std::string(type_name(key)));
    if (key.text()->find_first_of(" \t\n\r\f\v/>=") != std::string::npos)
      fail("Invalid character in attribute name: " + quoted(*key.text()));
    if (out.size() > 0 || !call.has(1) || call.flag(1)) out.add(" ");
    const Text* text = value.get<Text>();
    const std::string shown = to_text(runtime, value);
    out.add(escape_html(runtime, *key.text()) + "=\"" +
            (text && text->markup ? shown : escape_html(runtime, shown)) + "\"");
  }
  return make_text(out.take());
}

}  // namespace baleen::jinja::filters
