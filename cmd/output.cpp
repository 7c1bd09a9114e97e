#include "cmd/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "error.h"
#include "report/output_file.h"

namespace baleen::cmd {
namespace {

[[noreturn]] void throw_failed_write() {
  if (errno == EPIPE) throw ClosedPipe();
  throw OutputError("standard output: " + std::string(std::strerror(errno)));
}

}  // namespace

void occupy_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // open() takes the lowest number that is free. Output only, input cannot be read; and the other way
    // round.
    if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

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
