// How filters, tests, methods and global functions are declared: a row of a table with a name, Python's
// parameter names, and the code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/runtime.h"
#include "tokenizer/jinja/value.h"

namespace baleen::jinja {

// Arguments in the order of the parameters. The first is what a filter, a test or a method is applied to.
class Call {
 public:
  Call(std::string_view function, std::string_view parameters, Arguments arguments);

  const Value& operator[](std::size_t at) const;  // a parameter that must be given
  bool has(std::size_t at) const { return at < bound_.size() && bound_[at].has_value(); }
  Value value_or(std::size_t at, Value otherwise) const { return has(at) ? (*this)[at] : otherwise; }
  bool given_not_none(std::size_t at) const { return has(at) && !(*this)[at].is_none(); }

  // Typed; each fails naming the function and what it was given.
  const std::string& text(std::size_t at) const;
  std::string text_or(std::size_t at, std::string otherwise) const;
  std::int64_t integer(std::size_t at) const;
  std::int64_t integer_or(std::size_t at, std::int64_t otherwise) const;
  bool flag(std::size_t at) const;  // false if not given

  Arguments& rest() { return rest_; }  // what "*" takes

 private:
  [[noreturn]] void wrong(std::size_t at, std::string_view expected) const;
  std::string_view function_;
  std::vector<std::optional<Value>> bound_;
  Arguments rest_;
};

struct Builtin {
  std::string_view name;
  // Names separated by spaces; `name?` may be left out, a final `*` takes all others, a final `/` says that
  // none may be given by name.
  std::string_view parameters;
  Value (*run)(Runtime&, Call&);
};

const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
std::optional<Value> find_global(std::string_view name);
void check_namespace_name(std::string_view name);  // fails for those that begin with "_", as in transformers

Value apply(Runtime& runtime, const Builtin& builtin, Arguments arguments);
Value apply_filter(Runtime& runtime, std::string_view name, Arguments arguments);
bool apply_test(Runtime& runtime, std::string_view name, Arguments arguments);

// The attribute Python's getattr would find: a method, or a field of a namespace or `loop`. A method that
// would change its object is an Undefined that says so.
std::optional<Value> find_attribute(Runtime& runtime, const Value& object, std::string_view name);

// text.METHOD(arguments), for filters that are a method by another name.
Value call_method(Runtime& runtime, const Text& text, std::string_view method, std::vector<Value> arguments);

}  // namespace baleen::jinja
