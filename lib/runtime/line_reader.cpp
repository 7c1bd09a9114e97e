#include "runtime/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "checkpoint/files.h"

namespace baleen {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{64} << 10U;
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\v\f") == line.npos;
}

}  // namespace

LineReader::Result LineReader::next(bool wait) {
  while (true) {
    std::string_view line;
    if (take_line(line)) {
      const Result result = finish(line);
      if (result.state == State::too_long || !is_blank(result.line)) return result;
      continue;
    }
    if (ended_) return {};
    drop_long_line();
    const Input input = read_more(wait);
    if (input == Input::none_yet) return {.state = State::none_yet, .line = {}};
    if (input == Input::end) ended_ = true;
  }
}

// Takes a whole line, without its "\n", from the buffer; at the end of the input whatever is left.
bool LineReader::take_line(std::string_view& line) {
  const std::size_t newline = buffer_.find('\n', scanned_);
  scanned_ = std::min(newline, buffer_.size());
  const bool rest = newline == buffer_.npos;
  if (rest && (!ended_ || (begin_ == buffer_.size() && !skipping_))) return false;
  line = std::string_view(buffer_).substr(begin_, scanned_ - begin_);
  begin_ = scanned_ = rest ? scanned_ : scanned_ + 1;
  bytes_ += line.size() + (rest ? 0 : 1);
  ++line_number_;
  return true;
}

LineReader::Result LineReader::finish(std::string_view line) {
  const bool too_long = skipping_ || line.size() > most_bytes_;
  skipping_ = false;
  if (too_long) return {.state = State::too_long, .line = {}};
  if (line_number_ == 1 && line.starts_with(byte_order_mark)) line.remove_prefix(byte_order_mark.size());
  return {.state = State::line, .line = line};
}

// What is in the buffer holds no "\n" any more. Keeps the buffer at most_bytes and one chunk.
void LineReader::drop_long_line() {
  const std::size_t unread = buffer_.size() - begin_;
  if (unread > most_bytes_) skipping_ = true;
  if (skipping_) {
    bytes_ += unread;
    begin_ = buffer_.size();
  }
  buffer_.erase(0, begin_);
  scanned_ = buffer_.size();
  begin_ = 0;
}

// Whether reading would give something, be it the end or an error. Signal handlers are installed with
// SA_RESTART and a signal may come just before poll: hence a wait of short ones where it can be cancelled.
bool LineReader::is_ready(bool wait) const {
  while (true) {
    pollfd input{.fd = fd_, .events = POLLIN, .revents = 0};
    const int timeout = !wait ? 0 : cancel_ ? 100 : -1;
    if (fd_ < 0) throw_system_error(name_, "", EBADF);  // poll would ignore it
    const int count = cancelled() && wait ? 0 : ::poll(&input, 1, timeout);
    if (count > 0) return true;
    if (count < 0 && errno != EINTR && errno != EAGAIN) throw_system_error(name_, "", errno);
    if (count == 0 && (!wait || cancelled())) return false;
  }
}

LineReader::Input LineReader::read_more(bool wait) {
  const std::size_t have = buffer_.size();
  while (is_ready(wait)) {
    buffer_.resize(have + chunk_bytes);
    const ssize_t count = ::read(fd_, buffer_.data() + have, chunk_bytes);
    buffer_.resize(have + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    if (count > 0) return Input::more;
    if (count == 0) return Input::end;
    // Another reader of the same pipe may have been faster.
    if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) throw_system_error(name_, "", errno);
  }
  return Input::none_yet;
}

}  // namespace baleen
