// usage: terminal COMMAND [ARGUMENT]... <SCRIPT
// Runs a command on a pseudo-terminal of its own, as a person who reads what is there before typing:
//   wait TEXT    until the terminal shows TEXT behind what was waited for before
//   send TEXT    type it; the escapes \n (Enter), \e, \\ and \xHH are known, in `wait` too
//   signal NAME  send INT, TERM, HUP or WINCH to the command's process
//   sleep N      milliseconds
//   modes        print whether the terminal edits lines and echoes itself, or leaves that to the program
//   end          wait for the end of the command and print its status; implied at the end of the script
// What is printed is what was asked for; a text that does not come within half a minute (ten with a
// sanitizer) is an error, with all that the terminal showed.
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr auto patience = std::chrono::seconds(BALEEN_PATIENCE);

std::string unescape(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      result += text[i];
      continue;
    }
    switch (const char c = text[++i]) {
      case 'n':
        result += '\n';
        break;
      case 'e':
        result += '\x1b';
        break;
      case 'x':
        result += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
        i += 2;
        break;
      default:
        result += c;
    }
  }
  return result;
}

class Terminal {
 public:
  explicit Terminal(char** command) {
    winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    child_ = ::forkpty(&fd_, nullptr, nullptr, &size);
    if (child_ < 0) throw std::runtime_error("no pseudo-terminal");
    if (child_ == 0) {
      ::execvp(command[0], command);
      ::_exit(127);
    }
  }

  void wait(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    std::size_t at = shown_.find(text, seen_);
    for (; at == std::string::npos; at = shown_.find(text, seen_)) {
      if (std::chrono::steady_clock::now() > deadline || !read_more()) {
        throw std::runtime_error("waited for '" + text + "' in vain; shown was:\n" + shown_);
      }
    }
    seen_ = at + text.size();
  }

  void send(const std::string& text) {
    if (::write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      throw std::runtime_error("the terminal takes no more");
  }

  void signal(const std::string& name) {
    static const std::map<std::string, int> signals = {
        {"INT", SIGINT}, {"TERM", SIGTERM}, {"HUP", SIGHUP}, {"WINCH", SIGWINCH}};
    ::kill(child_, signals.at(name));
  }

  void print_modes() {
    termios modes = {};
    ::tcgetattr(fd_, &modes);
    std::cout << ((modes.c_lflag & ICANON) ? "lines" : "keys") << ((modes.c_lflag & ECHO) ? ", echo" : "")
              << ((modes.c_lflag & ISIG) ? ", signals" : "") << "\n";
  }

  void end() {
    if (ended_) return;
    while (read_more()) {
    }
    int status = 0;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (::waitpid(child_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) {
        ::kill(child_, SIGKILL);
        throw std::runtime_error("the command does not end; shown was:\n" + shown_);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ended_ = true;
    if (WIFSIGNALED(status)) {
      std::cout << "signal " << WTERMSIG(status) << "\n";
    } else {
      std::cout << "status " << WEXITSTATUS(status) << "\n";
    }
  }

 private:
  // False: the command has closed the terminal, or shows nothing for too long.
  bool read_more() {
    pollfd ready{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, static_cast<int>(std::chrono::milliseconds(patience).count())) <= 0) return false;
    std::array<char, 4096> buffer = {};
    const ssize_t count = ::read(fd_, buffer.data(), buffer.size());
    if (count <= 0) return false;
    shown_.append(buffer.data(), static_cast<std::size_t>(count));
    return true;
  }

  int fd_ = -1;
  pid_t child_ = -1;
  std::string shown_;
  std::size_t seen_ = 0;  // up to here was waited for
  bool ended_ = false;
};

void play(Terminal& terminal) {
  std::string line;
  while (std::getline(std::cin, line)) {
    const std::size_t space = std::min(line.find(' '), line.size());
    const std::string what = line.substr(0, space);
    const std::string text = unescape(std::string_view(line).substr(std::min(space + 1, line.size())));
    if (what == "wait") {
      terminal.wait(text);
    } else if (what == "send") {
      terminal.send(text);
    } else if (what == "signal") {
      terminal.signal(text);
    } else if (what == "sleep") {
      std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(text)));
    } else if (what == "modes") {
      terminal.print_modes();
    } else if (what == "end") {
      terminal.end();
    } else {
      throw std::runtime_error("unknown line in the script: " + line);
    }
  }
  terminal.end();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  try {
    Terminal terminal(argv + 1);
    play(terminal);
    return 0;
  } catch (const std::exception& error) {
    std::cout << "terminal: " << error.what() << "\n";
    return 1;
  }
}
