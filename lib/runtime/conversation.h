// A conversation as users write it down: reading it from JSON, and turning it into the text that a model goes
// on from. Owns what is asked of a messages file; what templates get to see is tokenizer/chat_template.h's.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "tokenizer/chat_template.h"

namespace baleen {

struct Conversation {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();  // objects with a role
  nlohmann::ordered_json tools, documents;                            // lists of objects, or null
  nlohmann::ordered_json template_vars = nlohmann::ordered_json::object();
};

// The conversation in a list of messages, or in {"schema": 1, "messages": [...], "tools": [...],
// "documents": [...], "template_vars": {...}}, of which all but the messages may be missing. Throws Error for
// another shape, without the name of a file.
Conversation conversation_from(nlohmann::ordered_json document);

// The same of a JSON text. `file` names it in errors. Throws FormatError for what is no JSON, is nested more
// than 64 deep, or has another shape.
Conversation parse_conversation(std::string_view json, const std::string& file);

// The same as JSON that parse_conversation() reads, for people: indented, and without what is empty.
std::string write_conversation(const Conversation& conversation);

// "K=JSON". Throws UsageError naming K if what follows is no JSON, and for a K that templates get
// from the conversation itself.
std::pair<std::string, nlohmann::ordered_json> parse_template_var(std::string_view assignment);

bool begins_with_system(const Conversation& conversation);

struct RenderedConversation {
  std::string text;
  bool inside_thinking = false;  // the answer begins inside <think>
};

// The prompt, as the text generation pipeline of transformers 5.23 makes it: what the model is to write next
// is an answer (add_generation_prompt) or, if the last message is the assistant's own, the rest of that
// message (continue_final_message). Throws FormatError as ChatTemplate does, and UsageError for an empty
// conversation and for a last message that cannot be continued exactly.
RenderedConversation render_conversation(const Conversation& conversation,
                                         const ChatTemplate& chat_template,
                                         const std::map<std::string, std::string>& named_tokens);

}  // namespace baleen
