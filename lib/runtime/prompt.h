// What the model gets to read: ids, a text, or a conversation in the form of the model's chat template.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/conversation.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/token_id.h"
#include "tokenizer/tokenizer.h"

namespace baleen {

struct Prompt {
  // As written, or rendered by the chat template; of ids what they decode to, if there is a tokenizer.
  std::string text;
  std::vector<TokenId> ids;
  bool inside_thinking = false;    // the answer begins inside <think>
  std::string template_file = {};  // of the chat template that made it; "" without one
  double tokenize_seconds = 0;
};

class PromptMaker {
 public:
  // `templates`: the model's; empty if it has none or none is wanted. `tokenizer` may be null, then there can
  // be ids only; it must outlive this.
  PromptMaker(ChatTemplateTexts templates, const Tokenizer* tokenizer)
      : templates_(std::move(templates)), tokenizer_(tokenizer) {}

  bool has_chat_template() const { return !templates_.empty(); }

  Prompt from_ids(std::vector<TokenId> ids) const;
  // The text as it is, behind the begin-of-text token that the tokenizer's configuration asks for.
  Prompt from_text(std::string text) const;
  // Throws Error as choose_chat_template() and render_conversation() do. Not without a chat template.
  Prompt from_conversation(const Conversation& conversation);

 private:
  ChatTemplateTexts templates_;
  const Tokenizer* tokenizer_;
  std::map<std::string, ChatTemplate> parsed_;  // by their text
};

}  // namespace baleen
