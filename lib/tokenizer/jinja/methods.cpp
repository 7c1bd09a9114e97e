// The attributes of values: Python's methods of str, list, tuple and dict, as far as the sandbox lets them be
// called, and the fields of namespaces and other objects.
#include <algorithm>
#include <array>
#include <cmath>

#include "tokenizer/jinja/builtin.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/strings.h"
#include "tokenizer/jinja/text.h"

namespace baleen::jinja {
namespace {

// Texts. What comes out of a Markup is one too, and what goes into it is escaped.

const Text& self(const Call& call) {
  return *call[0].get<Text>();
}

Value like_self(Runtime& runtime, const Call& call, std::string text) {
  return runtime.text(std::move(text), self(call).markup);
}

// Argument `at` as it may be mixed into the text.
std::string mixed_in(Runtime& runtime, const Call& call, const Value& value) {
  const Text* text = value.get<Text>();
  if (!text) fail("expected a string, found " + std::string(type_name(value)));
  return self(call).markup && !text->markup ? escape_html(runtime, *text->bytes) : *text->bytes;
}

template <std::string change(std::string_view)>
Value changed(Runtime& runtime, Call& call) {
  return like_self(runtime, call, change(call.text(0)));
}

template <Class which>
Value is_class(Runtime&, Call& call) {
  return {is_all(call.text(0), which)};
}

template <Side side>
Value stripped(Runtime& runtime, Call& call) {
  std::optional<std::string_view> chars;
  if (call.given_not_none(1)) chars = call.text(1);
  return like_self(runtime, call, std::string(strip(call.text(0), side, chars)));
}

Value texts(Runtime& runtime, const Call& call, const std::vector<std::string_view>& pieces,
            List::Kind kind) {
  runtime.spend(pieces.size() * sizeof(std::string));
  std::vector<Value> items;
  for (const std::string_view piece : pieces) items.push_back(like_self(runtime, call, std::string(piece)));
  return runtime.list(std::move(items), kind);
}

template <bool from_right>
Value split_text(Runtime& runtime, Call& call) {
  std::optional<std::string_view> separator;
  if (call.given_not_none(1)) separator = call.text(1);
  if (separator && separator->empty()) fail("empty separator");
  return texts(runtime, call, split(call.text(0), separator, call.integer_or(2, -1), from_right),
               List::Kind::list);
}

Value lines(Runtime& runtime, Call& call) {
  return texts(runtime, call, split_lines(call.text(0), call.integer_or(1, 0) != 0), List::Kind::list);
}

template <bool from_right>
Value partition(Runtime& runtime, Call& call) {
  const std::string_view text = call.text(0), separator = call.text(1);
  if (separator.empty()) fail("empty separator");
  const std::size_t at = from_right ? find_last_text(text, separator) : find_text(text, separator);
  std::vector<std::string_view> three = {text, "", ""};
  if (at != text.npos) three = {text.substr(0, at), separator, text.substr(at + separator.size())};
  if (at == text.npos && from_right) std::swap(three[0], three[2]);
  return texts(runtime, call, three, List::Kind::tuple);
}

// The part of the text that `start` and `end` leave, as slices count; none if start lies behind the end.
struct Window {
  std::string_view text;
  std::size_t before;  // characters
};
std::optional<Window> window(const Call& call, std::size_t start_at) {
  const std::string_view text = call.text(0);
  const auto size = static_cast<std::int64_t>(count_characters(text));
  const auto bound = [&](std::size_t at, std::int64_t otherwise) {
    if (!call.given_not_none(at)) return otherwise;
    const std::int64_t given = call.integer(at);
    return given < 0 ? std::max<std::int64_t>(given + size, 0) : given;
  };
  const std::int64_t start = bound(start_at, 0), end = std::min(bound(start_at + 1, size), size);
  if (start > end) return std::nullopt;
  const std::size_t from = byte_offset(text, static_cast<std::size_t>(start));
  const std::size_t bytes = byte_offset(text.substr(from), static_cast<std::size_t>(end - start));
  return Window{text.substr(from, bytes), static_cast<std::size_t>(start)};
}

template <bool from_right, bool must_be_there>
Value position(Runtime&, Call& call) {
  const auto where = window(call, 2);
  const std::string& part = call.text(1);
  const std::size_t at = !where       ? std::string_view::npos
                         : from_right ? find_last_text(where->text, part)
                                      : find_text(where->text, part);
  if (at == std::string_view::npos && must_be_there) fail("substring not found");
  if (at == std::string_view::npos) return {std::int64_t{-1}};
  return {static_cast<std::int64_t>(where->before + count_characters(where->text.substr(0, at)))};
}

Value count_in_text(Runtime&, Call& call) {
  const auto where = window(call, 2);
  return {where ? static_cast<std::int64_t>(count_occurrences(where->text, call.text(1))) : std::int64_t{0}};
}

template <bool at_end>
Value has_affix(Runtime& runtime, Call& call) {
  const auto where = window(call, 2);
  const auto fits = [&](const Value& affix) {
    if (!affix.text())
      fail("expected a string or a tuple of strings, found " + std::string(type_name(affix)));
    runtime.step();
    runtime.go_through(affix.text()->size());
    return where && (at_end ? where->text.ends_with(*affix.text()) : where->text.starts_with(*affix.text()));
  };
  const List* several = call[1].list();
  if (several && several->is_tuple())
    return {std::any_of(several->items.begin(), several->items.end(), fits)};
  return {fits(call[1])};
}

template <bool at_end>
Value without_affix(Runtime& runtime, Call& call) {
  std::string_view text = call.text(0);
  const std::string& affix = call.text(1);
  if (at_end ? text.ends_with(affix) : text.starts_with(affix)) {
    text.remove_prefix(at_end ? 0 : affix.size());
    text.remove_suffix(at_end ? affix.size() : 0);
  }
  return like_self(runtime, call, std::string(text));
}

Value replaced(Runtime& runtime, Call& call) {
  std::string_view text = call.text(0);
  const std::string old = mixed_in(runtime, call, call[1]), by = mixed_in(runtime, call, call[2]);
  std::int64_t left = call.integer_or(3, -1);
  Writer out(runtime);
  if (old.empty()) {  // between all characters
    for (const std::string_view c : characters(text)) {
      if (left != 0) out.add(by), --left;
      out.add(c);
    }
    if (left != 0) out.add(by);
    return make_text(out.take(), self(call).markup);
  }
  for (std::size_t at = 0; left != 0 && (at = find_text(text, old)) != text.npos; --left) {
    out.add(text.substr(0, at));
    out.add(by);
    text.remove_prefix(at + old.size());
  }
  out.add(text);
  return make_text(out.take(), self(call).markup);
}

Value joined(Runtime& runtime, Call& call) {
  const Iterator iterator = iterate(call[1]);
  Writer out(runtime);
  for (bool is_first = true; const auto item = iterator.next(); is_first = false) {
    runtime.step();
    if (!is_first) out.add(call.text(0));
    out.add(mixed_in(runtime, call, *item));
  }
  return make_text(out.take(), self(call).markup);
}

std::string fill_of(const Call& call) {
  const std::string fill = call.text_or(2, " ");
  if (count_characters(fill) != 1) fail("The fill character must be exactly one character long");
  return fill;
}

template <Align align>
Value justified(Runtime& runtime, Call& call) {
  return like_self(runtime, call, padded(runtime, call.text(0), call.integer(1), align, fill_of(call)));
}

Value centered(Runtime& runtime, Call& call) {
  const std::string fill = fill_of(call);
  const std::int64_t width = call.integer(1),
                     missing = width - static_cast<std::int64_t>(count_characters(call.text(0)));
  if (missing <= 0) return call[0];
  // CPython puts the odd one to the left of a text in an odd width.
  const std::int64_t left = missing / 2 + (missing & width & 1);
  const std::string begun = padded(runtime, call.text(0), width - (missing - left), Align::right, fill);
  return like_self(runtime, call, padded(runtime, begun, width, Align::left, fill));
}

Value zero_filled(Runtime& runtime, Call& call) {
  const std::string& text = call.text(0);
  const bool has_sign = text.starts_with('+') || text.starts_with('-');
  const std::string sign = text.substr(0, has_sign ? 1 : 0);
  return like_self(
      runtime, call,
      sign + padded(runtime, std::string_view(text).substr(sign.size()),
                    call.integer(1) - static_cast<std::int64_t>(sign.size()), Align::right, "0"));
}

Value tabs_expanded(Runtime& runtime, Call& call) {
  const std::int64_t size = call.integer_or(1, 8);
  Writer out(runtime);
  std::int64_t column = 0;
  for (const std::string_view c : characters(call.text(0))) {
    if (c == "\t") {
      const std::int64_t spaces = size > 0 ? size - column % size : 0;
      column += spaces;
      out.add(padded(runtime, "", spaces, Align::left));
      continue;
    }
    column = c == "\n" || c == "\r" ? 0 : column + 1;
    out.add(c);
  }
  return make_text(out.take(), self(call).markup);
}

Value formatted(Runtime& runtime, Call& call) {
  return format_braces(runtime, self(call), call.rest());
}

Value formatted_from_dict(Runtime& runtime, Call& call) {
  const Dict* dict = call[1].dict();
  if (!dict) fail("format_map: expected a dict");
  runtime.step(dict->items.size());
  Arguments arguments;
  for (const auto& [key, value] : dict->items)
    if (key.text()) arguments.named.emplace_back(*key.text(), value);
  return format_braces(runtime, self(call), arguments);
}

// Lists and tuples.

Value count_in_list(Runtime& runtime, Call& call) {
  const auto& items = call[0].list()->items;
  runtime.step(items.size() / 8);
  return {static_cast<std::int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    return same_object(item, call[1]) || equal(runtime, item, call[1]);
  }))};
}

Value index_in_list(Runtime& runtime, Call& call) {
  const auto& items = call[0].list()->items;
  const auto size = static_cast<std::int64_t>(items.size());
  const auto bound = [&](std::size_t at, std::int64_t otherwise) {
    const std::int64_t given = call.integer_or(at, otherwise);
    return std::clamp<std::int64_t>(given < 0 ? given + size : given, 0, size);
  };
  const std::int64_t end = bound(3, size);
  for (std::int64_t i = bound(2, 0); i < end; ++i)
    if (const Value& item = items[static_cast<std::size_t>(i)];
        same_object(item, call[1]) || equal(runtime, item, call[1]))
      return {i};
  fail("the value is not in the list");
}

std::optional<std::int64_t> place_in_range(Runtime& runtime, const Range& range, const Value& value) {
  if (const auto whole = value.integer()) {
    if (!range.contains(*whole)) return std::nullopt;
    // In unsigned arithmetic: the distance may not fit.
    const auto from = static_cast<std::uint64_t>(range.start), to = static_cast<std::uint64_t>(*whole),
               step = static_cast<std::uint64_t>(range.step);
    return static_cast<std::int64_t>(range.step > 0 ? (to - from) / step : (from - to) / -step);
  }
  for (std::int64_t i = 0; i < range.size(); ++i)
    if (equal(runtime, {range.at(i)}, value)) return i;
  return std::nullopt;
}

Value count_in_range(Runtime& runtime, Call& call) {
  return {std::int64_t{place_in_range(runtime, *call[0].get<Range>(), call[1]) ? 1 : 0}};
}

Value index_in_range(Runtime& runtime, Call& call) {
  const auto place = place_in_range(runtime, *call[0].get<Range>(), call[1]);
  if (!place) fail("the value is not in the range");
  return {*place};
}

Value copied(Runtime&, Call& call) {
  return call[0];  // nothing can tell it from a copy
}

// Dicts.

const std::shared_ptr<const Dict>& dict_of(const Call& call) {
  return *call[0].get<std::shared_ptr<const Dict>>();
}

template <View::Of of>
Value viewed(Runtime&, Call& call) {
  return {View{of, dict_of(call)}};
}

Value get_from_dict(Runtime& runtime, Call& call) {
  const Value* found = find(runtime, *dict_of(call), call[1]);
  return found ? *found : call.value_or(2, {None()});
}

// Numbers.

Value is_whole(Runtime&, Call& call) {
  const double value = to_double(call[0]);
  return {std::isfinite(value) && value == std::floor(value)};
}

Value bit_length(Runtime&, Call& call) {
  const std::int64_t value = call.integer(0);
  std::int64_t bits = 0;
  for (auto rest = value < 0 ? -static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
       rest > 0; rest >>= 1U)
    ++bits;
  return {bits};
}

// Methods that exist, so that an attribute of that name is not a key of the dict, but that nothing is done
// for.
Value unsupported(Runtime&, Call&) {
  fail("this method is not supported");
}

enum class Type { text, list, tuple, range, dict, integer, real };

struct Method {
  Type type;
  Builtin builtin;  // run is null if it would change the object, which the sandbox refuses
};

constexpr std::array kMethods = std::to_array<Method>({
    {Type::text, {"capitalize", "self /", changed<capitalize>}},
    {Type::text, {"casefold", "self /", changed<case_fold>}},
    {Type::text, {"center", "self width fill? /", centered}},
    {Type::text, {"count", "self sub start? end? /", count_in_text}},
    {Type::text, {"encode", "self *", unsupported}},
    {Type::text, {"endswith", "self suffix start? end? /", has_affix<true>}},
    {Type::text, {"expandtabs", "self tabsize?", tabs_expanded}},
    {Type::text, {"find", "self sub start? end? /", position<false, false>}},
    {Type::text, {"format", "self *", formatted}},
    {Type::text, {"format_map", "self mapping /", formatted_from_dict}},
    {Type::text, {"index", "self sub start? end? /", position<false, true>}},
    {Type::text, {"isalnum", "self /", is_class<Class::alnum>}},
    {Type::text, {"isalpha", "self /", is_class<Class::alpha>}},
    {Type::text, {"isascii", "self /", is_class<Class::ascii>}},
    {Type::text, {"isdecimal", "self /", is_class<Class::decimal>}},
    {Type::text, {"isdigit", "self /", is_class<Class::digit>}},
    {Type::text, {"isidentifier", "self /", is_class<Class::identifier>}},
    {Type::text, {"islower", "self /", is_class<Class::lower>}},
    {Type::text, {"isnumeric", "self /", is_class<Class::numeric>}},
    {Type::text, {"isprintable", "self /", is_class<Class::printable>}},
    {Type::text, {"isspace", "self /", is_class<Class::space>}},
    {Type::text, {"istitle", "self /", is_class<Class::title>}},
    {Type::text, {"isupper", "self /", is_class<Class::upper>}},
    {Type::text, {"join", "self iterable /", joined}},
    {Type::text, {"ljust", "self width fill? /", justified<Align::left>}},
    {Type::text, {"lower", "self /", changed<lower>}},
    {Type::text, {"lstrip", "self chars? /", stripped<Side::left>}},
    {Type::text, {"maketrans", "self *", unsupported}},
    {Type::text, {"partition", "self sep /", partition<false>}},
    {Type::text, {"removeprefix", "self prefix /", without_affix<false>}},
    {Type::text, {"removesuffix", "self suffix /", without_affix<true>}},
    {Type::text, {"replace", "self old new count? /", replaced}},
    {Type::text, {"rfind", "self sub start? end? /", position<true, false>}},
    {Type::text, {"rindex", "self sub start? end? /", position<true, true>}},
    {Type::text, {"rjust", "self width fill? /", justified<Align::right>}},
    {Type::text, {"rpartition", "self sep /", partition<true>}},
    {Type::text, {"rsplit", "self sep? maxsplit?", split_text<true>}},
    {Type::text, {"rstrip", "self chars? /", stripped<Side::right>}},
    {Type::text, {"split", "self sep? maxsplit?", split_text<false>}},
    {Type::text, {"splitlines", "self keepends?", lines}},
    {Type::text, {"startswith", "self prefix start? end? /", has_affix<false>}},
    {Type::text, {"strip", "self chars? /", stripped<Side::both>}},
    {Type::text, {"swapcase", "self /", changed<swap_case>}},
    {Type::text, {"title", "self /", changed<title>}},
    {Type::text, {"translate", "self *", unsupported}},
    {Type::text, {"upper", "self /", changed<upper>}},
    {Type::text, {"zfill", "self width /", zero_filled}},
    {Type::list, {"append", "", nullptr}},
    {Type::list, {"clear", "", nullptr}},
    {Type::list, {"copy", "self /", copied}},
    {Type::list, {"count", "self value /", count_in_list}},
    {Type::list, {"extend", "", nullptr}},
    {Type::list, {"index", "self value start? stop? /", index_in_list}},
    {Type::list, {"insert", "", nullptr}},
    {Type::list, {"pop", "", nullptr}},
    {Type::list, {"remove", "", nullptr}},
    {Type::list, {"reverse", "", nullptr}},
    {Type::list, {"sort", "", nullptr}},
    {Type::tuple, {"count", "self value /", count_in_list}},
    {Type::tuple, {"index", "self value start? stop? /", index_in_list}},
    {Type::range, {"count", "self value /", count_in_range}},
    {Type::range, {"index", "self value /", index_in_range}},
    {Type::dict, {"clear", "", nullptr}},
    {Type::dict, {"copy", "self /", copied}},
    {Type::dict, {"fromkeys", "self *", unsupported}},
    {Type::dict, {"get", "self key default? /", get_from_dict}},
    {Type::dict, {"items", "self /", viewed<View::Of::items>}},
    {Type::dict, {"keys", "self /", viewed<View::Of::keys>}},
    {Type::dict, {"pop", "", nullptr}},
    {Type::dict, {"popitem", "", nullptr}},
    {Type::dict, {"setdefault", "", nullptr}},
    {Type::dict, {"update", "", nullptr}},
    {Type::dict, {"values", "self /", viewed<View::Of::values>}},
    {Type::integer, {"bit_length", "self /", bit_length}},
    {Type::real, {"is_integer", "self /", is_whole}},
});

std::optional<Type> type_of(const Value& value) {
  if (value.text()) return Type::text;
  if (const List* list = value.list()) return list->is_tuple() ? Type::tuple : Type::list;
  if (value.get<Range>()) return Type::range;
  if (value.dict()) return Type::dict;
  if (value.integer()) return Type::integer;
  if (value.get<double>()) return Type::real;
  return std::nullopt;
}

const Builtin* find_method(Type type, std::string_view name) {
  const auto at = std::find_if(kMethods.begin(), kMethods.end(),
                               [&](const Method& m) { return m.type == type && m.builtin.name == name; });
  return at == kMethods.end() ? nullptr : &at->builtin;
}

Value bound(const Value& object, const Builtin& method) {
  return make_function(
      "<built-in method " + std::string(method.name) + ">",
      [object, &method](Runtime& runtime, Arguments arguments) {
        arguments.positional.insert(arguments.positional.begin(), object);
        return apply(runtime, method, std::move(arguments));
      },
      depth_of(object) + 1);
}

}  // namespace

std::optional<Value> find_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (const Undefined* missing = object.get<Undefined>()) fail(*missing->why);
  if (const auto* names = object.get<std::shared_ptr<Namespace>>()) {
    runtime.step((*names)->attributes.size() / 8);
    for (const auto& [key, value] : (*names)->attributes)
      if (key == name) return value;
    return std::nullopt;
  }
  if (const auto* native = object.get<std::shared_ptr<const Native>>())
    return (*native)->attribute ? (*native)->attribute(name) : std::nullopt;
  const List* list = object.list();
  if (list && list->kind == List::Kind::group && (name == "grouper" || name == "list"))
    return list->items[name == "grouper" ? 0 : 1];
  const auto type = type_of(object);
  if (is_number(object) && (name == "real" || name == "imag")) {
    if (name == "real") return binary(runtime, Binary::Op::add, object, {std::int64_t{0}});
    return object.integer() ? Value{std::int64_t{0}} : Value{0.0};
  }
  const Builtin* method = type ? find_method(*type, name) : nullptr;
  if (!method) return std::nullopt;
  if (!method->run)
    return undefined("access to attribute '" + std::string(name) + "' of '" + std::string(type_name(object)) +
                     "' object is unsafe: it would change it");
  return bound(object, *method);
}

Value call_method(Runtime& runtime, const Text& text, std::string_view method, std::vector<Value> arguments) {
  arguments.insert(arguments.begin(), {text});
  return apply(runtime, *find_method(Type::text, method), {std::move(arguments), {}});
}

}  // namespace baleen::jinja
