// Which model a command works with when it is not told.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace baleen::cmd {

// `given` (from -m or $BALEEN_MODEL), or the model that comes with baleen: ../share/baleen/model seen from
// the program, or examples/model of the source tree that the program was built in. Throws UsageError if there
// is none, Error if `given` is no folder.
std::filesystem::path model_folder(const std::optional<std::string>& given);

}  // namespace baleen::cmd
