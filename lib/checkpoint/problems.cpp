#include "checkpoint/problems.h"

#include <algorithm>
#include <cstddef>

#include "error.h"

namespace baleen {

void throw_problems(std::string_view file, const std::vector<std::string>& problems) {
  if (problems.empty()) return;
  constexpr std::size_t limit = 10;
  const std::size_t listed = std::min(problems.size(), limit);
  std::string text = problems.front();
  for (std::size_t i = 1; i < listed; ++i) text.append("\n").append(file).append(": ").append(problems[i]);
  if (problems.size() > listed)
    text.append("\n").append(file).append(": and " + std::to_string(problems.size() - listed) + " more");
  throw FormatError(file, text);
}

}  // namespace baleen
