// A for loop's progress, and the `loop` variable that tells of it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/runtime.h"

namespace baleen::jinja {

class Loop : public std::enable_shared_from_this<Loop> {
 public:
  // `length` is known where the iterable has one; else asking for it reads the iterable to its end.
  Loop(Runtime& runtime, Iterator source, std::optional<std::size_t> length, int depth)
      : runtime_(runtime), source_(std::move(source)), length_(length), depth_(depth) {}

  std::optional<Value> next();
  // The value of `loop`. `recurse` renders the loop's body for another iterable; may be empty.
  Value variable(std::function<Value(const Value&)> recurse);
  void empty();

 private:
  const std::optional<Value>& peek();
  std::optional<Value> pull();
  std::int64_t length();
  std::optional<Value> attribute(std::string_view name);
  Value cycle(const Arguments& arguments) const;
  bool changed(std::vector<Value> values);

  Runtime& runtime_;
  Iterator source_;
  std::optional<std::size_t> length_;
  int depth_;  // 0 for a loop that is not inside its own recursion
  std::int64_t index_ = -1;
  std::deque<Value> ahead_;  // read early to know the length
  bool peeked_ = false;
  std::optional<Value> next_, current_, previous_;
  std::optional<std::vector<Value>> last_changed_;
};

}  // namespace baleen::jinja
