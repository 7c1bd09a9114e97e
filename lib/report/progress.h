// One line that says how far a long piece of work is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace baleen {

class Progress {
 public:
  enum class Mode {
    off,
    terminal,  // one line, written over and erased at the end; appears after half a second
    lines,     // a line a second, and one when all is done: for logs
  };
  // Where it goes, and of how many columns that is now: a line that wraps could not be written over.
  struct Screen {
    std::function<void(std::string_view)> write;
    std::function<std::size_t()> columns;
  };

  // "prefill", 8192, "tokens"; a total of 0 is not known.
  Progress(Mode mode, std::string work, std::uint64_t total, std::string unit, Screen screen);
  ~Progress() { erase(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  Mode mode() const { return mode_; }
  // `done` of the total after `seconds` of work; `more` is shown behind that.
  void update(std::uint64_t done, double seconds, std::string_view more = {});
  // Takes the line off the terminal.
  void erase();

 private:
  std::string line(std::uint64_t done, double seconds, std::string_view more) const;

  Mode mode_;
  std::string work_;
  std::uint64_t total_;
  std::string unit_;
  Screen screen_;
  double next_;            // seconds at which the line is due
  std::size_t shown_ = 0;  // columns
};

}  // namespace baleen
