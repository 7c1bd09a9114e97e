// The prompt, from wherever the user put it, as text and as tokens.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "cmd/run_options.h"
#include "runtime/prompt.h"
#include "tokenizer/token_id.h"
#include "tokenizer/tokenizer.h"

namespace baleen::cmd {

// What errors call it: "-" is standard input.
std::string input_name(const std::string& name);
// The bytes of a file, or of standard input for "-". Throws Error if there are more than `most_bytes`.
std::string read_input(const std::string& name, std::size_t most_bytes);

// Throws Error naming `what` and the first wrong byte.
void check_utf8(const std::string& text, const std::string& what);

// The argument, the file or standard input; see --file and --raw in run_options.cpp. Throws Error for what
// cannot be read and for text that is not UTF-8.
std::string read_prompt(const RunOptions& options);

// Token ids in decimal, separated by white space. Throws Error naming the place of what is none.
std::vector<TokenId> parse_ids(std::string_view text);

// Makes prompts as the options ask for it; `tokenizer` is that of the model in `folder` and may be null with
// --ids. Throws Error for templates that cannot be read, UsageError if a chat is asked for and there is none.
PromptMaker prompt_maker(const RunOptions& options, const std::filesystem::path& folder,
                         const Tokenizer* tokenizer);

// The one prompt of the options. Throws Error for a prompt that cannot be had.
Prompt make_prompt(const RunOptions& options, PromptMaker& maker);

}  // namespace baleen::cmd
