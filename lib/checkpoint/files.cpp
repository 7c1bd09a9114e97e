#include "checkpoint/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "error.h"

namespace baleen {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

void throw_system_error(const std::filesystem::path& path, std::string_view what, int error) {
  std::string text = path.string() + ": ";
  if (!what.empty()) text.append(what).append(": ");
  throw Error(text + std::generic_category().message(error));
}

namespace {

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

OpenFile open_regular_file(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
  OpenFile file{FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), 0};
  if (file.fd.get() < 0) throw_system_error(path, "", errno);
  struct stat status {};
  if (::fstat(file.fd.get(), &status) != 0) throw_system_error(path, "", errno);
  if (!S_ISREG(status.st_mode))
    throw Error(path.string() + ": " + std::string(kind_of(status.st_mode)) + ", expected a file");
  file.size = static_cast<std::size_t>(status.st_size);
  return file;
}

bool path_exists(const std::filesystem::path& path) {
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  return type != std::filesystem::file_type::not_found;
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::filesystem::path follow_links(const std::filesystem::path& path) {
  constexpr int most_links = 40;  // as many as Linux follows
  std::filesystem::path target = path;
  for (int i = 0; i < most_links; ++i) {
    std::error_code error;
    const std::filesystem::path next = std::filesystem::read_symlink(target, error);
    if (error) return target;
    target = folder_of(target) / next;
  }
  throw_system_error(path, "", ELOOP);
}

std::string read_small_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const OpenFile file = open_regular_file(path);
  if (file.size > max_bytes)
    throw Error(path.string() + ": " + std::to_string(file.size) + " bytes, expected at most " +
                std::to_string(max_bytes));
  std::string text(file.size, '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = ::read(file.fd.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_system_error(path, "", errno);
    if (got == 0) break;  // it shrank since: what is left is judged by whoever parses it
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

}  // namespace baleen
