// Everything that is wrong with a file, told at once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace baleen {

// Throws a FormatError with a line `FILE: problem` for each of the first ten problems and, if there are more,
// a line that counts them. Does nothing if there are none.
void throw_problems(std::string_view file, const std::vector<std::string>& problems);

}  // namespace baleen
