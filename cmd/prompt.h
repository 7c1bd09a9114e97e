// The prompt, from wherever the user put it, as text and as tokens.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "cmd/run_options.h"
#include "tokenizer/token_id.h"
#include "tokenizer/tokenizer.h"

namespace baleen::cmd {

struct Prompt {
  // As written, or rendered by the chat template; of --ids what the ids decode to, if there is a tokenizer.
  std::string text;
  std::vector<TokenId> ids;
  bool inside_thinking = false;  // the answer begins inside <think>
  std::string template_file = {};  // of the chat template that made it; "" without one
  double tokenize_seconds = 0;
};

// Throws UsageError if there is no prompt to read: nothing is given and standard input is a terminal.
void check_prompt_source(const RunOptions& options);

// The bytes of a file, or of standard input for "-". Throws Error if there are more than `most_bytes`.
std::string read_input(const std::string& name, std::size_t most_bytes);

// Throws Error naming `what` and the first wrong byte.
void check_utf8(const std::string& text, const std::string& what);

// The argument, the file or standard input; see --file and --raw in run_options.cpp. Throws Error for what
// cannot be read and for text that is not UTF-8.
std::string read_prompt(const RunOptions& options);

// Token ids in decimal, separated by white space. Throws Error naming the place of what is none.
std::vector<TokenId> parse_ids(std::string_view text);

// `tokenizer` is that of the model in `folder`; it may be null with --ids. Throws Error for a prompt that
// cannot be had, and UsageError if a chat is asked for and the model has no chat template.
Prompt make_prompt(const RunOptions& options, const std::filesystem::path& folder,
                   const Tokenizer* tokenizer);

}  // namespace baleen::cmd
