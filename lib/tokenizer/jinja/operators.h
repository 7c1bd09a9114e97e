// Python's operators, subscripts and slices on values.
#pragma once

#include <optional>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/runtime.h"

namespace baleen::jinja {

Value binary(Runtime& runtime, Binary::Op op, const Value& a, const Value& b);  // but for and, or
Value unary(Unary::Op op, const Value& value);
bool compare(Runtime& runtime, Comparison::Op op, const Value& a, const Value& b);
bool contains(Runtime& runtime, const Value& container, const Value& item);

Value get_attribute(Runtime& runtime, const Value& object, const std::string& name);  // object.name
Value get_item(Runtime& runtime, const Value& object, const Value& key);              // object[key]

// A missing bound is none.
Value slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step);

std::int64_t multiply(std::int64_t a, std::int64_t b);  // fails beyond 64 bits
Value integer_power(std::int64_t base, std::int64_t exponent);

}  // namespace baleen::jinja
