// The conversation that the options of `baleen run` make up.
#pragma once

#include <string>

#include "cmd/run_options.h"
#include "runtime/conversation.h"

namespace baleen::cmd {

// The first option given that only a chat template can follow, "--system"; "" if there is none.
std::string chat_option(const RunOptions& options);

// Throws UsageError for options of a chat that contradict each other or the rest.
void check_chat_options(const RunOptions& options);

// A conversation from a file; - is standard input. Throws Error.
Conversation read_messages(const std::string& file);

// Those of --template-var, over what the conversation has.
void set_template_vars(const RunOptions& options, Conversation& conversation);

// --messages, behind --system, with --template-var: what a conversation begins with. Throws as
// read_conversation() does.
Conversation begin_conversation(const RunOptions& options);

// --messages, behind --system and in front of the prompt as a user's message; without --messages there is
// always a prompt. Throws Error for what cannot be read, UsageError for two system messages.
Conversation read_conversation(const RunOptions& options);

}  // namespace baleen::cmd
