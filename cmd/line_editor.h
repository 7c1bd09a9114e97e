// A line of input from a terminal, with editing and history: what of libedit the chat uses. Draws on the
// terminal that standard input is, so that what standard output and standard error are redirected to never
// holds any of it.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "cmd/terminal.h"

struct editline;
struct history;

namespace baleen::cmd {

class LineEditor {
 public:
  // `history_file` is read now and written with each line; where that fails the history lives as long as
  // this. "": the same. Sets the locale's character type, for libedit to know what a character is.
  LineEditor(std::filesystem::path history_file, ColorChoice color);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  struct Input {
    enum class End { line, interrupt, end_of_input };
    End end = End::line;
    std::string text;  // without a newline at the end; pasted text has newlines inside
  };

  // Waits for a line. Ctrl-C ends it with `interrupt` and what was typed until then; Ctrl-Z suspends the
  // program's process group; a signal that ends the process restores the terminal first.
  Input read(std::string_view prompt);

 private:
  // What keys do; libedit finds the editor in its client data.
  struct Keys;

  std::string decorated(std::string_view prompt) const;
  void load_history();
  void remember(const std::string& line);

  std::filesystem::path history_file_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> screen_;
  Style style_;
  std::unique_ptr<history, void (*)(history*)> history_;
  std::unique_ptr<editline, void (*)(editline*)> editor_;
  std::string prompt_;
  bool interrupted_ = false;
};

// $BALEEN_HISTORY, which may be set to nothing for no file; else baleen/history in $XDG_STATE_HOME or in
// ~/.local/state; "" if there is no such folder.
std::filesystem::path default_history_file();

}  // namespace baleen::cmd
