// Completions for the shells, made from the commands' definitions.
#pragma once

#include <span>
#include <string>

#include "cmd/command.h"

namespace baleen::cmd {

std::string bash_completion(std::span<const Command> commands);
std::string zsh_completion(std::span<const Command> commands);
std::string fish_completion(std::span<const Command> commands);

}  // namespace baleen::cmd
