#include "cmd/signals.h"

#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "model/forward.h"

namespace baleen::cmd {
namespace {

// The only state of the program that is not passed around: a signal handler can reach no other.
std::atomic<bool> cancelled{false};
std::atomic<int> signal_that_came{0};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void note_signal(int signal) {
  signal_that_came = signal;
  cancelled = true;
}

// What TerminalGuard restores. Set while no handler looks at it.
struct Terminal {
  int fd = -1;
  termios modes = {};
  std::string_view farewell;
};
Terminal terminal;

void restore_terminal(int signal) {
  const int error = errno;
  // In the background the terminal is somebody else's.
  if (::tcgetpgrp(terminal.fd) == ::getpgrp()) {
    ::tcsetattr(terminal.fd, TCSANOW, &terminal.modes);
    [[maybe_unused]] const ssize_t count =
        ::write(terminal.fd, terminal.farewell.data(), terminal.farewell.size());
  }
  errno = error;
  std::raise(signal);  // has its effect when this returns: SA_RESETHAND
}

constexpr std::array flag_signals = {SIGINT, SIGTERM, SIGHUP};
constexpr std::array ending_signals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

void set_action(int signal, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

// A signal that the parent had ignored, as nohup and background jobs do, stays ignored.
bool is_ignored(int signal) {
  struct sigaction action {};
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

}  // namespace

SignalFlag::SignalFlag() {
  signal_that_came = 0;
  cancelled = false;
  for (const int signal : flag_signals) {
    if (!is_ignored(signal)) set_action(signal, note_signal, static_cast<int>(SA_RESTART | SA_RESETHAND));
  }
}

SignalFlag::~SignalFlag() {
  for (const int signal : flag_signals) {
    if (!is_ignored(signal)) set_action(signal, SIG_DFL, 0);
  }
}

const std::atomic<bool>* SignalFlag::cancel() {
  return &cancelled;
}

int SignalFlag::signal() {
  return signal_that_came;
}

int run_until_signal(const std::function<int()>& work) {
  int signal = 0;
  {
    const SignalFlag flag;
    try {
      return work();
    } catch (const Cancelled&) {
      signal = SignalFlag::signal();
    }
  }
  raise_again(signal);
  return 1;
}

TerminalGuard::TerminalGuard(int fd, std::string_view farewell) {
  terminal = {.fd = fd, .modes = {}, .farewell = farewell};
  if (::tcgetattr(fd, &terminal.modes) != 0) return;
  for (const int signal : ending_signals) {
    if (!is_ignored(signal)) {
      set_action(signal, restore_terminal, static_cast<int>(SA_RESTART | SA_RESETHAND));
    }
  }
}

TerminalGuard::~TerminalGuard() {
  for (const int signal : ending_signals) {
    if (!is_ignored(signal)) set_action(signal, SIG_DFL, 0);
  }
}

void raise_again(int signal) {
  set_action(signal, SIG_DFL, 0);
  std::raise(signal);
}

}  // namespace baleen::cmd
