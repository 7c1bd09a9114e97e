// Reading the small text files of a model folder whole, and what the system says when it refuses.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace baleen {

// Owns a file descriptor.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }  // the caller closes it

 private:
  int fd_;
};

// A regular file, open for reading, and its size. Follows links: folders of the Hugging Face cache consist
// of them. Throws Error for what is no regular file, naming what it is, and for what the system refuses.
struct OpenFile {
  FileDescriptor fd;
  std::size_t size = 0;
};
OpenFile open_regular_file(const std::filesystem::path& path);

// Whether there is something at `path`. A loop of links or a folder that may not be searched counts as
// something: opening it tells what is wrong.
bool path_exists(const std::filesystem::path& path);

// The folder that `path` lies in: "." for a bare name.
std::filesystem::path folder_of(const std::filesystem::path& path);

// What the links at `path` lead to, also where that does not exist yet; `path` itself if it is no link.
// Throws Error for a loop of them.
std::filesystem::path follow_links(const std::filesystem::path& path);

// The bytes of a file of at most `max_bytes`; a larger one is refused before it is read.
std::string read_small_file(const std::filesystem::path& path, std::size_t max_bytes);

// Throws Error "PATH: WHAT: the system's words for `error`"; `what` may be empty.
[[noreturn]] void throw_system_error(const std::filesystem::path& path, std::string_view what, int error);

}  // namespace baleen
