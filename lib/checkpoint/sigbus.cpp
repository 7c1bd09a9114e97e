#include "checkpoint/sigbus.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "checkpoint/mapped_file.h"

namespace baleen {

namespace {

std::array<char, 64> message_prefix{};
void (*cleanup_hook)() = nullptr;
std::atomic_flag reported;

void write_text(const char* text) {
  std::size_t left = std::strlen(text);
  while (left > 0) {
    const ssize_t wrote = ::write(STDERR_FILENO, text, left);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return;
    text += wrote;
    left -= static_cast<std::size_t>(wrote);
  }
}

// stat, write, raise and _exit are async-signal-safe (POSIX.1-2017, 2.4.3).
void on_sigbus(int signal, siginfo_t* info, void*) {
  // Sent by another process, a SIGBUS has no address.
  const MappedAddress where = info->si_code > 0 ? find_mapped_file(info->si_addr) : MappedAddress{};
  if (where.path == nullptr) {
    // Not ours: it comes again, now with the default effect, when the handler returns.
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
    ::raise(signal);
    return;
  }
  // Several threads may fault at once: the first one speaks, the others wait for the end of the process.
  if (reported.test_and_set()) {
    for (;;) ::pause();
  }
  struct stat status {};
  const bool unread =
      ::stat(where.path, &status) == 0 && static_cast<std::size_t>(status.st_size) > where.offset;
  if (message_prefix[0] != '\0') {
    write_text(message_prefix.data());
    write_text(": ");
  }
  write_text(where.path);
  write_text(unread ? ": the file could not be read: Input/output error\n"
                    : ": the file shrank while it was mapped\n");
  if (cleanup_hook != nullptr) cleanup_hook();
  ::_exit(1);
}

}  // namespace

void install_sigbus_handler(std::string_view prefix, void (*cleanup)()) {
  const std::size_t length = prefix.copy(message_prefix.data(), message_prefix.size() - 1);
  message_prefix[length] = '\0';
  cleanup_hook = cleanup;
  struct sigaction action {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace baleen
