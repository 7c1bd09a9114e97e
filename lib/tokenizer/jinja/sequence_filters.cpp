// Filters that take or give sequences. Those that are generators in Jinja are lazy here too: what is never
// read never fails, and what reads twice finds nothing the second time.
#include <algorithm>
#include <functional>
#include <utility>

#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/strings.h"
#include "tokenizer/jinja/text.h"

namespace baleen::jinja::filters {
namespace {

using Getter = std::function<Value(Value)>;

Value folded(Runtime& runtime, Value value) {
  const Text* text = value.get<Text>();
  return text ? runtime.text(jinja::lower(*text->bytes), text->markup) : value;
}

// "a.b.0" as what to look up one after the other.
std::vector<Value> path_of(const Value& attribute) {
  std::vector<Value> path;
  if (attribute.is_none()) return path;
  const std::string* text = attribute.text();
  if (!text) return {attribute};
  for (const std::string_view part : split(*text, ".", -1, false)) {
    const bool is_index = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    if (is_index && part.size() < 19)
      path.push_back({static_cast<std::int64_t>(std::stoll(std::string(part)))});
    else
      path.push_back(make_text(std::string(part)));
  }
  return path;
}

// What an attribute argument (none: the item itself) stands for. `otherwise` replaces what is undefined.
Getter getter(Runtime& runtime, const Value& attribute, bool fold_case, std::optional<Value> otherwise = {}) {
  return [&runtime, path = path_of(attribute), fold_case, otherwise = std::move(otherwise)](Value item) {
    for (const Value& key : path) {
      runtime.step();
      item = get_item(runtime, item, key);
      if (otherwise && item.is_undefined()) item = *otherwise;
    }
    return fold_case ? folded(runtime, std::move(item)) : item;
  };
}

Value attribute_or_none(const Call& call, std::size_t at) {
  return call.value_or(at, {None()});
}

// A generator whose items are computed when the first is asked for.
Value deferred(Runtime& runtime, const Value& source, std::function<std::vector<Value>()> compute) {
  struct State {
    std::function<std::vector<Value>()> compute;
    std::vector<Value> items;
    std::size_t at = 0;
    void empty() { std::exchange(items, {}); }
  };
  auto state = std::make_shared<State>(State{std::move(compute), {}});
  runtime.empty_at_end(state);
  return make_iterator(depth_of(source), [state]() -> std::optional<Value> {
    if (state->compute) state->items = std::exchange(state->compute, nullptr)();
    return state->at < state->items.size() ? std::optional(state->items[state->at++]) : std::nullopt;
  });
}

struct Keyed {
  Value key, value;
};

std::vector<Keyed> keyed(Runtime& runtime, const Value& sequence, const Getter& key) {
  std::vector<Keyed> all;
  for (Value& value : to_vector(runtime, sequence)) {
    Value sort_key = key(value);
    all.push_back({std::move(sort_key), std::move(value)});
  }
  return all;
}

void sort_by_key(Runtime& runtime, std::vector<Keyed>& all, bool reverse) {
  std::stable_sort(all.begin(), all.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(runtime, b.key, a.key) : less(runtime, a.key, b.key);
  });
}

std::vector<Value> values_of(std::vector<Keyed> all) {
  std::vector<Value> values;
  for (Keyed& item : all) values.push_back(std::move(item.value));
  return values;
}

Value extreme(Runtime& runtime, Call& call, bool largest) {
  const auto all = keyed(runtime, call[0], getter(runtime, attribute_or_none(call, 2), !call.flag(1)));
  if (all.empty()) return undefined("No aggregated item, sequence was empty.");
  const Keyed* best = &all[0];
  for (const Keyed& item : all)
    if (&item != best && (largest ? ordered(runtime, Order::greater, item.key, best->key)
                                  : less(runtime, item.key, best->key)))
      best = &item;
  return best->value;
}

// For a call that may keep them.
Arguments copied(Runtime& runtime, const Arguments& arguments) {
  runtime.spend(arguments.positional.size() * sizeof(Value) + arguments.named.size() * sizeof(Arguments));
  return arguments;
}

// What select and its kin ask of every item.
std::function<bool(Value)> condition(Runtime& runtime, Arguments arguments, bool by_attribute) {
  Getter subject = [](Value item) { return item; };
  auto& given = arguments.positional;
  if (by_attribute) {
    if (given.empty()) fail("the name of the attribute is missing");
    subject = getter(runtime, given[0], false);
    given.erase(given.begin());
  }
  if (given.empty()) return [subject](Value item) { return is_true(subject(std::move(item))); };
  const Value test = given[0];
  given.erase(given.begin());
  if (!test.text()) fail("expected the name of a test, found " + std::string(type_name(test)));
  return [&runtime, subject, test, arguments](Value item) {
    Arguments all = copied(runtime, arguments);
    all.positional.insert(all.positional.begin(), subject(std::move(item)));
    return apply_test(runtime, *test.text(), std::move(all));
  };
}

Value filtered(Runtime& runtime, Call& call, bool wanted, bool by_attribute) {
  struct State {
    Value source;
    Arguments arguments;
    std::optional<Iterator> items;
    std::function<bool(Value)> keep;
  };
  auto state = std::make_shared<State>(State{call[0], std::move(call.rest()), {}, {}});
  return make_iterator(depth_of(call[0]), [&runtime, state, wanted, by_attribute]() -> std::optional<Value> {
    if (!state->items) {
      if (!is_true(state->source)) return std::nullopt;
      state->keep = condition(runtime, state->arguments, by_attribute);
      state->items = iterate(state->source);
    }
    while (auto item = state->items->next()) {
      runtime.step();
      if (state->keep(*item) == wanted) return item;
    }
    return std::nullopt;
  });
}

// map(attribute=...) or map('filter', arguments...).
Getter mapping(Runtime& runtime, Arguments arguments) {
  auto& given = arguments.positional;
  if (!given.empty()) {
    const Value name = given[0];
    given.erase(given.begin());
    if (!name.text()) fail("map: expected the name of a filter, found " + std::string(type_name(name)));
    return [&runtime, name, arguments](Value item) {
      Arguments all = copied(runtime, arguments);
      all.positional.insert(all.positional.begin(), std::move(item));
      return apply_filter(runtime, *name.text(), std::move(all));
    };
  }
  const Value* attribute = nullptr;
  std::optional<Value> otherwise;
  for (const auto& [key, value] : arguments.named) {
    if (key == "attribute")
      attribute = &value;
    else if (key == "default" && !value.is_none())
      otherwise = value;
    else if (key != "default")
      fail("map takes no argument named '" + key + "'");
  }
  if (!attribute) fail("map requires a filter argument");
  return getter(runtime, *attribute, false, otherwise);
}

// The items of what can be read backwards: not generators.
bool is_reversible(const Value& value) {
  return is_iterable(value) && !value.get<std::shared_ptr<Iterator>>();
}

Value pair(Value a, Value b) {
  return make_tuple({std::move(a), std::move(b)});
}

}  // namespace

Value batch(Runtime& runtime, Call& call) {
  return deferred(runtime, call[0],
                  [&runtime, source = call[0], size = call[1], fill = attribute_or_none(call, 2)] {
                    std::vector<Value> rows, row;
                    for (Value& item : to_vector(runtime, source)) {
                      if (equal(runtime, {static_cast<std::int64_t>(row.size())}, size))
                        rows.push_back(runtime.list(std::exchange(row, {})));
                      row.push_back(std::move(item));
                    }
                    if (row.empty()) return rows;
                    if (!fill.is_none()) {
                      const auto wanted = size.integer();
                      if (!wanted) fail("batch: expected an integer");
                      runtime.spend(*wanted, sizeof(Value));
                      while (static_cast<std::int64_t>(row.size()) < *wanted) row.push_back(fill);
                    }
                    rows.push_back(runtime.list(std::move(row)));
                    return rows;
                  });
}

Value dict_sort(Runtime& runtime, Call& call) {
  const std::string by = call.text_or(2, "key");
  if (by != "key" && by != "value") fail("dictsort: by must be \"key\" or \"value\"");
  const Dict* dict = call[0].dict();
  if (!dict) fail("dictsort: expected a dict, found " + std::string(type_name(call[0])));
  runtime.step(dict->items.size());
  runtime.spend(dict->items.size() * sizeof(Keyed));
  std::vector<Keyed> all;
  for (const auto& [key, value] : dict->items) {
    const Value& sort_key = by == "key" ? key : value;
    all.push_back({call.flag(1) ? sort_key : folded(runtime, sort_key), pair(key, value)});
  }
  sort_by_key(runtime, all, call.integer_or(3, 0) != 0);
  return runtime.list(values_of(std::move(all)));
}

Value first(Runtime&, Call& call) {
  auto item = iterate(call[0]).next();
  return item ? std::move(*item) : undefined("No first item, sequence was empty.");
}

Value group_by(Runtime& runtime, Call& call) {
  const bool fold = !call.flag(3);
  std::optional<Value> otherwise;
  if (call.given_not_none(2)) otherwise = call[2];
  std::vector<Keyed> all = keyed(runtime, call[0], getter(runtime, call[1], fold, otherwise));
  sort_by_key(runtime, all, false);
  const Getter shown = getter(runtime, call[1], false, otherwise);
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < all.size();) {
    std::size_t end = begin;
    std::vector<Value> members;
    while (end < all.size() && equal(runtime, all[begin].key, all[end].key))
      members.push_back(all[end++].value);
    if (end == begin) members.push_back(all[end++].value);  // NaN equals nothing
    Value key = fold ? shown(members[0]) : all[begin].key;
    groups.push_back(make_list({std::move(key), runtime.list(std::move(members))}, List::Kind::group));
    begin = end;
  }
  return runtime.list(std::move(groups));
}

Value items(Runtime& runtime, Call& call) {
  return deferred(runtime, call[0], [&runtime, source = call[0]] {
    std::vector<Value> pairs;
    if (source.is_undefined()) return pairs;
    if (!source.dict()) fail("Can only get item pairs from a mapping.");
    for (const auto& [key, value] : source.dict()->items) {
      runtime.spend(sizeof(List) + 2 * sizeof(Value));
      pairs.push_back(pair(key, value));
    }
    return pairs;
  });
}

Value join(Runtime& runtime, Call& call) {
  const std::string separator = call.has(1) ? to_text(runtime, call[1]) : "";
  const Getter get = getter(runtime, attribute_or_none(call, 2), false);
  const Iterator iterator = iterate(call[0]);
  Writer out(runtime);
  for (bool is_first = true; auto item = iterator.next(); is_first = false) {
    runtime.step();
    if (!is_first) out.add(separator);
    write(out, get(std::move(*item)));
  }
  return make_text(out.take());
}

Value last(Runtime& runtime, Call& call) {
  if (!is_reversible(call[0])) fail("'" + std::string(type_name(call[0])) + "' object is not reversible");
  std::vector<Value> all = to_vector(runtime, call[0]);
  return all.empty() ? undefined("No last item, sequence was empty.") : std::move(all.back());
}

Value length(Runtime& runtime, Call& call) {
  const auto size = jinja::length(runtime, call[0]);
  if (!size) fail("object of type '" + std::string(type_name(call[0])) + "' has no len()");
  return {static_cast<std::int64_t>(*size)};
}

Value list(Runtime& runtime, Call& call) {
  return make_list(to_vector(runtime, call[0]));
}

Value map(Runtime& runtime, Call& call) {
  struct State {
    Value source;
    Arguments arguments;
    std::optional<Iterator> items;
    Getter get;
  };
  auto state = std::make_shared<State>(State{call[0], std::move(call.rest()), {}, {}});
  return make_iterator(depth_of(call[0]), [&runtime, state]() -> std::optional<Value> {
    if (!state->items) {
      if (!is_true(state->source)) return std::nullopt;
      state->get = mapping(runtime, state->arguments);
      state->items = iterate(state->source);
    }
    auto item = state->items->next();
    if (!item) return std::nullopt;
    runtime.step();
    return state->get(std::move(*item));
  });
}

Value max(Runtime& runtime, Call& call) {
  return extreme(runtime, call, true);
}

Value min(Runtime& runtime, Call& call) {
  return extreme(runtime, call, false);
}

Value reject(Runtime& runtime, Call& call) {
  return filtered(runtime, call, false, false);
}

Value reject_attribute(Runtime& runtime, Call& call) {
  return filtered(runtime, call, false, true);
}

Value reverse(Runtime& runtime, Call& call) {
  if (const Text* text = call[0].get<Text>()) {
    const auto all = characters(*text->bytes);
    std::string out;
    for (auto c = all.rbegin(); c != all.rend(); ++c) out += *c;
    return runtime.text(std::move(out), text->markup);
  }
  std::vector<Value> all = to_vector(runtime, call[0]);
  std::reverse(all.begin(), all.end());
  if (!is_reversible(call[0])) return make_list(std::move(all));
  return deferred(runtime, call[0], [all = std::move(all)] { return all; });
}

Value select(Runtime& runtime, Call& call) {
  return filtered(runtime, call, true, false);
}

Value select_attribute(Runtime& runtime, Call& call) {
  return filtered(runtime, call, true, true);
}

Value slice(Runtime& runtime, Call& call) {
  return deferred(runtime, call[0],
                  [&runtime, source = call[0], slices = call[1], fill = attribute_or_none(call, 2)] {
                    const std::vector<Value> all = to_vector(runtime, source);
                    const auto count = slices.integer();
                    if (!count || *count == 0) fail("slice: expected a number of slices that is not 0");
                    const std::int64_t size = static_cast<std::int64_t>(all.size());
                    std::vector<Value> columns;
                    for (std::int64_t i = 0, from = 0; i < *count; ++i) {
                      runtime.step();
                      const bool longer = i < size % *count;
                      const std::int64_t to = from + size / *count + (longer ? 1 : 0);
                      std::vector<Value> column(all.begin() + from, all.begin() + to);
                      if (!fill.is_none() && !longer) column.push_back(fill);
                      columns.push_back(runtime.list(std::move(column)));
                      from = to;
                    }
                    return columns;
                  });
}

Value sort(Runtime& runtime, Call& call) {
  std::vector<Getter> getters;
  const Value attribute = attribute_or_none(call, 3);
  if (const std::string* text = attribute.text())
    for (const std::string_view one : split(*text, ",", -1, false))
      getters.push_back(getter(runtime, make_text(std::string(one)), !call.flag(2)));
  else
    getters.push_back(getter(runtime, attribute, !call.flag(2)));
  // Lists of keys, as a list first asks what is equal: so equal dicts can be sorted, and unequal ones cannot.
  std::vector<Keyed> all = keyed(runtime, call[0], [&](const Value& item) {
    std::vector<Value> keys;
    for (const Getter& get : getters) keys.push_back(get(item));
    return runtime.list(std::move(keys));
  });
  sort_by_key(runtime, all, call.integer_or(1, 0) != 0);
  return runtime.list(values_of(std::move(all)));
}

Value sum(Runtime& runtime, Call& call) {
  const Getter get = getter(runtime, attribute_or_none(call, 1), false);
  Value total = call.value_or(2, {std::int64_t{0}});
  if (total.text()) fail("sum() can't sum strings");
  const Iterator iterator = iterate(call[0]);
  while (auto item = iterator.next()) {
    runtime.step();
    total = binary(runtime, Binary::Op::add, total, get(std::move(*item)));
  }
  return total;
}

Value unique(Runtime& runtime, Call& call) {
  const Getter get = getter(runtime, attribute_or_none(call, 2), !call.flag(1));
  return deferred(runtime, call[0], [&runtime, source = call[0], get] {
    std::vector<Value> seen, kept;
    for (Value& item : to_vector(runtime, source)) {
      Value key = get(item);
      check_hashable(runtime, key);
      if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) {
            return same_object(key, other) || equal(runtime, key, other);
          }))
        continue;
      seen.push_back(std::move(key));
      kept.push_back(std::move(item));
    }
    return kept;
  });
}

}  // namespace baleen::jinja::filters
