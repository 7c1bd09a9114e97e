#include "cmd/output.h"

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
