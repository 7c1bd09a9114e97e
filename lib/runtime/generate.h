// From a prompt to its continuation: chooses token after token, turns them into text, and knows when to end.
// Nothing is printed here; what is decided goes to the caller's functions at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/logprobs.h"
#include "runtime/sampler.h"
#include "runtime/session.h"
#include "runtime/stop_strings.h"
#include "runtime/think_budget.h"
#include "tokenizer/token_id.h"
#include "tokenizer/tokenizer.h"

namespace baleen {

enum class FinishReason : std::uint8_t { stop, length, cancelled };
std::string_view finish_reason_name(FinishReason);

struct GenerateOptions {
  std::optional<std::size_t> max_new_tokens;  // none: until an end token or the context is full
  std::vector<TokenId> end_tokens;            // none: end tokens are ignored
  std::vector<std::string> stop;              // strings; need a tokenizer
  std::optional<std::size_t> think_budget;    // tokens of thinking at most; needs a tokenizer
  bool inside_thinking = false;               // the prompt ends inside <think>
  std::optional<std::size_t> logprobs;        // how many of the likeliest tokens; none: no log-probabilities
  bool prompt_logprobs = false;               // with logprobs: of the prompt's tokens too
  SamplingOptions sampling;
};

// A token that was decided, or one of the prompt if its log-probabilities are asked for.
struct Step {
  TokenId id = 0;
  bool of_prompt = false;
  const TokenLogprobs* logprobs = nullptr;  // if asked for; valid during the call
};

struct GenerateEvents {
  std::function<void(const Step&)> token;
  // Text that is certain now: whole UTF-8 characters, never a part of a stop string. Special tokens leave no
  // text.
  std::function<void(std::string_view)> text;
};

// Throws Error naming the first id that is not in the vocabulary.
void check_ids(std::span<const TokenId> ids, std::size_t vocab_size);

// Throws Error if the prompt is empty, names a token outside the vocabulary or is longer than the context.
void check_prompt(std::span<const TokenId> ids, std::size_t vocab_size, std::size_t context);

// One request, fed with logits by whoever runs the model: it can be alone or one of many.
class Generation {
 public:
  // `tokenizer` may be null: then there is no text. `context`: prompt and new tokens together at most.
  // Throws as check_prompt and ThinkBudget do.
  Generation(std::vector<TokenId> prompt, const GenerateOptions& options, const Tokenizer* tokenizer,
             std::size_t vocab_size, std::size_t context, GenerateEvents events);

  const std::vector<TokenId>& prompt() const { return prompt_; }
  const GenerateOptions& options() const { return options_; }
  std::size_t most_tokens() const { return prompt_.size() + room_; }  // prompt and new ones together
  Session::Want prompt_want() const;  // the logits of the prompt that are needed

  // The logits behind prompt()[index], for each that is wanted, in ascending order; those of the last one
  // choose the first new token.
  void prompt_logits(std::size_t index, std::span<const float> logits);
  // The whole prompt went through the model.
  void prompt_done();
  // Chooses the next token from the logits behind the last one; one that the think budget forces comes
  // whatever they are, and takes no random number. Not after finished().
  void choose(std::span<const float> logits);
  // Ends it from outside.
  void cancel();

  bool finished() const { return finish_reason_.has_value(); }
  FinishReason finish_reason() const { return *finish_reason_; }
  const std::vector<TokenId>& ids() const { return ids_; }  // decided so far, an end token included
  const std::string& text() const { return text_; }

 private:
  void report(TokenId id, bool of_prompt, std::span<const float> logits);
  std::string_view without_prompt(std::string_view text);
  void add_text(std::string_view text);
  void finish(FinishReason reason);

  std::vector<TokenId> prompt_;
  GenerateOptions options_;
  GenerateEvents events_;
  Sampler sampler_;
  StopStrings stop_;
  std::optional<ThinkBudget> think_budget_;
  std::optional<StreamDecoder> decoder_;
  std::string prompt_rest_;  // the prompt's last text, where the decoder has not let go of it yet
  std::size_t room_;  // new tokens at most
  std::vector<TokenId> ids_;
  std::string text_;
  std::optional<FinishReason> finish_reason_;
};

}  // namespace baleen
