// A command's definition as text: -h, --help, and the parts of its man page.
#pragma once

#include <span>
#include <string>

#include "cmd/command.h"
#include "cmd/terminal.h"

namespace baleen::cmd {

std::string brief_help(const Command& command, const Style& style);  // fits a screen of 24 lines by 80
std::string full_help(const Command& command, const Style& style);

// The program's own -h and --help: its commands.
std::string program_help(std::span<const Command> commands, const Style& style);

// A man page from its prose: in `page` the line @OPTIONS@ becomes the command's options in man macros,
// @COMMANDS@ the list of commands, @EXAMPLES@ the examples and @VERSION@ the version.
std::string man_page(std::string page, const Command* command, std::span<const Command> commands);

}  // namespace baleen::cmd
