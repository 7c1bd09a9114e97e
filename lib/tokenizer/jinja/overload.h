// One visitor for std::visit out of several lambdas.
#pragma once

namespace baleen::jinja {

template <typename... Cases>
struct Overload : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overload(Cases...) -> Overload<Cases...>;  // clang 14 cannot deduce it for an aggregate

}  // namespace baleen::jinja
