#include "tokenizer/jinja/loop.h"

#include <algorithm>
#include <utility>

namespace baleen::jinja {

std::optional<Value> Loop::pull() {
  if (ahead_.empty()) return source_.next();
  Value item = std::move(ahead_.front());
  ahead_.pop_front();
  return item;
}

std::optional<Value> Loop::next() {
  std::optional<Value> item = std::exchange(peeked_, false) ? std::exchange(next_, {}) : pull();
  if (!item) return std::nullopt;
  ++index_;
  previous_ = std::exchange(current_, item);
  return item;
}

const std::optional<Value>& Loop::peek() {
  if (!peeked_ || !next_) next_ = pull();
  peeked_ = true;
  return next_;
}

std::int64_t Loop::length() {
  if (!length_) {
    while (auto item = source_.next()) {
      runtime_.step();
      runtime_.spend(sizeof(Value));
      ahead_.push_back(std::move(*item));
    }
    length_ = ahead_.size() + static_cast<std::size_t>(index_ + 1) + (peeked_ && next_ ? 1 : 0);
  }
  return static_cast<std::int64_t>(*length_);
}

Value Loop::cycle(const Arguments& arguments) const {
  const auto& items = arguments.positional;
  if (items.empty() || !arguments.named.empty()) fail("loop.cycle: no items for cycling given");
  const auto size = static_cast<std::int64_t>(items.size());
  return items[static_cast<std::size_t>((index_ % size + size) % size)];
}

bool Loop::changed(std::vector<Value> values) {
  const auto same = [&](const Value& a, const Value& b) {
    return same_object(a, b) || equal(runtime_, a, b);
  };
  if (last_changed_ &&
      std::equal(values.begin(), values.end(), last_changed_->begin(), last_changed_->end(), same))
    return false;
  last_changed_ = std::move(values);
  return true;
}

void Loop::empty() {
  ahead_.clear();
  next_ = current_ = previous_ = std::nullopt;
  last_changed_.reset();
}

std::optional<Value> Loop::attribute(std::string_view name) {
  if (name == "index") return Value{index_ + 1};
  if (name == "index0") return Value{index_};
  if (name == "first") return Value{index_ == 0};
  if (name == "last") return Value{!peek()};
  if (name == "length") return Value{length()};
  if (name == "revindex") return Value{length() - index_};
  if (name == "revindex0") return Value{length() - index_ - 1};
  if (name == "depth") return Value{std::int64_t{depth_} + 1};
  if (name == "depth0") return Value{std::int64_t{depth_}};
  if (name == "previtem") return index_ == 0 ? undefined("there is no previous item") : previous_;
  if (name == "nextitem") return peek() ? *next_ : undefined("there is no next item");
  if (name == "cycle")
    return make_function(
        "<method cycle>",
        [self = shared_from_this()](Runtime&, Arguments arguments) { return self->cycle(arguments); },
        source_.depth + 2);
  if (name == "changed")
    return make_function(
        "<method changed>",
        [self = shared_from_this()](Runtime& runtime, Arguments arguments) {
          return Value{self->changed(runtime.list(std::move(arguments.positional)).list()->items)};
        },
        source_.depth + 2);
  return std::nullopt;
}

Value Loop::variable(std::function<Value(const Value&)> recurse) {
  runtime_.empty_at_end(shared_from_this());
  Native native;
  native.shown = [self = shared_from_this()] {
    return "<LoopContext " + std::to_string(self->index_ + 1) + "/" + std::to_string(self->length()) + ">";
  };
  native.depth = source_.depth + 1;
  native.attribute = [self = shared_from_this()](std::string_view name) { return self->attribute(name); };
  native.length = [self = shared_from_this()] { return static_cast<std::size_t>(self->length()); };
  native.call = [recurse = std::move(recurse)](Runtime&, Arguments arguments) -> Value {
    if (!recurse) fail("the loop must have the 'recursive' marker to be called recursively");
    if (arguments.positional.size() != 1) fail("a recursive loop is called with what to loop over");
    return recurse(arguments.positional[0]);
  };
  return {std::make_shared<const Native>(std::move(native))};
}

}  // namespace baleen::jinja
