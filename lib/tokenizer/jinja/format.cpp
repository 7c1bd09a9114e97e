#include "tokenizer/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <vector>

#include "tokenizer/jinja/numbers.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/strings.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace baleen::jinja {
namespace {

constexpr std::int64_t kMaxPrecision = 1000;  // no double has more digits that matter

// What both kinds of directive come down to.
struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '-';    // - + or a space: what stands before a number that is not negative
  bool alternate = false;
  std::int64_t width = 0, precision = -1;
  char grouping = '\0';  // , or _
  char type = '\0';
};

std::string digits_of(std::uint64_t value, int base) {
  char buffer[65];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value, base).ptr};
}

std::string to_upper_ascii(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return text;
}

// "%.*f", "%.*e" or "%.*g" of a value that is not negative.
std::string printed(double value, char type, int precision, bool alternate) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : "inf";
  std::string format = alternate ? "%#.*" : "%.*";
  format += type;
  std::string out(static_cast<std::size_t>(precision) + 330, '\0');
  const int size = std::snprintf(out.data(), out.size(), format.c_str(), precision, value);
  out.resize(static_cast<std::size_t>(size));
  return out;
}

// Digits with a separator every three or four from the right of the whole part. Zeros make it `width` long at
// least, with separators of their own, of which none stands in front.
std::string grouped(Runtime& runtime, const Spec& spec, const std::string& digits, std::int64_t width) {
  if (!spec.grouping) return digits;
  const bool is_decimal = std::string_view("xXob").find(spec.type) == std::string_view::npos;
  const std::int64_t every = is_decimal ? 3 : 4;
  const std::size_t end =
      is_decimal ? std::min(digits.find_first_not_of("0123456789"), digits.size()) : digits.size();
  if (end == 0) return digits;  // inf, nan
  const std::int64_t room = width - static_cast<std::int64_t>(digits.size() - end);
  const std::string whole = padded(runtime, std::string_view(digits).substr(0, end),
                                   room - (room - 1) / (every + 1), Align::right, "0");
  std::string out;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (i > 0 && (whole.size() - i) % static_cast<std::size_t>(every) == 0) out += spec.grouping;
    out += whole[i];
  }
  return out + digits.substr(end);
}

// A number from its parts: sign and prefix may be parted from the digits by padding ('=').
std::string assembled(Runtime& runtime, const Spec& spec, bool negative, const std::string& prefix,
                      const std::string& digits) {
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  const char align = spec.align ? spec.align : '>';
  if (align == '=') {
    const std::int64_t width = spec.width - static_cast<std::int64_t>(sign.size() + prefix.size());
    const std::string shown = grouped(runtime, spec, digits, spec.fill == "0" ? width : 0);
    return sign + prefix + padded(runtime, shown, width, Align::right, spec.fill);
  }
  const Align where = align == '<' ? Align::left : align == '^' ? Align::center : Align::right;
  return padded(runtime, sign + prefix + grouped(runtime, spec, digits, 0), spec.width, where, spec.fill);
}

std::string whole_number(Runtime& runtime, const Spec& spec, std::int64_t value) {
  const char type = spec.type ? spec.type : 'd';
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  const auto magnitude = value < 0 ? -static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  std::string digits = digits_of(magnitude, base);
  std::string prefix = base != 10 && spec.alternate ? std::string("0") + type : "";
  if (type == 'X') digits = to_upper_ascii(digits);
  if (spec.precision > static_cast<std::int64_t>(digits.size()))  // only in %d: at least so many digits
    digits = padded(runtime, digits, spec.precision, Align::right, "0");
  return assembled(runtime, spec, value < 0, prefix, digits);
}

std::string real_number(Runtime& runtime, const Spec& spec, double value) {
  if (spec.precision > kMaxPrecision) fail("precision too big");
  const bool negative = std::signbit(value) && !std::isnan(value);
  const double magnitude = std::abs(value);
  const char lower_type = static_cast<char>(spec.type | 0x20);
  std::string digits;
  if (!spec.type && spec.precision < 0) {
    digits = number_text(magnitude);
  } else if (!spec.type) {
    // Like 'g', but a number that looks whole keeps ".0".
    digits = printed(magnitude, 'g', static_cast<int>(std::max<std::int64_t>(spec.precision, 1)), false);
    if (digits.find_first_of(".en") == digits.npos) digits += ".0";
  } else if (spec.type == '%') {
    digits =
        printed(magnitude * 100, 'f', static_cast<int>(spec.precision < 0 ? 6 : spec.precision), false) + "%";
  } else {
    digits = printed(magnitude, lower_type, static_cast<int>(spec.precision < 0 ? 6 : spec.precision),
                     spec.alternate);
  }
  if (spec.type >= 'A' && spec.type <= 'Z') digits = to_upper_ascii(digits);
  return assembled(runtime, spec, negative, "", digits);
}

std::string cut(std::string_view text, std::int64_t precision) {
  if (precision < 0) return std::string(text);
  return std::string(text.substr(0, byte_offset(text, static_cast<std::size_t>(precision))));
}

std::string character(Runtime& runtime, const Value& value) {
  if (const std::string* text = value.text(); text && count_characters(*text) == 1) return *text;
  const auto code = value.integer();
  if (!code || *code < 0 || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000))
    fail("%c requires a character or its code, not " + to_repr(runtime, value));
  std::string out;
  unicode::append(out, static_cast<char32_t>(*code));
  return out;
}

// Reads a number at the front of `text`; 0 if there is none.
std::int64_t take_number(std::string_view& text) {
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text[0] == '-') return 0;
  if (result.ec == std::errc::result_out_of_range) fail("a width or precision that is too big");
  text.remove_prefix(static_cast<std::size_t>(result.ptr - text.data()));
  return value;
}

// One run through a format with % directives.
class Percent {
 public:
  Percent(Runtime& runtime, const Text& format, const Value& values)
      : runtime_(runtime), rest_(*format.bytes), markup_(format.markup), values_(values), out_(runtime) {}

  std::string run() {
    while (!rest_.empty()) {
      const std::size_t plain = std::min(rest_.find('%'), rest_.size());
      out_.add(rest_.substr(0, plain));
      rest_.remove_prefix(plain);
      if (!rest_.empty()) directive();
    }
    const List* tuple = values_.list();
    const bool is_tuple = tuple && tuple->is_tuple();
    const bool all_used = is_tuple ? used_ == tuple->items.size() : used_ > 0;
    // A mapping (and what can be indexed like one) need not be used.
    const bool may_stay =
        values_.dict() || (tuple && !is_tuple) || values_.is_undefined() || values_.get<Range>();
    if (!all_used && !may_stay) fail("not all arguments converted during string formatting");
    return out_.take();
  }

 private:
  char next() {
    if (rest_.empty()) fail("incomplete format");
    const char c = rest_[0];
    rest_.remove_prefix(1);
    return c;
  }

  Value argument() {
    const List* tuple = values_.list();
    if (tuple && tuple->is_tuple()) {
      if (used_ >= tuple->items.size()) fail("not enough arguments for format string");
      return tuple->items[used_++];
    }
    if (used_++ > 0) fail("not enough arguments for format string");
    return values_;
  }

  Value named() {
    int open = 1;
    std::string key;
    while (true) {
      const char c = next();
      if (c == '(') ++open;
      if (c == ')' && --open == 0) break;
      key += c;
    }
    if (!values_.dict()) fail("format requires a mapping");
    const Value* found = find(runtime_, *values_.dict(), std::string_view(key));
    if (!found) fail("the format's key '" + key + "' is missing");
    return *found;
  }

  std::int64_t number() {
    if (!rest_.starts_with('*')) return take_number(rest_);
    next();
    const auto value = argument().integer();
    if (!value) fail("* wants int");
    return *value;
  }

  void directive() {
    next();
    Spec spec;
    std::optional<Value> value;
    if (rest_.starts_with('(')) {
      next();
      value = named();
    }
    bool left = false, zero = false;
    for (; !rest_.empty() && std::string_view("-+ #0").find(rest_[0]) != std::string_view::npos; next()) {
      const char flag = rest_[0];
      left |= flag == '-';
      zero |= flag == '0';
      spec.alternate |= flag == '#';
      if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
    }
    spec.width = number();
    if (spec.width < 0) left = true, spec.width = -spec.width;
    if (rest_.starts_with('.')) {
      next();
      spec.precision = std::max<std::int64_t>(number(), 0);
    }
    while (rest_.starts_with('h') || rest_.starts_with('l') || rest_.starts_with('L')) next();
    spec.type = next();
    spec.align = left ? '<' : zero ? '=' : '>';
    if (spec.type == '%') return out_.add("%");
    convert(spec, value ? *value : argument(), zero && !left);
  }

  void convert(Spec& spec, const Value& value, bool zero) {
    switch (spec.type) {
      case 's':
        return text(spec, markup_ ? escaped(value) : to_text(runtime_, value));
      case 'r':
        return text(spec, to_repr(runtime_, value));
      case 'a':
        return text(spec, to_ascii(runtime_, value));
      case 'c':
        return text(spec, character(runtime_, value));
      default:
        break;
    }
    if (zero) spec.fill = "0";
    if (value.is_undefined()) fail(*value.get<Undefined>()->why);
    if (!is_number(value))
      fail(std::string("%") + spec.type + " format: a number is required, not " +
           std::string(type_name(value)));
    if (std::string_view("diuxXo").find(spec.type) != std::string_view::npos) {
      if (value.get<double>() && std::string_view("xXo").find(spec.type) != std::string_view::npos)
        fail(std::string("%") + spec.type + " format: an integer is required, not float");
      const auto integer = value.integer();
      if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
      out_.add(whole_number(runtime_, spec, integer ? *integer : whole_part(to_double(value))));
    } else if (std::string_view("eEfFgG").find(spec.type) != std::string_view::npos) {
      out_.add(real_number(runtime_, spec, to_double(value)));
    } else {
      fail(std::string("unsupported format character '") + spec.type + "'");
    }
  }

  std::string escaped(const Value& value) {
    const Text* text_value = value.get<Text>();
    const std::string plain = to_text(runtime_, value);
    return text_value && text_value->markup ? plain : escape_html(runtime_, plain);
  }

  void text(const Spec& spec, const std::string& all) {
    const std::string shown = cut(all, spec.type == 'c' ? -1 : spec.precision);
    out_.add(padded(runtime_, shown, spec.width, spec.align == '<' ? Align::left : Align::right));
  }

  Runtime& runtime_;
  std::string_view rest_;
  bool markup_;
  const Value& values_;
  Writer out_;
  std::size_t used_ = 0;
};

// [[fill]align][sign][#][0][width][,][.precision][type]
Spec parse_spec(std::string_view text, bool is_for_text) {
  Spec spec;
  bool has_fill = false;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  const std::size_t first = text.empty() ? 0 : unicode::length(text[0]);
  if (text.size() > first && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    has_fill = true;
    spec.align = text[first];
    text.remove_prefix(first + 1);
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    text.remove_prefix(1);
  }
  const auto take = [&](std::string_view any) {
    if (text.empty() || any.find(text[0]) == any.npos) return '\0';
    const char c = text[0];
    text.remove_prefix(1);
    return c;
  };
  if (const char sign = take("+- ")) spec.sign = sign;
  spec.alternate = take("#") != '\0';
  if (take("0") && !has_fill) {
    spec.fill = "0";
    if (!spec.align && !is_for_text) spec.align = '=';
  }
  spec.width = take_number(text);
  spec.grouping = take(",_");
  if (take(".")) {
    if (text.empty() || text[0] < '0' || text[0] > '9') fail("format specifier missing precision");
    spec.precision = take_number(text);
  }
  if (text.size() > 1) fail("invalid format specifier");
  if (!text.empty()) spec.type = text[0];
  return spec;
}

std::string format_value(Runtime& runtime, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return to_text(runtime, value);
  Spec spec = parse_spec(spec_text, value.text() != nullptr);
  const auto type_in = [&](std::string_view types) {
    return !spec.type || types.find(spec.type) != types.npos;
  };
  const auto integer = value.integer();
  if (const std::string* text = value.text()) {
    if (!type_in("s") || spec.align == '=' || spec.sign != '-' || spec.alternate || spec.grouping)
      fail("format specifier '" + std::string(spec_text) + "' does not suit a string");
    const Align align = spec.align == '>' ? Align::right : spec.align == '^' ? Align::center : Align::left;
    return padded(runtime, cut(*text, spec.precision), spec.width, align, spec.fill);
  }
  if (integer && spec.type == 'c')
    return padded(runtime, character(runtime, value), spec.width, Align::left, spec.fill);
  if (integer && type_in("dxXobn")) {
    if (spec.precision >= 0) fail("precision not allowed in integer format specifier");
    if (spec.type == 'n') spec.type = 'd';
    return whole_number(runtime, spec, *integer);
  }
  if (is_number(value) && type_in("eEfFgGn%")) {
    if (spec.type == 'n') spec.type = 'g';
    return real_number(runtime, spec, to_double(value));
  }
  fail("format specifier '" + std::string(spec_text) + "' does not suit " + std::string(type_name(value)));
}

// One run through a format with {} fields.
class Braces {
 public:
  Braces(Runtime& runtime, const Text& format, const Arguments& arguments)
      : runtime_(runtime), markup_(format.markup), arguments_(arguments) {}

  std::string run(std::string_view text, int depth) {
    if (depth > 2) fail("max string recursion exceeded");
    Writer out(runtime_);
    while (!text.empty()) {
      const std::size_t plain = std::min(text.find_first_of("{}"), text.size());
      out.add(text.substr(0, plain));
      text.remove_prefix(plain);
      if (text.empty()) break;
      const char brace = text[0];
      text.remove_prefix(1);
      if (text.starts_with(brace)) {
        out.add(text.substr(0, 1));
        text.remove_prefix(1);
      } else if (brace == '}') {
        fail("single '}' encountered in format string");
      } else {
        const std::size_t end = field_end(text);
        out.add(field(text.substr(0, end), depth));
        text.remove_prefix(end + 1);
      }
    }
    return out.take();
  }

 private:
  static std::size_t field_end(std::string_view text) {
    int open = 1;
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] == '{') ++open;
      if (text[at] == '}' && --open == 0) return at;
      // Inside [...] a brace is part of the key.
    }
    fail("expected '}' before end of string");
  }

  std::string field(std::string_view text, int depth) {
    const std::size_t name_end = std::min(text.find_first_of("!:"), text.size());
    Value value = look_up(text.substr(0, name_end));
    text.remove_prefix(name_end);
    bool escape = markup_;
    if (text.starts_with('!')) {
      if (text.size() < 2 || (text.size() > 2 && text[2] != ':'))
        fail("expected ':' after conversion specifier");
      value = converted(value, text[1]);
      text.remove_prefix(2);
    }
    const std::string spec = text.empty() ? "" : run(text.substr(1), depth + 1);
    if (const Text* t = value.get<Text>(); t && t->markup) escape = false;
    std::string shown = format_value(runtime_, value, spec);
    if (escape) shown = escape_html(runtime_, shown);
    return shown;
  }

  Value converted(const Value& value, char how) {
    if (how == 's') return runtime_.text(to_text(runtime_, value));
    if (how == 'r') return runtime_.text(to_repr(runtime_, value));
    if (how == 'a') return runtime_.text(to_ascii(runtime_, value));
    fail(std::string("unknown conversion specifier '") + how + "'");
  }

  // name.attribute[item]...
  Value look_up(std::string_view path) {
    const std::size_t first_end = std::min(path.find_first_of(".["), path.size());
    Value value = argument(path.substr(0, first_end));
    path.remove_prefix(first_end);
    while (!path.empty()) {
      const bool is_item = path[0] == '[';
      if (!is_item && path[0] != '.') fail("only '.' or '[' may follow ']' in a format field");
      path.remove_prefix(1);
      const std::size_t end = is_item ? path.find(']') : std::min(path.find_first_of(".["), path.size());
      if (end == path.npos) fail("missing ']' in format string");
      const std::string_view key = path.substr(0, end);
      if (key.empty()) fail("empty attribute in format string");
      const auto index = is_item ? position(key) : std::nullopt;
      value = index     ? get_item(runtime_, value, {*index})
              : is_item ? get_item(runtime_, value, make_text(std::string(key)))
                        : get_attribute(runtime_, value, std::string(key));
      path.remove_prefix(end + (is_item ? 1 : 0));
    }
    return value;
  }

  static std::optional<std::int64_t> position(std::string_view text) {
    if (text.empty() || text.find_first_not_of("0123456789") != text.npos) return std::nullopt;
    return take_number(text);
  }

  Value argument(std::string_view name) {
    const auto given = position(name);
    if (!given && !name.empty()) {
      runtime_.step(arguments_.named.size() / 8);
      for (const auto& [key, value] : arguments_.named)
        if (key == name) return value;
      fail("the format's field '" + std::string(name) + "' is missing");
    }
    if (given ? automatic_ > 0 : numbered_) fail("a format cannot mix {} and {0}");
    if (given) numbered_ = true;
    const std::size_t at = given ? static_cast<std::size_t>(*given) : automatic_++;
    if (at >= arguments_.positional.size()) fail("the format's field " + std::to_string(at) + " is missing");
    return arguments_.positional[at];
  }

  Runtime& runtime_;
  bool markup_;
  const Arguments& arguments_;
  std::size_t automatic_ = 0;
  bool numbered_ = false;
};

}  // namespace

std::string padded(Runtime& runtime, std::string_view text, std::int64_t width, Align align,
                   std::string_view fill) {
  const std::int64_t missing = width - static_cast<std::int64_t>(count_characters(text));
  if (missing <= 0) return std::string(text);
  // In the middle format() puts the odd one to the right. (str.center is another matter.)
  const std::int64_t before = align == Align::left ? 0 : align == Align::right ? missing : missing / 2;
  runtime.spend(missing, fill.size());
  std::string out;
  out.reserve(text.size() + static_cast<std::size_t>(missing) * fill.size());
  const auto add_fill = [&](std::int64_t count) {
    if (fill.size() == 1) return void(out.append(static_cast<std::size_t>(count), fill[0]));
    for (std::int64_t i = 0; i < count; ++i) out += fill;
  };
  add_fill(before);
  out += text;
  add_fill(missing - before);
  return out;
}

std::string fixed(double value, int digits) {
  return (std::signbit(value) ? "-" : "") + printed(std::abs(value), 'f', digits, false);
}

Value format_percent(Runtime& runtime, const Text& format, const Value& values) {
  return make_text(Percent(runtime, format, values).run(), format.markup);
}

Value format_braces(Runtime& runtime, const Text& format, const Arguments& arguments) {
  return make_text(Braces(runtime, format, arguments).run(*format.bytes, 1), format.markup);
}

}  // namespace baleen::jinja
