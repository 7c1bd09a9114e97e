// A line of a batch: what to answer, how, and what comes back beside the answer. Owns the form of a line;
// knows nothing of the model that will read it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/conversation.h"
#include "runtime/request.h"
#include "tokenizer/token_id.h"

namespace baleen {

struct BatchLine {
  nlohmann::ordered_json id;  // any JSON; null if there is none
  std::optional<std::string> label;
  // A prompt with tools, documents or template variables beside it is a conversation: one user's message.
  using Prompt = std::string;
  using Ids = std::vector<TokenId>;
  std::variant<Prompt, Conversation, Ids> input;
  RequestOptions options;  // in the ranges of the command line's
  // The keys that mean nothing here, in their order, with their values. Numbers are 64-bit integers or
  // doubles, as everywhere in JSON.
  nlohmann::ordered_json extra = nlohmann::ordered_json::object();
  // What is wrong: one line, valid UTF-8, of bounded length. Empty: the line can run. Otherwise input and
  // options mean nothing; id, label and extra are there as far as they could be read.
  std::string error;
};

// Reads an object with
//   "prompt": a string, "messages": a list as in conversation.h, or "ids": a list of token ids - one of them;
//   "tools", "documents", "template_vars" as in conversation.h;
//   "id": anything; "label": a string;
//   options by their long names, words joined by - or _: "n", "temp", "top-k", "top-p", "min-p",
//   "repeat-penalty", "seed", "greedy", "stop" (a string or a list of them), "ignore-eos", "think-budget",
//   "logprobs".
// null is the same as no value: tables written as JSON lines are full of it. A key that stands twice is an
// error. Never throws for what the line holds.
BatchLine parse_batch_line(std::string_view line);

}  // namespace baleen
