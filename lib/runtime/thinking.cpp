#include "runtime/thinking.h"

#include <algorithm>
#include <utility>

namespace baleen {
namespace {

constexpr std::string_view open_tag = "<think>";
constexpr std::string_view close_tag = "</think>";
constexpr std::string_view white_space = " \t\r\n";

std::string_view trim_front(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(white_space), text.size()));
  return text;
}

std::string_view trim_back(std::string_view text) {
  return text.substr(0, text.find_last_not_of(white_space) + 1);
}

// `text` less what at its end may be the beginning of `tag`.
std::string_view without_begun(std::string_view text, std::string_view tag) {
  std::size_t length = std::min(text.size(), tag.size() - 1);
  while (!text.ends_with(tag.substr(0, length))) --length;
  return text.substr(0, text.size() - length);
}

}  // namespace

bool ends_in_open_think(std::string_view prompt) {
  return trim_back(prompt).ends_with(open_tag);
}

bool ends_inside_thinking(std::string_view text) {
  const std::size_t opened = text.rfind(open_tag);
  return opened != text.npos && text.find(close_tag, opened) == text.npos;
}

Answer split_thinking(std::string_view answer, bool inside) {
  ThinkingSplitter splitter(inside);
  Answer result = splitter.push(answer);
  const Answer rest = splitter.finish();
  result.text += rest.text;
  result.reasoning += rest.reasoning;
  return result;
}

Answer ThinkingSplitter::push(std::string_view piece) {
  held_ += piece;
  Answer certain;
  while (begin_part() && end_part(certain)) {
  }
  return certain;
}

// Drops what at the beginning of a part belongs to none. False: that takes more text.
bool ThinkingSplitter::begin_part() {
  if (!at_tag_) return true;
  held_.erase(0, std::min(held_.find_first_not_of(white_space), held_.size()));
  if (may_reopen_ && held_.starts_with(open_tag)) {
    may_reopen_ = false;
    held_.erase(0, open_tag.size());
    return begin_part();
  }
  if (held_.empty() || (may_reopen_ && open_tag.starts_with(held_))) return false;
  may_reopen_ = at_tag_ = false;
  return true;
}

// Moves to `certain` what is decided of the part. False: its end has not come.
bool ThinkingSplitter::end_part(Answer& certain) {
  const std::string_view tag = inside_ ? close_tag : open_tag;
  const std::size_t end = held_.find(tag);
  const bool ended = end != std::string::npos;
  std::string_view part = ended ? std::string_view(held_).substr(0, end) : without_begun(held_, tag);
  if (inside_) part = trim_back(part);
  if (!inside_ && blank_ && trim_front(part).empty()) part = {};
  if (!part.empty()) blank_ = false;
  (inside_ ? certain.reasoning : certain.text) += part;
  held_.erase(0, ended ? end + tag.size() : part.size());
  if (!ended) return false;
  inside_ = !inside_;
  at_tag_ = blank_ = true;
  return true;
}

Answer ThinkingSplitter::finish() {
  Answer rest;
  (inside_ ? rest.reasoning : rest.text) = std::move(held_);
  held_.clear();
  return rest;
}

}  // namespace baleen
