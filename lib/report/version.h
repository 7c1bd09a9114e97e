// Which baleen this is.
#pragma once

#include <string_view>

namespace baleen {

std::string_view version();  // "0.1.0"
std::string_view commit();   // the commit it was built from, or "unknown"

}  // namespace baleen
