#include "tokenizer/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/builtin.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/strings.h"
#include "tokenizer/jinja/text.h"

namespace baleen::jinja {
namespace {

using Op = Binary::Op;

[[noreturn]] void too_big() {
  fail("an integer beyond 64 bits");
}

std::string_view symbol(Op op) {
  switch (op) {
    case Op::add:
      return "+";
    case Op::subtract:
      return "-";
    case Op::multiply:
      return "*";
    case Op::divide:
      return "/";
    case Op::floor_divide:
      return "//";
    case Op::modulo:
      return "%";
    default:
      return "**";
  }
}

Value whole(Op op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Op::add:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Op::subtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Op::multiply:
      return {multiply(a, b)};
    case Op::power:
      return integer_power(a, b);
    default: {
      if (b == 0) fail("division by zero");
      if (op == Op::divide) return {static_cast<double>(a) / static_cast<double>(b)};
      if (b == -1) return op == Op::modulo ? Value{std::int64_t{0}} : unary(Unary::Op::negate, {a});
      // Rounded down, so that the remainder has the sign of b.
      const bool round_down = a % b != 0 && (a % b < 0) != (b < 0);
      return {op == Op::modulo ? a % b + (round_down ? b : 0) : a / b - (round_down ? 1 : 0)};
    }
  }
  if (overflow) too_big();
  return {result};
}

Value real(Op op, double a, double b) {
  switch (op) {
    case Op::add:
      return {a + b};
    case Op::subtract:
      return {a - b};
    case Op::multiply:
      return {a * b};
    case Op::power: {
      if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
      if (a < 0 && std::isfinite(b) && b != std::floor(b)) fail("a complex number");
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail("a number too large for a float");
      return {result};
    }
    default:
      break;
  }
  if (b == 0) fail("float division by zero");
  if (op == Op::divide) return {a / b};
  // As CPython's float_divmod does it.
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder == 0) {
    remainder = std::copysign(0.0, b);
  } else if ((b < 0) != (remainder < 0)) {
    remainder += b;
    quotient -= 1;
  }
  if (op == Op::modulo) return {remainder};
  if (quotient == 0) return {std::copysign(0.0, a / b)};
  const double floored = std::floor(quotient);
  return {quotient - floored > 0.5 ? floored + 1 : floored};
}

Value repeat(Runtime& runtime, const Value& value, std::int64_t count) {
  count = std::max<std::int64_t>(count, 0);
  if (const Text* text = value.get<Text>()) {
    runtime.spend(count, text->bytes->size());
    std::string out;
    out.reserve(static_cast<std::size_t>(count) * text->bytes->size());
    if (!text->bytes->empty())
      for (std::int64_t i = 0; i < count; ++i) out += *text->bytes;
    return make_text(std::move(out), text->markup);
  }
  const List& list = *value.list();
  runtime.spend(count, list.items.size() * sizeof(Value));
  std::vector<Value> items;
  items.reserve(static_cast<std::size_t>(count) * list.items.size());
  if (!list.items.empty())
    for (std::int64_t i = 0; i < count; ++i) items.insert(items.end(), list.items.begin(), list.items.end());
  return make_list(std::move(items), list.is_tuple() ? List::Kind::tuple : List::Kind::list);
}

Value concatenate(Runtime& runtime, const Text& a, const Text& b) {
  // markupsafe: what is not marked as safe is escaped when it meets what is.
  const bool markup = a.markup || b.markup;
  Writer out(runtime);
  for (const Text* text : {&a, &b})
    out.add(markup && !text->markup ? escape_html(runtime, *text->bytes) : *text->bytes);
  return make_text(out.take(), markup);
}

Value join(Runtime& runtime, const List& a, const List& b) {
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return runtime.list(std::move(items), a.is_tuple() ? List::Kind::tuple : List::Kind::list);
}

void check_defined(const Value& value) {
  if (const Undefined* missing = value.get<Undefined>()) fail(*missing->why);
}

std::optional<Value> item_at(Runtime& runtime, const Value& object, std::int64_t index) {
  const auto size = length(runtime, object);
  if (!size) return std::nullopt;
  if (index < 0) index += static_cast<std::int64_t>(*size);
  if (index < 0 || index >= static_cast<std::int64_t>(*size)) return std::nullopt;
  const std::size_t at = static_cast<std::size_t>(index);
  if (const std::string* text = object.text()) {
    const std::size_t begin = byte_offset(*text, at);
    return runtime.text(text->substr(begin, byte_offset(std::string_view(*text).substr(begin), 1)));
  }
  if (const List* list = object.list()) return list->items[at];
  if (const Range* range = object.get<Range>()) return Value{range->at(index)};
  return std::nullopt;
}

// object[key], or nothing where Python raises TypeError or LookupError.
std::optional<Value> subscript(Runtime& runtime, const Value& object, const Value& key) {
  check_defined(object);
  if (const Dict* dict = object.dict()) {
    if ((key.list() && !key.list()->is_tuple()) || key.dict()) return std::nullopt;
    const Value* found = find(runtime, *dict, key);
    return found ? std::optional(*found) : std::nullopt;
  }
  const auto index = key.integer();
  return index ? item_at(runtime, object, *index) : std::nullopt;
}

Value nothing_at(Runtime& runtime, const Value& object, const Value& key) {
  const std::string* name = key.text();
  const std::string type(type_name(object));
  if (name) return runtime.undefined("'" + type + " object' has no attribute '" + *name + "'");
  return runtime.undefined(type + " object has no element " + to_repr(runtime, key));
}

struct Bounds {
  std::int64_t start, stop, step, count;
};

// Python's slice.indices() for `size` items.
Bounds bounds(std::int64_t size, const Value& start, const Value& stop, const Value& step) {
  const auto whole_or = [](const Value& value, std::int64_t otherwise) {
    if (value.is_none()) return otherwise;
    check_defined(value);
    if (!value.integer()) fail("slice indices must be integers, not " + std::string(type_name(value)));
    return *value.integer();
  };
  Bounds b{};
  b.step = std::max<std::int64_t>(whole_or(step, 1), -INT64_MAX);
  if (b.step == 0) fail("slice step cannot be zero");
  const std::int64_t low = b.step < 0 ? -1 : 0, high = b.step < 0 ? size - 1 : size;
  const auto clamped = [&](const Value& value, std::int64_t otherwise) {
    std::int64_t at = whole_or(value, otherwise);
    if (value.is_none()) return at;
    if (at < 0) at = at < -size ? low : at + size;
    return std::clamp(at, low, high);
  };
  b.start = clamped(start, b.step < 0 ? high : low);
  b.stop = clamped(stop, b.step < 0 ? low : high);
  b.count = Range{b.start, b.stop, b.step}.size();
  return b;
}

Value slice_text(Runtime& runtime, const Text& text, const Bounds& b) {
  const std::string_view bytes = *text.bytes;
  if (b.step == 1) {
    const std::size_t begin = byte_offset(bytes, static_cast<std::size_t>(b.start));
    const std::size_t size = byte_offset(bytes.substr(begin), static_cast<std::size_t>(b.count));
    return runtime.text(std::string(bytes.substr(begin, size)), text.markup);
  }
  runtime.step(bytes.size() / 8);
  const auto all = characters(bytes);
  std::string out;
  for (std::int64_t i = 0; i < b.count; ++i) out += all[static_cast<std::size_t>(b.start + i * b.step)];
  return runtime.text(std::move(out), text.markup);
}

}  // namespace

std::int64_t multiply(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) too_big();
  return result;
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) return real(Op::power, static_cast<double>(base), static_cast<double>(exponent));
  std::int64_t result = 1;
  // By squaring, without squaring once more than is used: that could be too big.
  while (true) {
    if (exponent & 1) result = multiply(result, base);
    exponent >>= 1;
    if (exponent == 0) return {result};
    base = multiply(base, base);
  }
}

Value binary(Runtime& runtime, Op op, const Value& a, const Value& b) {
  // Formatting takes anything, undefined too.
  if (const Text* text = a.get<Text>(); text && op == Op::modulo) {
    runtime.go_through(text->bytes->size());
    return format_percent(runtime, *text, b);
  }
  check_defined(a);
  check_defined(b);
  const auto x = a.integer(), y = b.integer();
  if (x && y) return whole(op, *x, *y);
  if (is_number(a) && is_number(b)) return real(op, to_double(a), to_double(b));
  if (op == Op::multiply && y && (a.text() || a.list())) return repeat(runtime, a, *y);
  if (op == Op::multiply && x && (b.text() || b.list())) return repeat(runtime, b, *x);
  if (op == Op::add && a.text() && b.text()) return concatenate(runtime, *a.get<Text>(), *b.get<Text>());
  if (op == Op::add && a.list() && b.list() && a.list()->is_tuple() == b.list()->is_tuple())
    return join(runtime, *a.list(), *b.list());
  fail("unsupported operands for " + std::string(symbol(op)) + ": '" + std::string(type_name(a)) + "' and '" +
       std::string(type_name(b)) + "'");
}

Value unary(Unary::Op op, const Value& value) {
  if (op == Unary::Op::invert) return {!is_true(value)};
  check_defined(value);
  const bool negative = op == Unary::Op::negate;
  if (const double* d = value.get<double>()) return {negative ? -*d : *d};
  const auto i = value.integer();
  if (!i)
    fail(std::string("bad operand for unary ") + (negative ? "-" : "+") + ": '" +
         std::string(type_name(value)) + "'");
  if (negative && *i == INT64_MIN) too_big();
  return {negative ? -*i : *i};
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (const std::string* text = container.text()) {
    if (!item.text()) fail("'in' a string takes a string, not " + std::string(type_name(item)));
    runtime.go_through(text->size() + item.text()->size());
    return find_text(*text, *item.text()) != text->npos;
  }
  if (const Dict* dict = container.dict()) return find(runtime, *dict, item) != nullptr;
  if (const Range* range = container.get<Range>(); range && item.integer())
    return range->contains(*item.integer());
  if (const View* view = container.get<View>(); view && view->of == View::Of::keys)
    return find(runtime, *view->dict, item) != nullptr;
  const Iterator iterator = iterate(container);
  while (const auto candidate = iterator.next())
    if (same_object(*candidate, item) || equal(runtime, *candidate, item)) return true;
  return false;
}

bool compare(Runtime& runtime, Comparison::Op op, const Value& a, const Value& b) {
  using Compare = Comparison::Op;
  switch (op) {
    case Compare::equal:
      return equal(runtime, a, b);
    case Compare::not_equal:
      return !equal(runtime, a, b);
    case Compare::less:
      return ordered(runtime, Order::less, a, b);
    case Compare::less_equal:
      return ordered(runtime, Order::less_equal, a, b);
    case Compare::greater:
      return ordered(runtime, Order::greater, a, b);
    case Compare::greater_equal:
      return ordered(runtime, Order::greater_equal, a, b);
    case Compare::in:
      return contains(runtime, b, a);
    default:
      return !contains(runtime, b, a);
  }
}

Value get_attribute(Runtime& runtime, const Value& object, const std::string& name) {
  check_defined(object);
  if (auto found = find_attribute(runtime, object, name)) return std::move(*found);
  if (const Dict* dict = object.dict())
    if (const Value* found = find(runtime, *dict, name)) return *found;
  return runtime.undefined("'" + std::string(type_name(object)) + " object' has no attribute '" + name + "'");
}

Value get_item(Runtime& runtime, const Value& object, const Value& key) {
  if (auto found = subscript(runtime, object, key)) return std::move(*found);
  if (const std::string* name = key.text())
    if (auto found = find_attribute(runtime, object, *name)) return std::move(*found);
  return nothing_at(runtime, object, key);
}

Value slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step) {
  check_defined(object);
  const auto size = length(runtime, object);
  const Range* range = object.get<Range>();
  if (!size || !(object.text() || object.list() || range))
    fail("'" + std::string(type_name(object)) + "' object cannot be sliced");
  const Bounds b = bounds(static_cast<std::int64_t>(*size), start, stop, step);
  if (const Text* text = object.get<Text>()) return slice_text(runtime, *text, b);
  if (range) return {Range{range->at(b.start), range->at(b.stop), multiply(range->step, b.step)}};
  std::vector<Value> items;
  for (std::int64_t i = 0; i < b.count; ++i)
    items.push_back(object.list()->items[static_cast<std::size_t>(b.start + i * b.step)]);
  return runtime.list(std::move(items), object.list()->is_tuple() ? List::Kind::tuple : List::Kind::list);
}

}  // namespace baleen::jinja
