// The subcommands.
#pragma once

#include <string>
#include <vector>

#include "cmd/command.h"

namespace baleen::cmd {

// Every definition, for help and completions.
std::vector<Command> all_commands();

// `baleen run` and so on. Each returns the exit status.
int run(std::vector<std::string> words);
int quantize(std::vector<std::string> words);
int bench(std::vector<std::string> words);
int route_stats(std::vector<std::string> words);

// Writes a file that is made from the definitions: WHAT OUT [IN], see generated_files.cpp. For the build.
int generate_file(const std::vector<std::string>& words);

// --version: version, commit and instruction sets; `isa` is the one asked for.
std::string version_text(std::string_view isa);

}  // namespace baleen::cmd
