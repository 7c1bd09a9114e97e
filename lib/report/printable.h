// Text that a file may have shaped, on a terminal.
#pragma once

#include <string>
#include <string_view>

namespace baleen {

// The text with "\x1b" in place of each control character of ASCII or Latin-1 but the newline and the tab:
// what a file says in an error moves no cursor. Other bytes stay, be they UTF-8 or not.
std::string printable(std::string_view text);

}  // namespace baleen
