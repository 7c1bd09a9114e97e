#include "tokenizer/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <compare>

#include "tokenizer/jinja/overload.h"
#include "tokenizer/jinja/runtime.h"
#include "tokenizer/jinja/strings.h"
#include "tokenizer/unicode.h"

namespace baleen::jinja {
namespace {

int deepest(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  return depth;
}

int checked(int depth) {
  if (depth > kMaxDepth)
    fail("values are nested more than " + std::to_string(kMaxDepth) + " deep, the limit");
  return depth;
}

// Every int64_t and every double is a long double on x86-64; elsewhere the compiler's 128-bit one does too.
long double exact(const Value& number) {
  if (const double* d = number.get<double>()) return *d;
  return static_cast<long double>(*number.integer());
}

bool equal_texts(Runtime& runtime, std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  runtime.go_through(a.size());
  return a == b;
}

bool equal_items(Runtime& runtime, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  runtime.step(a.size() / 8);
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](const Value& x, const Value& y) {
    return same_object(x, y) || equal(runtime, x, y);
  });
}

bool equal_dicts(Runtime& runtime, const Dict& a, const Dict& b) {
  return a.items.size() == b.items.size() &&
         std::all_of(a.items.begin(), a.items.end(), [&](const auto& item) {
           const Value* other = find(runtime, b, item.first);
           return other && (same_object(item.second, *other) || equal(runtime, item.second, *other));
         });
}

bool equal_ranges(const Range& a, const Range& b) {
  const std::int64_t size = a.size();
  return size == b.size() && (size == 0 || (a.start == b.start && (size == 1 || a.step == b.step)));
}

// The length of what has one, but for texts, whose characters have to be counted.
std::optional<std::size_t> item_count(const Value& value) {
  if (const List* list = value.list()) return list->items.size();
  if (const Dict* dict = value.dict()) return dict->items.size();
  if (const View* view = value.get<View>()) return view->dict->items.size();
  if (const Range* range = value.get<Range>()) return static_cast<std::size_t>(range->size());
  if (value.is_undefined()) return 0;
  if (const auto* native = value.get<std::shared_ptr<const Native>>(); native && (*native)->length)
    return (*native)->length();
  return std::nullopt;
}

std::string_view symbol(Order order) {
  switch (order) {
    case Order::less:
      return "<";
    case Order::less_equal:
      return "<=";
    case Order::greater:
      return ">";
    default:
      return ">=";
  }
}

// The answer to `a ORDER b` for values that compare three ways; unordered (NaN) is never true.
bool holds(Order order, std::partial_ordering compared) {
  switch (order) {
    case Order::less:
      return compared < 0;
    case Order::less_equal:
      return compared <= 0;
    case Order::greater:
      return compared > 0;
    default:
      return compared >= 0;
  }
}

Value item_of(const View& view, std::size_t at) {
  const auto& [key, value] = view.dict->items[at];
  if (view.of == View::Of::keys) return key;
  if (view.of == View::Of::values) return value;
  return make_tuple({key, value});
}

// Counts through `size` items made by `at`.
template <typename At>
Iterator counted(int depth, std::size_t size, At at) {
  return {[at = std::move(at), size, i = std::size_t{0}]() mutable -> std::optional<Value> {
            if (i == size) return std::nullopt;
            return at(i++);
          },
          depth};
}

Iterator iterate_text(const Text& text) {
  return {[bytes = text.bytes, at = std::size_t{0}]() mutable -> std::optional<Value> {
            if (at >= bytes->size()) return std::nullopt;
            const std::size_t begin = at;
            at += unicode::length((*bytes)[begin]);
            return make_text(bytes->substr(begin, at - begin));
          },
          1};
}

}  // namespace

void fail(std::string message, std::size_t line) {
  throw Failure{std::move(message), line};
}

std::int64_t Range::size() const {
  // In unsigned arithmetic: stop - start may not fit.
  const auto distance = static_cast<std::uint64_t>(step > 0 ? stop : start) -
                        static_cast<std::uint64_t>(step > 0 ? start : stop);
  if (step > 0 ? start >= stop : start <= stop) return 0;
  const std::uint64_t stride =
      step > 0 ? static_cast<std::uint64_t>(step) : -static_cast<std::uint64_t>(step);
  const std::uint64_t count = (distance - 1) / stride + 1;
  return static_cast<std::int64_t>(std::min<std::uint64_t>(count, INT64_MAX));
}

bool Range::contains(std::int64_t value) const {
  if (step > 0 ? value < start || value >= stop : value > start || value <= stop) return false;
  const auto distance = static_cast<std::uint64_t>(value) - static_cast<std::uint64_t>(start);
  return step > 0 ? distance % static_cast<std::uint64_t>(step) == 0
                  : (-distance) % (-static_cast<std::uint64_t>(step)) == 0;
}

const List* Value::list() const {
  const auto* p = get<std::shared_ptr<const List>>();
  return p ? p->get() : nullptr;
}

const Dict* Value::dict() const {
  const auto* p = get<std::shared_ptr<const Dict>>();
  return p ? p->get() : nullptr;
}

std::optional<std::int64_t> Value::integer() const {
  if (const auto* i = get<std::int64_t>()) return *i;
  if (const auto* b = get<bool>()) return *b ? 1 : 0;
  return std::nullopt;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : items)
    if (const std::string* text = name.text(); text && *text == key) return &value;
  return nullptr;
}

Value undefined(std::string why) {
  return {Undefined{std::make_shared<const std::string>(std::move(why))}};
}

Value make_text(std::string bytes, bool markup) {
  return {Text{std::make_shared<const std::string>(std::move(bytes)), markup}};
}

Value make_list(std::vector<Value> items, List::Kind kind) {
  const int depth = checked(deepest(items) + 1);
  return {std::make_shared<const List>(List{kind, std::move(items), depth})};
}

Value make_tuple(std::vector<Value> items) {
  return make_list(std::move(items), List::Kind::tuple);
}

Value make_dict(std::vector<std::pair<Value, Value>> items) {
  int depth = 0;
  for (const auto& [key, value] : items) depth = std::max({depth, depth_of(key), depth_of(value)});
  return {std::make_shared<const Dict>(Dict{std::move(items), checked(depth + 1)})};
}

Value make_iterator(int source_depth, std::function<std::optional<Value>()> next) {
  return {std::make_shared<Iterator>(Iterator{std::move(next), checked(source_depth + 1)})};
}

Value make_function(std::string name, std::function<Value(Runtime&, Arguments)> call, int depth) {
  return {
      std::make_shared<const Native>(Native{std::move(name), std::move(call), {}, {}, checked(depth), {}})};
}

int depth_of(const Value& value) {
  if (const List* list = value.list()) return list->depth;
  if (const Dict* dict = value.dict()) return dict->depth;
  if (const View* view = value.get<View>()) return view->dict->depth + 1;
  if (const auto* iterator = value.get<std::shared_ptr<Iterator>>()) return (*iterator)->depth;
  if (const auto* native = value.get<std::shared_ptr<const Native>>()) return (*native)->depth;
  return 0;
}

std::string_view type_name(const Value& value) {
  if (const List* list = value.list()) return list->is_tuple() ? "tuple" : "list";
  return std::visit(Overload{[](const Undefined&) { return "Undefined"; },
                             [](const None&) { return "NoneType"; }, [](bool) { return "bool"; },
                             [](std::int64_t) { return "int"; }, [](double) { return "float"; },
                             [](const Text& text) { return text.markup ? "Markup" : "str"; },
                             [](const Range&) { return "range"; }, [](const View&) { return "dict view"; },
                             [](const std::shared_ptr<const List>&) { return "list"; },
                             [](const std::shared_ptr<const Dict>&) { return "dict"; },
                             [](const std::shared_ptr<Iterator>&) { return "generator"; },
                             [](const std::shared_ptr<Namespace>&) { return "Namespace"; },
                             [](const std::shared_ptr<const Native>&) { return "function"; }},
                    value.data);
}

bool is_number(const Value& value) {
  return value.get<double>() || value.integer();
}

double to_double(const Value& number) {
  if (const double* d = number.get<double>()) return *d;
  return static_cast<double>(*number.integer());
}

bool is_true(const Value& value) {
  if (const bool* b = value.get<bool>()) return *b;
  if (is_number(value)) return to_double(value) != 0;
  if (value.is_none()) return false;
  if (const std::string* text = value.text()) return !text->empty();
  const auto count = item_count(value);
  return !count || *count > 0;
}

bool equal(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step();
  if (is_number(a) && is_number(b)) return exact(a) == exact(b);
  if (const std::string* x = a.text()) {
    const std::string* y = b.text();
    return y && equal_texts(runtime, *x, *y);
  }
  if (const List* x = a.list()) {
    const List* y = b.list();
    return y && x->is_tuple() == y->is_tuple() && equal_items(runtime, x->items, y->items);
  }
  if (const Dict* x = a.dict()) {
    const Dict* y = b.dict();
    return y && equal_dicts(runtime, *x, *y);
  }
  if (const Range* x = a.get<Range>()) {
    const Range* y = b.get<Range>();
    return y && equal_ranges(*x, *y);
  }
  return same_object(a, b);
}

bool same_object(const Value& a, const Value& b) {
  if (a.data.index() != b.data.index()) return false;
  return std::visit(Overload{[](const Undefined&) { return true; }, [](const None&) { return true; },
                             [&](const Text& text) { return text.bytes == b.get<Text>()->bytes; },
                             [](const Range&) { return false; },
                             [&](const View& view) {
                               const View* other = b.get<View>();
                               return view.of == other->of && view.dict == other->dict;
                             },
                             [&](const auto& x) { return x == std::get<std::decay_t<decltype(x)>>(b.data); }},
                    a.data);
}

bool less(Runtime& runtime, const Value& a, const Value& b) {
  return ordered(runtime, Order::less, a, b);
}

bool ordered(Runtime& runtime, Order order, const Value& a, const Value& b) {
  runtime.step();
  if (a.is_undefined()) fail(*a.get<Undefined>()->why);
  if (b.is_undefined()) fail(*b.get<Undefined>()->why);
  if (is_number(a) && is_number(b)) return holds(order, exact(a) <=> exact(b));
  const std::string *s = a.text(), *t = b.text();
  if (s && t) {
    runtime.go_through(std::min(s->size(), t->size()));
    return holds(order, s->compare(*t) <=> 0);  // byte order of UTF-8 is the order of code points
  }
  const List *x = a.list(), *y = b.list();
  if (!x || !y || x->is_tuple() != y->is_tuple())
    fail("'" + std::string(symbol(order)) + "' does not compare " + std::string(type_name(a)) + " with " +
         std::string(type_name(b)));
  // The first pair that differs decides, else the lengths.
  const std::size_t common = std::min(x->items.size(), y->items.size());
  runtime.step(common / 8);
  for (std::size_t i = 0; i < common; ++i)
    if (!same_object(x->items[i], y->items[i]) && !equal(runtime, x->items[i], y->items[i]))
      return ordered(runtime, order, x->items[i], y->items[i]);
  return holds(order, x->items.size() <=> y->items.size());
}

std::optional<std::size_t> length(Runtime& runtime, const Value& value) {
  const std::string* text = value.text();
  if (!text) return item_count(value);
  runtime.go_through(text->size());
  return count_characters(*text);
}

bool is_iterable(const Value& value) {
  return value.get<std::shared_ptr<Iterator>>() || value.text() ||
         (!value.get<std::shared_ptr<const Native>>() && item_count(value));
}

Iterator iterate(const Value& value) {
  const int depth = depth_of(value);
  if (value.is_undefined()) return {[] { return std::nullopt; }, 1};
  if (const auto* iterator = value.get<std::shared_ptr<Iterator>>())
    return {[shared = *iterator] { return shared->next(); }, depth};
  if (const Text* text = value.get<Text>()) return iterate_text(*text);
  if (const auto* list = value.get<std::shared_ptr<const List>>())
    return counted(depth, (*list)->items.size(), [list = *list](std::size_t i) { return list->items[i]; });
  if (const auto* dict = value.get<std::shared_ptr<const Dict>>())
    return counted(depth, (*dict)->items.size(),
                   [dict = *dict](std::size_t i) { return dict->items[i].first; });
  if (const View* view = value.get<View>())
    return counted(depth, view->dict->items.size(),
                   [view = *view](std::size_t i) { return item_of(view, i); });
  if (const Range* range = value.get<Range>())
    return counted(depth, static_cast<std::size_t>(range->size()),
                   [range = *range](std::size_t i) { return Value{range.at(static_cast<std::int64_t>(i))}; });
  fail("'" + std::string(type_name(value)) + "' object is not iterable");
}

std::vector<Value> to_vector(Runtime& runtime, const Value& value) {
  std::vector<Value> items;
  const Iterator iterator = iterate(value);
  while (auto item = iterator.next()) {
    runtime.step();
    runtime.spend(sizeof(Value));
    items.push_back(std::move(*item));
  }
  return items;
}

void check_hashable(Runtime& runtime, const Value& key) {
  const List* list = key.list();
  if (list && list->is_tuple()) {
    runtime.step(1 + list->items.size() / 8);
    for (const Value& item : list->items) check_hashable(runtime, item);
  } else if (list || key.dict()) {
    fail("a " + std::string(type_name(key)) + " cannot be a key: unhashable type");
  }
}

const Value* find(Runtime& runtime, const Dict& dict, const Value& key) {
  if (const std::string* text = key.text()) return find(runtime, dict, *text);
  check_hashable(runtime, key);
  runtime.step(dict.items.size() / 8);
  for (const auto& [name, value] : dict.items)
    if (!name.text() && (same_object(name, key) || equal(runtime, name, key))) return &value;
  return nullptr;
}

const Value* find(Runtime& runtime, const Dict& dict, std::string_view key) {
  runtime.step(dict.items.size() / 8);
  for (const auto& [name, value] : dict.items)
    if (const std::string* text = name.text(); text && equal_texts(runtime, *text, key)) return &value;
  return nullptr;
}

void assign(Runtime& runtime, std::vector<std::pair<Value, Value>>& items, Value key, Value value) {
  check_hashable(runtime, key);
  runtime.step(1 + items.size() / 8);
  for (auto& [name, old] : items) {
    const std::string *a = name.text(), *b = key.text();
    if (a && b ? equal_texts(runtime, *a, *b)
               : !a && !b && (same_object(name, key) || equal(runtime, name, key))) {
      old = std::move(value);
      return;
    }
  }
  runtime.spend(sizeof(items[0]));
  items.emplace_back(std::move(key), std::move(value));
}

}  // namespace baleen::jinja
