// SIGINT, SIGTERM and SIGHUP as a flag, so that what was generated is still written before the signal has its
// effect.
#pragma once

#include <atomic>
#include <functional>
#include <string_view>

namespace baleen::cmd {

// While it lives, the first SIGINT, SIGTERM or SIGHUP sets the flag; a second one of the kind ends the process
// at once. Each begins with the flag not set: an answer that is stopped is not the end of a chat.
class SignalFlag {
 public:
  SignalFlag();
  ~SignalFlag();
  SignalFlag(const SignalFlag&) = delete;
  SignalFlag& operator=(const SignalFlag&) = delete;

  static const std::atomic<bool>* cancel();
  static int signal();  // that came; 0: none
};

// Runs `work` while a SignalFlag lives. Where that was Cancelled the process ends as the signal would have
// ended it.
int run_until_signal(const std::function<int()>& work);

// While it lives, a signal that ends the process gives the terminal its present modes back before that, and
// writes `farewell` to it: for those who change the modes. `farewell` must outlive it.
class TerminalGuard {
 public:
  TerminalGuard(int terminal, std::string_view farewell);
  ~TerminalGuard();
  TerminalGuard(const TerminalGuard&) = delete;
  TerminalGuard& operator=(const TerminalGuard&) = delete;
};

// Restores the default action and raises the signal, so that a shell sees what ended the process.
void raise_again(int signal);

}  // namespace baleen::cmd
