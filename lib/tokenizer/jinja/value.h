// The values a chat template computes with: Python's, as far as Jinja's sandbox lets a template see them.
// Owns the types, truth, equality, order and iteration; not how they are written out (see text.h) nor what
// operators and methods do.
//
// Lists, tuples and dicts never change once made, so they are shared. A namespace is the only thing that
// does. Containers know how deep they are nested: what walks them recursively can rely on kMaxDepth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace baleen::jinja {

class Runtime;
struct Value;
struct Arguments;
struct List;
struct Dict;
struct Namespace;

constexpr int kMaxDepth = 400;  // containers and lazy filters inside each other

// What goes wrong while a template is compiled or rendered. Whoever knows the place adds it.
struct Failure {
  std::string message;
  std::size_t line = 0;         // 0: not known yet
  std::string expression = {};  // the template's text that failed; may stay empty
  bool is_own = false;          // the template's own words: raise_exception
};
[[noreturn]] void fail(std::string message, std::size_t line = 0);

struct Undefined {
  std::shared_ptr<const std::string> why;  // the error for doing more with it than asking and printing
};
struct None {};
struct Text {
  std::shared_ptr<const std::string> bytes;  // UTF-8
  bool markup = false;                       // already escaped (markupsafe.Markup)
};
struct Range {
  std::int64_t start, stop, step;
  std::int64_t size() const;
  std::int64_t at(std::int64_t index) const { return start + index * step; }
  bool contains(std::int64_t value) const;
};

// What dict.items(), keys() and values() give.
struct View {
  enum class Of { items, keys, values } of;
  std::shared_ptr<const Dict> dict;
};

// Python's generators and iterators: used up by reading, always true, without a length.
struct Iterator {
  std::function<std::optional<Value>()> next;
  int depth = 1;
};

// Something that can be called or has attributes of its own: functions, methods, macros, `loop`, cyclers.
struct Native {
  std::string name;  // as it is printed
  std::function<Value(Runtime&, Arguments)> call;
  std::function<std::optional<Value>(std::string_view)> attribute;
  std::function<std::size_t()> length;
  int depth = 0;                            // of the values it holds
  std::function<std::string()> shown = {};  // as it is printed, if that changes
};

struct Value {
  using Data =
      std::variant<Undefined, None, bool, std::int64_t, double, Text, Range, View,
                   std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Iterator>,
                   std::shared_ptr<Namespace>, std::shared_ptr<const Native>>;
  Data data;

  template <typename T>
  const T* get() const {
    return std::get_if<T>(&data);
  }
  const std::string* text() const {
    const Text* t = get<Text>();
    return t ? t->bytes.get() : nullptr;
  }
  const List* list() const;  // a list or a tuple
  const Dict* dict() const;
  std::optional<std::int64_t> integer() const;  // a bool is one, as in Python
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<None>() != nullptr; }
};

struct List {
  enum class Kind { list, tuple, group } kind = Kind::list;  // group: groupby's tuple (grouper, list)
  std::vector<Value> items;
  int depth = 1;
  bool is_tuple() const { return kind != Kind::list; }
};

// In order of insertion and searched from front to back: the dicts of a conversation are small.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;
  const Value* find(std::string_view key) const;  // what it costs is not counted
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  void empty() { std::exchange(attributes, {}); }
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

Value undefined(std::string why);
Value make_text(std::string bytes, bool markup = false);
// These three check depth and hand over.
Value make_list(std::vector<Value> items, List::Kind kind = List::Kind::list);
Value make_tuple(std::vector<Value> items);
Value make_dict(std::vector<std::pair<Value, Value>> items);  // keys must differ
Value make_iterator(int source_depth, std::function<std::optional<Value>()> next);
Value make_function(std::string name, std::function<Value(Runtime&, Arguments)> call, int depth = 0);

int depth_of(const Value& value);
std::string_view type_name(const Value& value);  // Python's: "str", "NoneType", ...
bool is_number(const Value& value);              // int, float or bool
double to_double(const Value& number);

bool is_true(const Value& value);
bool equal(Runtime& runtime, const Value& a, const Value& b);
bool same_object(const Value& a, const Value& b);             // Python's `is`
bool less(Runtime& runtime, const Value& a, const Value& b);  // a < b
enum class Order { less, less_equal, greater, greater_equal };
bool ordered(Runtime& runtime, Order order, const Value& a, const Value& b);

std::optional<std::size_t> length(Runtime& runtime, const Value& value);  // none: has no length
bool is_iterable(const Value& value);
Iterator iterate(const Value& value);  // fails for what cannot be iterated
std::vector<Value> to_vector(Runtime& runtime, const Value& value);

void check_hashable(Runtime& runtime, const Value& key);
const Value* find(Runtime& runtime, const Dict& dict, const Value& key);
const Value* find(Runtime& runtime, const Dict& dict, std::string_view key);
void assign(Runtime& runtime, std::vector<std::pair<Value, Value>>& items, Value key, Value value);

}  // namespace baleen::jinja
