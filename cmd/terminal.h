// What a stream is connected to, and whether text on it may be coloured.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace baleen::cmd {

enum class ColorChoice { automatic, always, never };

bool is_terminal(int fd);

// $TERM names a terminal that knows no escape sequences, or none.
bool is_dumb();
// Columns of what `fd` is connected to: $COLUMNS, or what the terminal says, or 80.
std::size_t terminal_width(int fd);

// By stream: on a terminal, unless NO_COLOR is set to something, or as chosen.
class Style {
 public:
  Style(int fd, ColorChoice choice);

  bool colored() const { return colored_; }

  std::string bold(std::string_view text) const { return wrap("1", text); }
  std::string red(std::string_view text) const { return wrap("1;31", text); }
  std::string green(std::string_view text) const { return wrap("1;32", text); }
  std::string yellow(std::string_view text) const { return wrap("1;33", text); }

 private:
  std::string wrap(std::string_view code, std::string_view text) const;

  bool colored_;
};

}  // namespace baleen::cmd
