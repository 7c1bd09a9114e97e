// From the words of the command line and the environment to a command's options.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cmd/command.h"

namespace baleen::cmd {

// Calls `set` of every option given, in the order of definition; then of those that are not given but whose
// environment variable is set to something; then `operands`. Options named in `first` ("--help") come before
// all others, and if one of them was given nothing else is looked at. Throws UsageError.
void parse(const Command& command, std::vector<std::string> words,
           const std::vector<std::string_view>& first);

// "did you mean --temp or --top-p?", or nothing if no candidate is near. `word` and candidates as typed.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace baleen::cmd
