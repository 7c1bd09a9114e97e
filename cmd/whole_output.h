// What -o names: a file that appears when all of it is there.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace baleen::cmd {

// Runs `work` with a function that writes to the file, or to standard output without one, while a SignalFlag
// lives. If a signal came the file does not appear, and the process ends as the signal would have ended it;
// Cancelled is taken for that. Throws Error for what cannot be written.
void write_whole(const std::optional<std::string>& file, bool overwrite,
                 const std::function<void(const std::function<void(std::string_view)>& write)>& work);

}  // namespace baleen::cmd
