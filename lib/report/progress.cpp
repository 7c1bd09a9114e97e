#include "report/progress.h"

#include <utility>

#include "report/units.h"

namespace baleen {

Progress::Progress(Mode mode, std::string work, std::uint64_t total, std::string unit, Write write)
    : mode_(mode),
      work_(std::move(work)),
      total_(total),
      unit_(std::move(unit)),
      write_(std::move(write)),
      next_(mode == Mode::terminal ? 0.5 : 1) {}

void Progress::update(std::uint64_t done, double seconds, std::string_view more) {
  if (mode_ == Mode::terminal && seconds >= next_) {
    write_("\r" + line(done, seconds, more) + "\x1b[K");
    shown_ = true;
    next_ = seconds + 0.1;
  } else if (mode_ == Mode::lines && (seconds >= next_ || (done == total_ && total_ > 0))) {
    write_(line(done, seconds, more) + "\n");
    next_ = seconds + 1;
  }
}

void Progress::erase() {
  if (shown_) write_("\r\x1b[K");
  shown_ = false;
}

std::string Progress::line(std::uint64_t done, double seconds, std::string_view more) const {
  std::string text = work_ + " " + std::to_string(done);
  if (total_ > 0) text += " of " + std::to_string(total_);
  text += " " + unit_;
  if (done > 0 && seconds > 0) {
    const double rate = static_cast<double>(done) / seconds;
    text += ", " + format_fixed(rate, 1) + " " + unit_ + "/s";
    if (done < total_) text += ", " + format_seconds(static_cast<double>(total_ - done) / rate) + " left";
  }
  if (!more.empty()) text += ", " + std::string(more);
  return text;
}

}  // namespace baleen
