#include "runtime/thinking.h"

#include <algorithm>

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

}  // namespace

bool ends_in_open_think(std::string_view prompt) {
  return trim_back(prompt).ends_with(open_tag);
}

Answer split_thinking(std::string_view answer, bool inside) {
  Answer result;
  if (inside && trim_front(answer).starts_with(open_tag)) inside = false;  // the model opened it once more
  std::string_view rest = inside ? trim_front(answer) : answer;
  while (true) {
    const std::size_t tag = rest.find(inside ? close_tag : open_tag);
    const std::string_view part = rest.substr(0, tag);
    const bool last = tag == std::string_view::npos;
    if (inside) {
      result.reasoning += last ? part : trim_back(part);
    } else if (last || !trim_front(part).empty()) {
      result.text += part;  // white space alone before thinking is no answer
    }
    if (last) return result;
    rest = trim_front(rest.substr(tag + (inside ? close_tag : open_tag).size()));
    inside = !inside;
  }
}

}  // namespace baleen
