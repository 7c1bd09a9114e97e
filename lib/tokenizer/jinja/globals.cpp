// The functions that every chat template can call: Jinja's own and those that transformers adds.
#include <algorithm>
#include <array>

#include "tokenizer/jinja/builtin.h"
#include "tokenizer/jinja/text.h"

namespace baleen::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;  // jinja2.sandbox.MAX_RANGE

Value range(Runtime&, Call& call) {
  const bool one = !call.has(1);
  const Range result{one ? 0 : call.integer(0), call.integer(one ? 0 : 1), call.integer_or(2, 1)};
  if (result.step == 0) fail("range() arg 3 must not be zero");
  if (result.step == INT64_MIN) fail("an integer beyond 64 bits");
  if (result.size() > kMaxRange) fail("Range too big: more than " + std::to_string(kMaxRange) + " items");
  return {result};
}

// What dict(...) makes of its arguments: a mapping or pairs, then names.
std::vector<std::pair<Value, Value>> dict_items(Runtime& runtime, Arguments& arguments) {
  std::vector<std::pair<Value, Value>> items;
  if (arguments.positional.size() > 1) fail("expected at most 1 argument");
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (const Undefined* missing = from.get<Undefined>()) fail(*missing->why);
    if (const Dict* dict = from.dict()) {
      runtime.spend(dict->items.size() * sizeof(items[0]));
      items = dict->items;
    } else {
      for (const Value& pair : to_vector(runtime, from)) {
        std::vector<Value> both = to_vector(runtime, pair);
        if (both.size() != 2) fail("dict: expected pairs");
        assign(runtime, items, std::move(both[0]), std::move(both[1]));
      }
    }
  }
  for (auto& [name, value] : arguments.named) assign(runtime, items, make_text(name), std::move(value));
  return items;
}

Value dict(Runtime& runtime, Call& call) {
  return make_dict(dict_items(runtime, call.rest()));
}

Value make_namespace(Runtime& runtime, Call& call) {
  std::vector<std::pair<std::string, Value>> attributes;
  for (auto& [key, value] : dict_items(runtime, call.rest())) {
    if (!key.text()) fail("namespace: names must be strings");
    check_namespace_name(*key.text());
    attributes.emplace_back(*key.text(), std::move(value));
  }
  return runtime.make_namespace(std::move(attributes));
}

Value cycler(Runtime& runtime, Call& call) {
  struct State {
    std::vector<Value> items;
    std::size_t at = 0;
  };
  auto state = std::make_shared<State>(State{std::move(call.rest().positional)});
  if (state->items.empty() || !call.rest().named.empty())
    fail("cycler: expected at least one item, and no names");
  const int depth = depth_of(runtime.list(state->items));
  Native native;
  native.name = "<cycler>";
  native.depth = depth;
  native.attribute = [state, depth](std::string_view name) -> std::optional<Value> {
    if (name == "current") return state->items[state->at];
    if (name == "next")
      return make_function(
          "<method next>",
          [state](Runtime&, Arguments) {
            const std::size_t at = std::exchange(state->at, (state->at + 1) % state->items.size());
            return state->items[at];
          },
          depth + 1);
    if (name == "reset")
      return make_function(
          "<method reset>",
          [state](Runtime&, Arguments) {
            state->at = 0;
            return Value{None()};
          },
          depth + 1);
    return std::nullopt;
  };
  return {std::make_shared<const Native>(std::move(native))};
}

Value joiner(Runtime& runtime, Call& call) {
  const Value separator = call.value_or(0, make_text(", "));
  const int depth = depth_of(runtime.list({separator}));
  return make_function(
      "<joiner>",
      [separator, used = std::make_shared<bool>(false)](Runtime&, Arguments) {
        return std::exchange(*used, true) ? separator : make_text("");
      },
      depth);
}

Value raise_exception(Runtime& runtime, Call& call) {
  throw Failure{to_text(runtime, call[0]), 0, {}, true};
}

// datetime.now() knows no time zone, so Python leaves its name and offset empty; %f, microseconds, C lacks.
std::string without_zone(std::string_view format) {
  std::string out;
  for (std::size_t at = 0; at < format.size(); ++at) {
    const bool is_directive = format[at] == '%' && at + 1 < format.size();
    const char directive = is_directive ? format[at + 1] : '\0';
    if (directive == 'f') out += "000000";
    if (is_directive) ++at;
    if (directive != 'f' && directive != 'z' && directive != 'Z')
      out += format.substr(at - (is_directive ? 1 : 0), is_directive ? 2 : 1);
  }
  return out;
}

Value strftime_now(Runtime& runtime, Call& call) {
  const std::string format = without_zone(call.text(0));
  const std::time_t now = runtime.now();
  std::tm local{};
  localtime_r(&now, &local);
  if (format.size() > 4096) fail("strftime_now: a format of more than 4096 bytes");
  // strftime says 0 for "does not fit" and for "is empty" alike: so there is always one character.
  std::string out(1 << 16U, '\0');
  const std::size_t size = std::strftime(out.data(), out.size(), ("x" + format).c_str(), &local);
  if (size == 0) fail("strftime_now: the result is too long");
  return runtime.text(out.substr(1, size - 1));
}

Value unsupported(Runtime&, Call&) {
  fail("this function is not supported");
}

constexpr std::array kGlobals = std::to_array<Builtin>({
    {"range", "start stop? step? /", range},
    {"dict", "*", dict},
    {"namespace", "*", make_namespace},
    {"cycler", "*", cycler},
    {"joiner", "sep?", joiner},
    {"lipsum", "*", unsupported},
    {"raise_exception", "message", raise_exception},
    {"strftime_now", "format", strftime_now},
});

}  // namespace

void check_namespace_name(std::string_view name) {
  if (name.starts_with('_'))
    fail("a namespace cannot hold '" + std::string(name) + "': the name begins with '_'");
}

std::optional<Value> find_global(std::string_view name) {
  const auto at =
      std::find_if(kGlobals.begin(), kGlobals.end(), [&](const Builtin& b) { return b.name == name; });
  if (at == kGlobals.end()) return std::nullopt;
  return make_function("<function " + std::string(name) + ">", [at](Runtime& runtime, Arguments arguments) {
    return apply(runtime, *at, std::move(arguments));
  });
}

}  // namespace baleen::jinja
