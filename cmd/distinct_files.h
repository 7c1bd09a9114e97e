// Files that a command line names more than once: what is written must be written nowhere else, and not over
// what is read.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace baleen::cmd {

struct NamedFile {
  std::string option;               // "-o"; what it is, where no option names it
  std::optional<std::string> path;  // none: not given; - is standard input or output
};

// Throws UsageError, naming both, if one regular file is written as two of `written`, or is written and one
// of `read`: under one name, through links, or as a standard stream. Pipes and devices may be named twice.
void check_distinct(const std::vector<NamedFile>& written, const std::vector<NamedFile>& read = {});

}  // namespace baleen::cmd
