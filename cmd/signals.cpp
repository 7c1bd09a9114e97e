#include "cmd/signals.h"

#include <csignal>

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
  for (const int signal : {SIGINT, SIGTERM}) {
    if (!is_ignored(signal)) set_action(signal, note_signal, static_cast<int>(SA_RESTART | SA_RESETHAND));
  }
}

SignalFlag::~SignalFlag() {
  for (const int signal : {SIGINT, SIGTERM}) {
    if (!is_ignored(signal)) set_action(signal, SIG_DFL, 0);
  }
}

const std::atomic<bool>* SignalFlag::cancel() {
  return &cancelled;
}

int SignalFlag::signal() {
  return signal_that_came;
}

void raise_again(int signal) {
  set_action(signal, SIG_DFL, 0);
  std::raise(signal);
}

}  // namespace baleen::cmd
