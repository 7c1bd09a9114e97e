// The prompt, from wherever the user put it, as text and as tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cmd/run_options.h"
#include "tokenizer/token_id.h"
#include "tokenizer/tokenizer.h"

namespace baleen::cmd {

struct Prompt {
  std::string text;  // as written; of --ids what the ids decode to, if there is a tokenizer
  std::vector<TokenId> ids;
  double tokenize_seconds = 0;
};

// Throws UsageError if there is no prompt to read: nothing is given and standard input is a terminal.
void check_prompt_source(const RunOptions& options);

// The argument, the file or standard input; see --file and --raw in run_options.cpp. Throws Error for what
// cannot be read and for text that is not UTF-8.
std::string read_prompt(const RunOptions& options);

// Token ids in decimal, separated by white space. Throws Error naming the place of what is none.
std::vector<TokenId> parse_ids(std::string_view text);

// `tokenizer` may be null with --ids.
Prompt make_prompt(const RunOptions& options, const Tokenizer* tokenizer);

}  // namespace baleen::cmd
