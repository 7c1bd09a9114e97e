#include "tokenizer/jinja/runtime.h"

#include <limits>
#include <utility>

namespace baleen::jinja {

Runtime::~Runtime() {
  for (const auto& ending : endings_) ending();
}

void Runtime::step(std::size_t count) {
  steps_ += count;
  if (steps_ > limits_.steps)
    fail("the template takes more than " + std::to_string(limits_.steps) + " steps, the limit");
}

void Runtime::spend(std::size_t bytes) {
  if (bytes > limits_.bytes - bytes_)
    fail("the template writes more than " + std::to_string(limits_.bytes) + " bytes, the limit");
  bytes_ += bytes;
}

void Runtime::spend(std::int64_t count, std::size_t each) {
  if (count <= 0 || each == 0) return;
  const auto most = std::numeric_limits<std::size_t>::max() / each;
  const auto wanted = static_cast<std::size_t>(count);
  spend(wanted > most ? std::numeric_limits<std::size_t>::max() : wanted * each);
}

Value Runtime::text(std::string bytes, bool markup) {
  spend(bytes.size());
  return make_text(std::move(bytes), markup);
}

Value Runtime::list(std::vector<Value> items, List::Kind kind) {
  spend(items.size() * sizeof(Value));
  return make_list(std::move(items), kind);
}

Value Runtime::undefined(std::string why) {
  spend(why.size());
  return jinja::undefined(std::move(why));
}

Value Runtime::make_namespace(std::vector<std::pair<std::string, Value>> attributes) {
  spend(attributes.size() * sizeof(attributes[0]));
  auto names = std::make_shared<Namespace>(Namespace{std::move(attributes)});
  empty_at_end(names);
  return {std::move(names)};
}

Value Runtime::call(const Value& callee, Arguments arguments) {
  if (callee.is_undefined()) fail(*callee.get<Undefined>()->why);
  const auto* native = callee.get<std::shared_ptr<const Native>>();
  if (!native || !(*native)->call) fail("'" + std::string(type_name(callee)) + "' object is not callable");
  const std::shared_ptr<const Native> held = *native;
  return held->call(*this, std::move(arguments));
}

void Runtime::keep(const std::shared_ptr<Activation>& activation) {
  if (!std::exchange(activation->kept, true)) empty_at_end(activation);
}

}  // namespace baleen::jinja
