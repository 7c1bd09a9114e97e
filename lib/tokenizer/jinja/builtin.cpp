#include "tokenizer/jinja/builtin.h"

#include <algorithm>

namespace baleen::jinja {
namespace {

struct Parameter {
  std::string_view name;
  bool optional;
};

struct Parameters {
  std::vector<Parameter> all;
  bool takes_rest = false, only_by_position = false;
};

Parameters parse(std::string_view text) {
  Parameters parameters;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word == "*") {
      parameters.takes_rest = true;
    } else if (word == "/") {
      parameters.only_by_position = true;
    } else {
      const bool optional = word.ends_with('?');
      if (optional) word.remove_suffix(1);
      parameters.all.push_back({word, optional});
    }
  }
  return parameters;
}

// What a builtin does takes time in proportion to the texts it is given: that is counted here, once for all,
// and fourfold, as many take them apart into characters. What is more than that, or concerns what lists hold,
// each builtin counts itself.
void go_through(Runtime& runtime, const Value& value) {
  if (const std::string* text = value.text()) runtime.go_through(4 * text->size());
}

}  // namespace

Call::Call(std::string_view function, std::string_view parameters_text, Arguments arguments)
    : function_(function) {
  const std::string name(function);
  const Parameters parameters = parse(parameters_text);
  const std::size_t count = parameters.all.size();
  bound_.resize(count);
  if (arguments.positional.size() > count && !parameters.takes_rest)
    fail(name + " takes at most " + std::to_string(count) + " arguments, not " +
         std::to_string(arguments.positional.size()));
  const std::size_t by_position = std::min(count, arguments.positional.size());
  const auto positional = arguments.positional.begin();
  for (std::size_t i = 0; i < by_position; ++i)
    bound_[i] = std::move(positional[static_cast<std::ptrdiff_t>(i)]);
  rest_.positional.assign(std::make_move_iterator(positional + static_cast<std::ptrdiff_t>(by_position)),
                          std::make_move_iterator(arguments.positional.end()));
  for (auto& [key, value] : arguments.named) {
    const auto at = std::find_if(parameters.all.begin(), parameters.all.end(),
                                 [&key = key](const Parameter& p) { return p.name == key; });
    if (parameters.takes_rest) {
      rest_.named.emplace_back(key, std::move(value));
    } else if (at == parameters.all.end() || parameters.only_by_position) {
      fail(name + " takes no argument named '" + key + "'");
    } else {
      auto& slot = bound_[static_cast<std::size_t>(at - parameters.all.begin())];
      if (slot) fail(name + " is given '" + key + "' twice");
      slot = std::move(value);
    }
  }
  for (std::size_t i = 0; i < count; ++i)
    if (!bound_[i] && !parameters.all[i].optional)
      fail(name + " lacks the argument '" + std::string(parameters.all[i].name) + "'");
}

const Value& Call::operator[](std::size_t at) const {
  return *bound_.at(at);
}

void Call::wrong(std::size_t at, std::string_view expected) const {
  const Value& value = (*this)[at];
  if (const Undefined* missing = value.get<Undefined>()) fail(*missing->why);
  fail(std::string(function_) + ": expected " + std::string(expected) + ", found " +
       std::string(type_name(value)));
}

const std::string& Call::text(std::size_t at) const {
  const std::string* text = (*this)[at].text();
  if (!text) wrong(at, "a string");
  return *text;
}

std::string Call::text_or(std::size_t at, std::string otherwise) const {
  return has(at) ? text(at) : std::move(otherwise);
}

std::int64_t Call::integer(std::size_t at) const {
  const auto value = (*this)[at].integer();
  if (!value) wrong(at, "an integer");
  return *value;
}

std::int64_t Call::integer_or(std::size_t at, std::int64_t otherwise) const {
  return has(at) ? integer(at) : otherwise;
}

bool Call::flag(std::size_t at) const {
  return has(at) && is_true((*this)[at]);
}

Value apply(Runtime& runtime, const Builtin& builtin, Arguments arguments) {
  for (const Value& value : arguments.positional) go_through(runtime, value);
  for (const auto& [name, value] : arguments.named) go_through(runtime, value);
  Call call(builtin.name, builtin.parameters, std::move(arguments));
  return builtin.run(runtime, call);
}

Value apply_filter(Runtime& runtime, std::string_view name, Arguments arguments) {
  const Builtin* builtin = find_filter(name);
  if (!builtin) fail("there is no filter '" + std::string(name) + "'");
  return apply(runtime, *builtin, std::move(arguments));
}

bool apply_test(Runtime& runtime, std::string_view name, Arguments arguments) {
  const Builtin* builtin = find_test(name);
  if (!builtin) fail("there is no test '" + std::string(name) + "'");
  return is_true(apply(runtime, *builtin, std::move(arguments)));
}

}  // namespace baleen::jinja
