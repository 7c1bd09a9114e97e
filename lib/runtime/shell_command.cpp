#include "runtime/shell_command.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "checkpoint/files.h"

namespace baleen {
namespace {

struct Pipe {
  FileDescriptor read;
  FileDescriptor write;
};

// Not inherited: a command that got the ends of another one's pipes would keep them from being closed.
Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_system_error("pipe", "", errno);
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// For our end alone: commands do not expect a pipe that is not ready to answer EAGAIN.
void set_non_blocking(const FileDescriptor& fd) {
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) throw_system_error("pipe", "", errno);
}

// What becomes of signals in the command. Blocked and ignored ones stay so through exec: without this the
// `yes` of `yes | head` would not end.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    posix_spawnattr_init(&attributes_);
    posix_spawnattr_setflags(&attributes_,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes_, 0);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
    pthread_sigmask(SIG_SETMASK, nullptr, &signals);
    sigdelset(&signals, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes_, &signals);
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

class SpawnFiles {
 public:
  SpawnFiles(const FileDescriptor& input, const FileDescriptor& output) {
    posix_spawn_file_actions_init(&actions_);
    const int failed_in = posix_spawn_file_actions_adddup2(&actions_, input.get(), STDIN_FILENO);
    const int failed_out = posix_spawn_file_actions_adddup2(&actions_, output.get(), STDOUT_FILENO);
    if (failed_in == 0 && failed_out == 0) return;
    posix_spawn_file_actions_destroy(&actions_);
    throw_system_error("sh", "", failed_in != 0 ? failed_in : failed_out);
  }
  ~SpawnFiles() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnFiles(const SpawnFiles&) = delete;
  SpawnFiles& operator=(const SpawnFiles&) = delete;
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

pid_t spawn_shell(std::string command, const FileDescriptor& input, const FileDescriptor& output) {
  std::string shell = "sh";
  std::string option = "-c";
  std::string end_of_options = "--";  // a command may begin with -
  const std::array<char*, 5> words{shell.data(), option.data(), end_of_options.data(), command.data(),
                                   nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, "/bin/sh", SpawnFiles(input, output).get(), SpawnAttributes().get(),
                                  words.data(), environ);
  if (error != 0) throw_system_error("/bin/sh", "", error);
  return pid;
}

// A running command. Its end kills what still runs: an error on our side leaves no process behind.
class Child {
 public:
  explicit Child(const std::string& command) {
    Pipe in = make_pipe();
    Pipe out = make_pipe();
    set_non_blocking(in.write);
    set_non_blocking(out.read);
    input_ = std::move(in.write);
    output_ = std::move(out.read);
    pid_ = spawn_shell(command, in.read, out.write);
  }
  ~Child() {
    if (pid_ == 0) return;
    ::kill(-pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  FileDescriptor& input() { return input_; }
  FileDescriptor& output() { return output_; }

  // Readable when the command has ended. By system call: glibc 2.36 declares pidfd_open for C alone.
  FileDescriptor end_event() const {
    FileDescriptor fd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    if (fd.get() < 0) throw_system_error("pidfd_open", "", errno);
    return fd;
  }

  // Of a command that has ended, as waitpid gives it.
  int take_status() {
    const pid_t pid = std::exchange(pid_, 0);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
      if (errno != EINTR) throw_system_error("waitpid", "", errno);
    }
    return status;
  }

 private:
  FileDescriptor input_;
  FileDescriptor output_;
  pid_t pid_ = 0;
};

// Writes as much of `input` as the pipe takes now. False when there is nothing left to do.
bool write_some(int fd, std::string_view& input) {
  while (!input.empty()) {
    const ssize_t count = ::write(fd, input.data(), input.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return true;
    if (count < 0 && errno == EPIPE) return false;  // nobody reads it, which is the command's business
    if (count < 0) throw_system_error("sh: standard input", "", errno);
    input.remove_prefix(static_cast<std::size_t>(count));
  }
  return false;
}

// Reads what there is, until `output` is longer than `most`. False at the end of the pipe.
bool read_some(int fd, std::string& output, std::size_t most) {
  std::array<char, 4096> buffer{};
  while (output.size() <= most) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return true;
    if (count < 0) throw_system_error("sh: standard output", "", errno);
    if (count == 0) return false;
    output.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

CommandResult run_shell_command(const std::string& command, std::string_view input, std::size_t most_output,
                                int stop_fd) {
  using End = CommandResult::End;
  Child child(command);
  const FileDescriptor ended = child.end_event();
  std::string output;
  // Input and output at once: a command may fill its output before it reads, or never read at all.
  for (bool running = true; running;) {
    enum { stop, end, in, out, count };
    std::array<pollfd, count> ready{};  // poll passes over those that are closed, -1
    ready[stop] = {.fd = stop_fd, .events = POLLIN, .revents = 0};
    ready[end] = {.fd = ended.get(), .events = POLLIN, .revents = 0};
    ready[in] = {.fd = child.input().get(), .events = POLLOUT, .revents = 0};
    ready[out] = {.fd = child.output().get(), .events = POLLIN, .revents = 0};
    if (::poll(ready.data(), ready.size(), -1) < 0) {
      if (errno == EINTR) continue;
      throw_system_error("poll", "", errno);
    }
    if (ready[stop].revents != 0) return {.end = End::stopped, .status = 0, .output = {}};
    running = ready[end].revents == 0;
    if (ready[in].revents != 0 && !write_some(child.input().get(), input)) child.input() = FileDescriptor();
    // What the command printed before its end is in the pipe by now.
    const bool reads = ready[out].revents != 0 || (!running && child.output().get() >= 0);
    if (reads && !read_some(child.output().get(), output, most_output)) child.output() = FileDescriptor();
    if (output.size() > most_output) return {.end = End::too_much_output, .status = 0, .output = {}};
  }
  const int status = child.take_status();
  if (WIFSIGNALED(status)) return {.end = End::signalled, .status = WTERMSIG(status), .output = {}};
  return {.end = End::exited, .status = WEXITSTATUS(status), .output = std::move(output)};
}

}  // namespace baleen
