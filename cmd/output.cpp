#include "cmd/output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "error.h"

namespace baleen::cmd {
namespace {

[[noreturn]] void throw_failed_write() {
  if (errno == EPIPE) throw ClosedPipe();
  throw OutputError("standard output: " + std::string(std::strerror(errno)));
}

// Returns false, with errno set, if not everything could be written.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {  // somebody made the pipe non-blocking
      pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

void write_output(std::string_view text) {
  if (!write_all(STDOUT_FILENO, text)) throw_failed_write();
}

void close_output() {
  if (::close(STDOUT_FILENO) != 0 && errno != EBADF && errno != EINTR) throw_failed_write();
}

void write_message(std::string_view text) {
  write_all(STDERR_FILENO, text);
}

}  // namespace baleen::cmd
