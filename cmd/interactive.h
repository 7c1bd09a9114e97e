// The interactive chat of `baleen run`: prompt after prompt from a terminal, each answered in the light of
// what went before.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "cmd/prompt.h"
#include "cmd/run_options.h"
#include "runtime/generate.h"
#include "runtime/scheduler.h"

namespace baleen::cmd {

// Whether these options ask for a chat: there is no prompt and standard input is a terminal. --messages is
// what a chat begins with, unless standard output goes elsewhere: then it is a prompt. Throws UsageError if
// there is no prompt and an option has no place in a chat.
bool asks_for_chat(const RunOptions& options);

// A prompt that was answered and printed.
struct Turn {
  std::string text;  // as generated: with thinking
  FinishReason finish_reason = FinishReason::stop;
  std::size_t tokens = 0;  // generated
  GenerateTimes times;
};

struct Chat {
  const RunOptions& options;
  PromptMaker& maker;  // without a chat template every message is a text to continue
  std::size_t context;  // tokens at most
  std::function<Turn(const Prompt&)> answer;
};

// Talks until the user ends it. A SIGTERM during an answer is raised again when what was generated is
// printed.
void interact(const Chat& chat);

}  // namespace baleen::cmd
