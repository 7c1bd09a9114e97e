#include "tokenizer/jinja/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "tokenizer/jinja/strings.h"
#include "tokenizer/unicode.h"

namespace baleen::jinja {
namespace {

void write_repr(Writer& out, const Value& value, int depth);

std::string hex(char32_t c, std::size_t width) {
  char digits[9];
  const auto end = std::to_chars(digits, digits + sizeof digits, static_cast<std::uint32_t>(c), 16).ptr;
  const std::size_t size = static_cast<std::size_t>(end - digits);
  return std::string(width - size, '0').append(digits, size);
}

// As Python's repr() writes what cannot be printed.
std::string escaped(char32_t c) {
  return c < 0x100 ? "\\x" + hex(c, 2) : c < 0x10000 ? "\\u" + hex(c, 4) : "\\U" + hex(c, 8);
}

template <typename Items, typename Item>
void write_joined(Writer& out, const Items& items, Item item) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.add(", ");
    item(items[i]);
  }
}

void write_list(Writer& out, const List& list, int depth) {
  out.add(list.is_tuple() ? "(" : "[");
  write_joined(out, list.items, [&](const Value& item) { write_repr(out, item, depth); });
  if (list.is_tuple() && list.items.size() == 1) out.add(",");
  out.add(list.is_tuple() ? ")" : "]");
}

void write_dict(Writer& out, const Dict& dict, int depth) {
  out.add("{");
  write_joined(out, dict.items, [&](const auto& item) {
    write_repr(out, item.first, depth);
    out.add(": ");
    write_repr(out, item.second, depth);
  });
  out.add("}");
}

void write_view(Writer& out, const View& view, int depth) {
  const auto& items = view.dict->items;
  switch (view.of) {
    case View::Of::keys:
      out.add("dict_keys([");
      write_joined(out, items, [&](const auto& item) { write_repr(out, item.first, depth); });
      break;
    case View::Of::values:
      out.add("dict_values([");
      write_joined(out, items, [&](const auto& item) { write_repr(out, item.second, depth); });
      break;
    case View::Of::items:
      out.add("dict_items([");
      write_joined(out, items, [&](const auto& item) {
        out.add("(");
        write_repr(out, item.first, depth);
        out.add(", ");
        write_repr(out, item.second, depth);
        out.add(")");
      });
  }
  out.add("])");
}

void write_namespace(Writer& out, const Namespace& names, int depth) {
  out.add("<Namespace {");
  write_joined(out, names.attributes, [&](const auto& item) {
    out.add(quoted(item.first));
    out.add(": ");
    write_repr(out, item.second, depth);
  });
  out.add("}>");
}

void write_range(Writer& out, const Range& range) {
  out.add("range(" + std::to_string(range.start) + ", " + std::to_string(range.stop));
  if (range.step != 1) out.add(", " + std::to_string(range.step));
  out.add(")");
}

void write_repr(Writer& out, const Value& value, int depth) {
  out.runtime().step();
  // A namespace can hold itself, so the values' own depth is not enough.
  if (depth > 2 * kMaxDepth) fail("a value is nested too deep to be printed");
  if (const Text* text = value.get<Text>()) {
    if (text->markup) return out.add("Markup(" + quoted(*text->bytes) + ")");
    return out.add(quoted(*text->bytes));
  }
  if (value.is_undefined()) return out.add("Undefined");
  if (const List* list = value.list()) return write_list(out, *list, depth + 1);
  if (const Dict* dict = value.dict()) return write_dict(out, *dict, depth + 1);
  if (const View* view = value.get<View>()) return write_view(out, *view, depth + 1);
  if (const auto* names = value.get<std::shared_ptr<Namespace>>())
    return write_namespace(out, **names, depth + 1);
  write(out, value);
}

class JsonWriter {
 public:
  JsonWriter(Writer& out, const JsonStyle& style) : out_(out), style_(style) {}

  void write(const Value& value) {
    out_.runtime().step();
    if (const std::string* text = value.text()) return string(*text);
    if (const List* list = value.list()) return items(*list);
    if (const Dict* dict = value.dict()) return object(*dict);
    const std::string scalar = scalar_text(value);
    if (scalar.empty()) fail("Object of type " + std::string(type_name(value)) + " is not JSON serializable");
    out_.add(scalar);
  }

 private:
  // Empty for what is no scalar.
  static std::string scalar_text(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* b = value.get<bool>()) return *b ? "true" : "false";
    if (const auto* i = value.get<std::int64_t>()) return std::to_string(*i);
    const double* d = value.get<double>();
    if (!d) return "";
    if (std::isnan(*d)) return "NaN";
    if (std::isinf(*d)) return *d > 0 ? "Infinity" : "-Infinity";
    return number_text(*d);
  }

  void string(std::string_view text) {
    out_.add("\"");
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t plain = plain_bytes(text.substr(at));
      out_.add(text.substr(at, plain));
      at += plain;
      if (at < text.size()) character(unicode::next(text, at));
    }
    out_.add("\"");
  }

  std::size_t plain_bytes(std::string_view text) const {
    const auto is_plain = [&](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte >= 0x20 && c != '"' && c != '\\' && (byte < 0x80 || !style_.ensure_ascii);
    };
    return static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_plain) - text.begin());
  }

  void character(char32_t c) {
    static constexpr std::string_view special = "\"\\\n\r\t\f\b", letters = "\"\\nrtfb";
    const std::size_t at = c < 0x80 ? special.find(static_cast<char>(c)) : special.npos;
    if (at != special.npos) return out_.add(std::string("\\") + letters[at]);
    if (c < 0x10000) return out_.add("\\u" + hex(c, 4));
    out_.add("\\u" + hex(0xD800 + ((c - 0x10000) >> 10U), 4) + "\\u" +
             hex(0xDC00 + ((c - 0x10000) & 0x3FFU), 4));
  }

  void items(const List& list) {
    enclosed('[', list.items.size(), ']', [&](std::size_t i) { write(list.items[i]); });
  }

  void object(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> members;
    for (const auto& member : dict.items) members.push_back(&member);
    if (style_.sort_keys)
      std::stable_sort(members.begin(), members.end(), [&](const auto* a, const auto* b) {
        return less(out_.runtime(), a->first, b->first);
      });
    enclosed('{', members.size(), '}', [&](std::size_t i) {
      key(members[i]->first);
      out_.add(style_.key_separator);
      write(members[i]->second);
    });
  }

  void key(const Value& key) {
    const std::string* text = key.text();
    const std::string scalar = text ? "" : scalar_text(key);
    if (!text && scalar.empty())
      fail("keys must be str, int, float, bool or None, not " + std::string(type_name(key)));
    string(text ? *text : scalar);
  }

  template <typename Item>
  void enclosed(char open, std::size_t count, char close, Item item) {
    out_.add(1, open);
    ++level_;
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) out_.add(style_.item_separator);
      new_line();
      item(i);
    }
    --level_;
    if (count > 0) new_line();
    out_.add(1, close);
  }

  void new_line() {
    if (!style_.has_indent) return;
    out_.add("\n");
    for (std::size_t i = 0; i < level_; ++i) out_.add(style_.indent);
  }

  Writer& out_;
  const JsonStyle& style_;
  std::size_t level_ = 0;
};

}  // namespace

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<std::size_t>(end - buffer));  // -d.ddde+xx
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const std::size_t e = text.find('e');
  int exponent = 0;
  const std::string_view exponent_text = text.substr(e + (text[e + 1] == '+' ? 2 : 1));
  std::from_chars(exponent_text.data(), exponent_text.data() + exponent_text.size(), exponent);
  std::string digits(text.substr(0, e));
  std::erase(digits, '.');
  const int count = static_cast<int>(digits.size());
  std::string out = negative ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out += "." + digits.substr(1);
    const std::string size = std::to_string(std::abs(exponent));
    return out + (exponent < 0 ? "e-" : "e+") + (size.size() < 2 ? "0" : "") + size;
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1)
    return out + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  return out + digits.substr(0, static_cast<std::size_t>(exponent) + 1) + "." +
         digits.substr(static_cast<std::size_t>(exponent) + 1);
}

std::string quoted(std::string_view text) {
  const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = unicode::next(text, at);
    static constexpr std::string_view special = "\n\r\t\\", letters = "nrt\\";
    const std::size_t known = c < 0x80 ? special.find(static_cast<char>(c)) : special.npos;
    if (known != special.npos)
      out += std::string("\\") + letters[known];
    else if (c == static_cast<char32_t>(quote))
      out += std::string("\\") + quote;
    else if (c < 0x80 ? c >= 0x20 && c != 0x7F : is_printable(c))
      unicode::append(out, c);
    else
      out += escaped(c);
  }
  return out + quote;
}

void write(Writer& out, const Value& value) {
  if (const std::string* text = value.text()) return out.add(*text);
  if (const auto* i = value.get<std::int64_t>()) return out.add(std::to_string(*i));
  if (const double* d = value.get<double>()) return out.add(number_text(*d));
  if (const bool* b = value.get<bool>()) return out.add(*b ? "True" : "False");
  if (value.is_none()) return out.add("None");
  if (value.is_undefined()) return;
  if (const Range* range = value.get<Range>()) return write_range(out, *range);
  if (const auto* native = value.get<std::shared_ptr<const Native>>())
    return out.add((*native)->shown ? (*native)->shown() : (*native)->name);
  if (value.get<std::shared_ptr<Iterator>>()) return out.add("<generator object>");
  write_repr(out, value, 0);
}

std::string to_text(Runtime& runtime, const Value& value) {
  Writer out(runtime);
  write(out, value);
  return out.take();
}

std::string to_repr(Runtime& runtime, const Value& value) {
  Writer out(runtime);
  write_repr(out, value, 0);
  return out.take();
}

std::string to_ascii(Runtime& runtime, const Value& value) {
  const std::string repr = to_repr(runtime, value);
  Writer out(runtime);
  for (std::size_t at = 0; at < repr.size();) {
    const std::size_t begin = at;
    const char32_t c = unicode::next(repr, at);
    out.add(c < 0x80 ? repr.substr(begin, 1) : escaped(c));
  }
  return out.take();
}

std::string to_json(Runtime& runtime, const Value& value, const JsonStyle& style) {
  Writer out(runtime);
  JsonWriter(out, style).write(value);
  return out.take();
}

std::string escape_html(Runtime& runtime, std::string_view text) {
  Writer out(runtime);
  static constexpr std::array<std::pair<char, std::string_view>, 5> escapes = {
      {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}}};
  for (const char& c : text) {
    const auto* escape =
        std::find_if(escapes.begin(), escapes.end(), [&](const auto& e) { return e.first == c; });
    out.add(escape == escapes.end() ? std::string_view(&c, 1) : escape->second);
  }
  return out.take();
}

}  // namespace baleen::jinja
