// The tests: what may stand behind `is`.
#include <algorithm>
#include <array>
#include <cmath>

#include "tokenizer/jinja/builtin.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/strings.h"
#include "tokenizer/jinja/text.h"

namespace baleen::jinja {
namespace {

using Compare = Comparison::Op;

template <Compare op>
Value compared(Runtime& runtime, Call& call) {
  return {compare(runtime, op, call[0], call[1])};
}

// Whether value % number == 0.
bool divides(Runtime& runtime, const Value& value, const Value& number, std::int64_t remainder) {
  return equal(runtime, binary(runtime, Binary::Op::modulo, value, number), {remainder});
}

// Python's `is`: it keeps one object of each small integer and short text.
bool is_same(const Value& a, const Value& b) {
  if (const auto* x = a.get<std::int64_t>(), *y = b.get<std::int64_t>(); x && y)
    return *x == *y && *x >= -5 && *x <= 256;
  if (const std::string* x = a.text(), *y = b.text(); x && y && *x == *y && count_characters(*x) <= 1)
    return true;
  return same_object(a, b);
}

bool is_callable(const Value& value) {
  const auto* native = value.get<std::shared_ptr<const Native>>();
  return value.is_undefined() || (native && (*native)->call);
}

bool is_sequence(const Value& value) {
  return value.is_undefined() || value.text() || value.list() || value.dict() || value.get<Range>();
}

bool is_name_of(Runtime& runtime, const Value& value, const Builtin* (*find)(std::string_view)) {
  check_hashable(runtime, value);
  return value.text() && find(*value.text());
}

constexpr std::array kTests = std::to_array<Builtin>({
    {"defined", "value", [](Runtime&, Call& c) { return Value{!c[0].is_undefined()}; }},
    {"undefined", "value", [](Runtime&, Call& c) { return Value{c[0].is_undefined()}; }},
    {"none", "value", [](Runtime&, Call& c) { return Value{c[0].is_none()}; }},
    {"boolean", "value", [](Runtime&, Call& c) { return Value{c[0].get<bool>() != nullptr}; }},
    {"true", "value", [](Runtime&, Call& c) { return Value{c[0].get<bool>() && *c[0].get<bool>()}; }},
    {"false", "value", [](Runtime&, Call& c) { return Value{c[0].get<bool>() && !*c[0].get<bool>()}; }},
    {"integer", "value", [](Runtime&, Call& c) { return Value{c[0].get<std::int64_t>() != nullptr}; }},
    {"float", "value", [](Runtime&, Call& c) { return Value{c[0].get<double>() != nullptr}; }},
    {"number", "value", [](Runtime&, Call& c) { return Value{is_number(c[0])}; }},
    {"string", "value", [](Runtime&, Call& c) { return Value{c[0].text() != nullptr}; }},
    {"mapping", "value", [](Runtime&, Call& c) { return Value{c[0].dict() != nullptr}; }},
    {"sequence", "value", [](Runtime&, Call& c) { return Value{is_sequence(c[0])}; }},
    {"iterable", "value", [](Runtime&, Call& c) { return Value{is_iterable(c[0])}; }},
    {"callable", "value /", [](Runtime&, Call& c) { return Value{is_callable(c[0])}; }},
    {"escaped", "value",
     [](Runtime&, Call& c) { return Value{c[0].get<Text>() && c[0].get<Text>()->markup}; }},
    {"sameas", "value other", [](Runtime&, Call& c) { return Value{is_same(c[0], c[1])}; }},
    {"odd", "value", [](Runtime& r, Call& c) { return Value{divides(r, c[0], {std::int64_t{2}}, 1)}; }},
    {"even", "value", [](Runtime& r, Call& c) { return Value{divides(r, c[0], {std::int64_t{2}}, 0)}; }},
    {"divisibleby", "value num", [](Runtime& r, Call& c) { return Value{divides(r, c[0], c[1], 0)}; }},
    {"lower", "value", [](Runtime& r, Call& c) { return Value{is_all(to_text(r, c[0]), Class::lower)}; }},
    {"upper", "value", [](Runtime& r, Call& c) { return Value{is_all(to_text(r, c[0]), Class::upper)}; }},
    {"filter", "value", [](Runtime& r, Call& c) { return Value{is_name_of(r, c[0], find_filter)}; }},
    {"test", "value", [](Runtime& r, Call& c) { return Value{is_name_of(r, c[0], find_test)}; }},
    {"in", "value seq", compared<Compare::in>},
    {"==", "a b /", compared<Compare::equal>},
    {"eq", "a b /", compared<Compare::equal>},
    {"equalto", "a b /", compared<Compare::equal>},
    {"!=", "a b /", compared<Compare::not_equal>},
    {"ne", "a b /", compared<Compare::not_equal>},
    {">", "a b /", compared<Compare::greater>},
    {"gt", "a b /", compared<Compare::greater>},
    {"greaterthan", "a b /", compared<Compare::greater>},
    {">=", "a b /", compared<Compare::greater_equal>},
    {"ge", "a b /", compared<Compare::greater_equal>},
    {"<", "a b /", compared<Compare::less>},
    {"lt", "a b /", compared<Compare::less>},
    {"lessthan", "a b /", compared<Compare::less>},
    {"<=", "a b /", compared<Compare::less_equal>},
    {"le", "a b /", compared<Compare::less_equal>},
});

}  // namespace

const Builtin* find_test(std::string_view name) {
  const auto at =
      std::find_if(kTests.begin(), kTests.end(), [&](const Builtin& b) { return b.name == name; });
  return at == kTests.end() ? nullptr : &*at;
}

}  // namespace baleen::jinja
