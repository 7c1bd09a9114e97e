// Runs one shell command: bytes in on its standard input, bytes out from its standard output. Standard error
// is the program's own.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace baleen {

struct CommandResult {
  enum class End { exited, signalled, too_much_output, stopped };
  End end = End::exited;
  int status = 0;      // exited: its status; signalled: the signal's number
  std::string output;  // of exited
};

// Waits for `sh -c COMMAND` and nothing else: what the command leaves running in the background is neither
// waited for nor ended. A command need not read its input. One that prints more than `most_output` bytes is
// killed, and so it is as soon as there is something to read from `stop_fd`; each time with all of its
// process group, which it has to itself, and never leaving a zombie. The command gets SIGPIPE's default
// action, and the thread's signal mask without SIGPIPE. The calling thread must have SIGPIPE blocked. Throws
// Error for what the system refuses.
CommandResult run_shell_command(const std::string& command, std::string_view input, std::size_t most_output,
                                int stop_fd);

}  // namespace baleen
