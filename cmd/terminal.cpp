#include "cmd/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace baleen::cmd {
namespace {

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

}  // namespace

bool is_dumb() {
  return !is_set("TERM") || std::string_view(std::getenv("TERM")) == "dumb";
}

bool is_terminal(int fd) {
  return ::isatty(fd) == 1;
}

std::size_t terminal_width(int fd) {
  constexpr std::size_t most = 1000;
  constexpr std::size_t usual = 80;
  std::size_t width = 0;
  if (is_set("COLUMNS")) {
    const std::string_view columns = std::getenv("COLUMNS");
    std::from_chars(columns.data(), columns.data() + columns.size(), width);
  }
  winsize size{};
  if (width == 0 && ::ioctl(fd, TIOCGWINSZ, &size) == 0) width = size.ws_col;
  return width == 0 ? usual : std::min(width, most);
}

Style::Style(int fd, ColorChoice choice)
    : colored_(choice == ColorChoice::always ||
               (choice == ColorChoice::automatic && is_terminal(fd) && !is_set("NO_COLOR") && !is_dumb())) {}

std::string Style::wrap(std::string_view code, std::string_view text) const {
  if (!colored_) return std::string(text);
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

}  // namespace baleen::cmd
