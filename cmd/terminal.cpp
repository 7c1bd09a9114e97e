#include "cmd/terminal.h"

#include <unistd.h>

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

Style::Style(int fd, ColorChoice choice)
    : colored_(choice == ColorChoice::always ||
               (choice == ColorChoice::automatic && is_terminal(fd) && !is_set("NO_COLOR") && !is_dumb())) {}

std::string Style::wrap(std::string_view code, std::string_view text) const {
  if (!colored_) return std::string(text);
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

}  // namespace baleen::cmd
