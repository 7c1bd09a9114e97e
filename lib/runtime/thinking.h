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

// Whether a text has a <think> that it does not close: what goes on from it begins inside thinking.
bool ends_inside_thinking(std::string_view text);

// `inside`: the answer begins inside thinking. Thinking that is never closed reaches to the end. White space
// next to the tags, which templates put there, belongs to neither part.
Answer split_thinking(std::string_view answer, bool inside);

// Does the same for an answer that comes in pieces: all that push() and finish() return, put together, is
// what split_thinking() gives for the whole, however it was cut. Only what more text may still decide is held
// back: the beginning of a tag, and white space that a tag may follow.
class ThinkingSplitter {
 public:
  explicit ThinkingSplitter(bool inside) : inside_(inside), may_reopen_(inside), at_tag_(inside) {}

  Answer push(std::string_view piece);  // whole characters in, whole characters out
  Answer finish();                      // the answer has ended
  bool inside() const { return inside_; }

 private:
  bool begin_part();
  bool end_part(Answer& certain);

  std::string held_;
  bool inside_;
  bool may_reopen_;    // the prompt opened <think>, and the model may do so once more
  bool at_tag_;        // white space that comes now is dropped
  bool blank_ = true;  // outside: the part had nothing but white space so far
};

}  // namespace baleen
