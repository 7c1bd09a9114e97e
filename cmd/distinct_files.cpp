#include "cmd/distinct_files.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "checkpoint/files.h"
#include "error.h"

namespace baleen::cmd {
namespace {

namespace fs = std::filesystem;

// Where a file that does not exist yet will come to be; links that lead there count as the file.
fs::path future_place(const fs::path& path) {
  std::error_code error;
  return fs::weakly_canonical(fs::absolute(follow_links(path), error), error);
}

bool is_same(const std::string& a, const std::string& b) {
  struct stat of_a {};
  struct stat of_b {};
  const bool a_exists = ::stat(a.c_str(), &of_a) == 0;
  const bool b_exists = ::stat(b.c_str(), &of_b) == 0;
  if (a_exists != b_exists) return false;
  if (a_exists) return S_ISREG(of_a.st_mode) && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
  const fs::path place = future_place(a);
  return !place.empty() && place == future_place(b);
}

void check_pair(const NamedFile& written, const NamedFile& other, const std::string& other_stream) {
  if (!written.path || !other.path) return;
  const auto path = [](const NamedFile& file, const std::string& stream) {
    return *file.path == "-" ? stream : *file.path;
  };
  if (!is_same(path(written, "/dev/stdout"), path(other, other_stream))) return;
  const auto name = [](const NamedFile& file) {
    return file.option.starts_with('-') ? file.option + " " + *file.path : file.option;
  };
  throw UsageError(name(written) + " and " + name(other) + " are the same file, expected two");
}

}  // namespace

void check_distinct(const std::vector<NamedFile>& written, const std::vector<NamedFile>& read) {
  for (std::size_t i = 0; i < written.size(); ++i) {
    for (std::size_t k = i + 1; k < written.size(); ++k) check_pair(written[i], written[k], "/dev/stdout");
    for (const NamedFile& file : read) check_pair(written[i], file, "/dev/stdin");
  }
}

}  // namespace baleen::cmd
