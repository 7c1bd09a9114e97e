// Finds stop strings in streamed text. What may be the beginning of one is held back until more text decides,
// so that no part of a stop string is ever shown.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace baleen {

class StopStrings {
 public:
  // Empty strings are ignored.
  explicit StopStrings(std::vector<std::string> strings);

  // Takes more text and returns what is certain to come before any stop string. Of all matches the one that
  // is complete first wins, of those the longest: how the text is cut into calls makes no difference. After
  // a match everything is swallowed.
  std::string push(std::string_view text);
  // The text has ended: what was still held back.
  std::string finish();
  // A stop string was found.
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace baleen
