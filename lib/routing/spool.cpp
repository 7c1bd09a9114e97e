#include "routing/spool.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "error.h"

namespace baleen {
namespace {

[[noreturn]] void fail(const char* what, int error) {
  throw Error(std::filesystem::temp_directory_path().string() + ": " + what + ": " + std::strerror(error) +
              "\n(TMPDIR names a folder with more room)");
}

int unnamed_file() {
  std::string name = (std::filesystem::temp_directory_path() / "baleen-XXXXXX").string();
  const int file = ::mkstemp(name.data());
  if (file < 0) fail("no temporary file", errno);
  ::unlink(name.c_str());
  return file;
}

}  // namespace

Spool::Spool(std::size_t block) : block_(block) {}

Spool::~Spool() {
  if (file_ >= 0) ::close(file_);
}

void Spool::append(std::uint64_t number) {
  tail_.push_back(number);
  if (tail_.size() < block_) return;
  if (file_ < 0) file_ = unnamed_file();
  write(blocks_++, tail_);
  tail_.clear();
}

void Spool::backward(const std::function<void(std::span<std::uint64_t>)>& change) {
  change(tail_);
  std::vector<std::uint64_t> numbers(blocks_ ? block_ : 0);
  for (std::size_t b = blocks_; b-- > 0;) {
    read(b, numbers);
    change(numbers);
    write(b, numbers);
  }
}

void Spool::forward(const std::function<void(std::span<const std::uint64_t>)>& use) {
  std::vector<std::uint64_t> numbers(blocks_ ? block_ : 0);
  for (std::size_t b = 0; b < blocks_; ++b) {
    read(b, numbers);
    use(numbers);
  }
  use(tail_);
}

void Spool::write(std::size_t block_index, std::span<const std::uint64_t> numbers) {
  const auto bytes = std::as_bytes(numbers);
  for (std::size_t done = 0; done < bytes.size();) {
    const auto at = static_cast<off_t>(block_index * bytes.size() + done);
    const ssize_t n = ::pwrite(file_, bytes.data() + done, bytes.size() - done, at);
    if (n < 0 && errno != EINTR) fail("cannot write a temporary file", errno);
    done += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  }
}

void Spool::read(std::size_t block_index, std::span<std::uint64_t> numbers) {
  const auto bytes = std::as_writable_bytes(numbers);
  for (std::size_t done = 0; done < bytes.size();) {
    const auto at = static_cast<off_t>(block_index * bytes.size() + done);
    const ssize_t n = ::pread(file_, bytes.data() + done, bytes.size() - done, at);
    if (n == 0) fail("cannot read a temporary file", EIO);
    if (n < 0 && errno != EINTR) fail("cannot read a temporary file", errno);
    done += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  }
}

}  // namespace baleen
