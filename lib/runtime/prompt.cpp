#include "runtime/prompt.h"

#include <utility>

#include "clock.h"
#include "runtime/thinking.h"

namespace baleen {
namespace {

Prompt tokenized(std::string text, const Tokenizer& tokenizer, Tokenizer::SpecialTokens special_tokens) {
  Prompt prompt{.text = std::move(text), .ids = {}};
  const auto start = Clock::now();
  prompt.ids = tokenizer.encode(prompt.text, special_tokens);
  prompt.tokenize_seconds = seconds_since(start);
  return prompt;
}

}  // namespace

Prompt PromptMaker::from_ids(std::vector<TokenId> ids) const {
  Prompt prompt{.text = {}, .ids = std::move(ids)};
  if (tokenizer_) prompt.text = tokenizer_->decode(prompt.ids);
  prompt.inside_thinking = ends_in_open_think(prompt.text);
  return prompt;
}

Prompt PromptMaker::from_text(std::string text) const {
  Prompt prompt = tokenized(std::move(text), *tokenizer_, Tokenizer::SpecialTokens::add);
  prompt.inside_thinking = ends_in_open_think(prompt.text);
  return prompt;
}

Prompt PromptMaker::from_conversation(const Conversation& conversation) {
  const ChatTemplateText& chosen = choose_chat_template(templates_, !conversation.tools.is_null());
  auto parsed = parsed_.find(chosen.text);
  if (parsed == parsed_.end())
    parsed = parsed_.emplace(chosen.text, ChatTemplate(chosen.text, chosen.file)).first;
  const RenderedConversation chat =
      render_conversation(conversation, parsed->second, tokenizer_->named_tokens());
  // The template has written every special token that there is to be.
  Prompt prompt = tokenized(chat.text, *tokenizer_, Tokenizer::SpecialTokens::none);
  prompt.inside_thinking = chat.inside_thinking;
  prompt.template_file = chosen.file;
  return prompt;
}

}  // namespace baleen
