#include "report/progress.h"

#include <algorithm>
#include <utility>

#include "report/units.h"

namespace baleen {

Progress::Progress(Mode mode, std::string work, std::uint64_t total, std::string unit, Screen screen)
    : mode_(mode),
      work_(std::move(work)),
      total_(total),
      unit_(std::move(unit)),
      screen_(std::move(screen)),
      next_(mode == Mode::terminal ? 0.5 : 1) {}

void Progress::update(std::uint64_t done, double seconds, std::string_view more) {
  if (mode_ == Mode::terminal && seconds >= next_) {
    // Blanks instead of an escape sequence, which not every terminal knows. The last column stays free, where
    // some go on to the next line.
    const std::string text =
        line(done, seconds, more).substr(0, std::max<std::size_t>(screen_.columns(), 2) - 1);
    screen_.write("\r" + text + std::string(shown_ - std::min(shown_, text.size()), ' '));
    shown_ = text.size();
    next_ = seconds + 0.1;
  } else if (mode_ == Mode::lines && (seconds >= next_ || (done == total_ && total_ > 0))) {
    screen_.write(line(done, seconds, more) + "\n");
    next_ = seconds + 1;
  }
}

void Progress::erase() {
  if (shown_ > 0) screen_.write("\r" + std::string(shown_, ' ') + "\r");
  shown_ = 0;
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
