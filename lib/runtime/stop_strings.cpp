#include "runtime/stop_strings.h"

#include <algorithm>
#include <utility>

namespace baleen {
namespace {

// The longest end of `text` that a stop string begins with.
std::size_t unfinished(std::string_view text, std::string_view stop) {
  std::size_t size = std::min(text.size(), stop.size() - 1);
  while (!stop.starts_with(text.substr(text.size() - size))) --size;
  return size;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  std::erase(strings_, "");
}

std::string StopStrings::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  std::size_t certain = held_.size();
  std::size_t first_end = std::string::npos;
  for (const std::string& stop : strings_) {
    const std::size_t begin = held_.find(stop);
    if (begin == std::string::npos) continue;
    const std::size_t end = begin + stop.size();
    if (end < first_end || (end == first_end && begin < certain)) certain = begin;
    first_end = std::min(first_end, end);
  }
  stopped_ = first_end != std::string::npos;
  if (!stopped_) {
    std::size_t hold = 0;
    for (const std::string& stop : strings_) hold = std::max(hold, unfinished(held_, stop));
    certain = held_.size() - hold;
  }
  std::string result = held_.substr(0, certain);
  held_.erase(0, stopped_ ? held_.size() : certain);
  return result;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace baleen
