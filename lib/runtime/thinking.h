// Parts a reasoning model's answer into its thinking, <think>...</think>, and the rest.
#pragma once

#include <string>
#include <string_view>

namespace baleen {

struct Answer {
  std::string text;       // never holds thinking or its tags
  std::string reasoning;  // "" if there was none
};

// Whether a prompt ends in an opened <think>, white space aside: the answer begins inside it.
bool ends_in_open_think(std::string_view prompt);

// `inside`: the answer begins inside thinking. Thinking that is never closed reaches to the end. White space
// next to the tags, which templates put there, belongs to neither part.
Answer split_thinking(std::string_view answer, bool inside);

}  // namespace baleen
