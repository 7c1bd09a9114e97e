// Lines of a file, a pipe or a terminal, one at a time, in bounded memory, and without waiting where others
// have work to go on with.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace baleen {

class LineReader {
 public:
  enum class State {
    line,
    too_long,  // a line of more than most_bytes, which was skipped
    none_yet,  // no whole line can be had without waiting, or the wait was cancelled
    end,
  };
  struct Result {
    State state = State::end;
    std::string_view line;  // without "\n"; valid until the next call
  };

  // Reads `fd`, which stays the caller's; `name` names it in errors. A wait ends within about 100 ms after
  // `cancel` became true.
  LineReader(int fd, std::string name, std::size_t most_bytes = std::size_t{64} << 20U,
             const std::atomic<bool>* cancel = nullptr)
      : fd_(fd), name_(std::move(name)), most_bytes_(most_bytes), cancel_(cancel) {}

  // The next line that holds more than white space; the last one needs no "\n". A byte order mark at the
  // very start is left out. Throws Error naming the file if reading fails.
  Result next(bool wait);

  std::uint64_t line_number() const { return line_number_; }  // of the line returned last, from 1
  std::uint64_t bytes() const { return bytes_; }              // of input up to the end of that line

 private:
  enum class Input { more, none_yet, end };

  bool take_line(std::string_view& line);
  Result finish(std::string_view line);
  void drop_long_line();
  bool is_ready(bool wait) const;
  Input read_more(bool wait);
  bool cancelled() const { return cancel_ != nullptr && cancel_->load(); }

  int fd_;
  std::string name_;
  std::size_t most_bytes_;
  const std::atomic<bool>* cancel_;
  std::string buffer_;  // what was read and is not returned yet begins at begin_
  std::size_t begin_ = 0;
  std::size_t scanned_ = 0;  // no "\n" in front of this place
  bool skipping_ = false;    // the line goes on behind a part that was dropped
  bool ended_ = false;
  std::uint64_t line_number_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace baleen
