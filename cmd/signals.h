// SIGINT and SIGTERM as a flag, so that what was generated is still written before the signal has its effect.
#pragma once

#include <atomic>

namespace baleen::cmd {

// While it lives, the first SIGINT or SIGTERM sets the flag; a second one ends the process at once.
class SignalFlag {
 public:
  SignalFlag();
  ~SignalFlag();
  SignalFlag(const SignalFlag&) = delete;
  SignalFlag& operator=(const SignalFlag&) = delete;

  static const std::atomic<bool>* cancel();
  static int signal();  // that came; 0: none
};

// Restores the default action and raises the signal, so that a shell sees what ended the process.
void raise_again(int signal);

}  // namespace baleen::cmd
