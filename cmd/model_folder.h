// Which model a command works with.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace baleen::cmd {

// Throws Error if there is no folder of that name.
std::filesystem::path check_folder(std::string_view name);
// Throws Error for a folder without config.json: before anything else in it is missed.
void check_holds_model(const std::filesystem::path& folder);

// The model that comes with baleen: ../share/baleen/model seen from the program's folder, or examples/model
// of the source tree that the program was built in. Throws UsageError if there is none.
std::filesystem::path default_model_folder();

// What a folder is called, whatever way leads there: "model" for "examples/model/" and for "." within it.
std::string folder_name(const std::filesystem::path& folder);

}  // namespace baleen::cmd
