// What rendering one template shares: the budget that keeps hostile templates short, the clock, and every
// object that could refer to itself.
#pragma once

#include <cstddef>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja/value.h"

namespace baleen::jinja {

struct Limits {
  // Expressions, loop rounds, comparisons, each 64 bytes of a text that is gone through.
  std::size_t steps = 20'000'000;
  std::size_t bytes = std::size_t{1} << 30U;  // written into strings and lists, output included
};

struct Activation;

class Runtime {
 public:
  explicit Runtime(const Limits& limits, std::optional<std::time_t> now) : limits_(limits), now_(now) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime();

  void step(std::size_t count = 1);
  void go_through(std::size_t bytes) {  // of a text
    if (bytes >= 64) step(bytes / 64);
  }
  void spend(std::size_t bytes);  // before they are allocated
  void spend(std::int64_t count, std::size_t each);

  Value text(std::string bytes, bool markup = false);
  Value list(std::vector<Value> items, List::Kind kind = List::Kind::list);
  Value undefined(std::string why);
  Value make_namespace(std::vector<std::pair<std::string, Value>> attributes);

  Value call(const Value& callee, Arguments arguments);
  std::time_t now() const { return now_ ? *now_ : std::time(nullptr); }

  // Whatever can come to hold itself (a namespace, a loop, the variables that a macro sees) is given here and
  // emptied when the rendering is over. Until then it stays, so that emptying one frees no other: no
  // recursion, however long the chain.
  template <typename Holder>
  void empty_at_end(std::shared_ptr<Holder> holder) {
    spend(sizeof(Holder));
    endings_.push_back([held = std::move(holder)] { held->empty(); });
  }
  void keep(const std::shared_ptr<Activation>& activation);

 private:
  Limits limits_;
  std::optional<std::time_t> now_;
  std::size_t steps_ = 0, bytes_ = 0;
  std::vector<std::function<void()>> endings_;
};

// The variables of one call of a function: the template itself, a macro, a recursive loop.
struct Activation {
  std::vector<Value> slots;
  std::shared_ptr<Activation> outer;  // of the function around it in the template
  bool kept = false;
  void empty() { std::exchange(slots, {}); }
};

}  // namespace baleen::jinja
