#include "runtime/generate.h"

#include <algorithm>
#include <utility>

#include "error.h"

namespace baleen {
std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return {};
}

void check_ids(std::span<const TokenId> ids, std::size_t vocab_size) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && static_cast<std::size_t>(ids[i]) < vocab_size) continue;
    throw Error("token id " + std::to_string(ids[i]) + " at place " + std::to_string(i + 1) +
                " of the prompt is not in the vocabulary of " + std::to_string(vocab_size) + " tokens");
  }
}

void check_prompt(std::span<const TokenId> ids, std::size_t vocab_size, std::size_t context) {
  if (ids.empty()) throw Error("the prompt is empty: the model needs one token at least to go on from");
  check_ids(ids, vocab_size);
  if (ids.size() > context) {
    throw Error("the prompt has " + std::to_string(ids.size()) + " tokens, the context holds " +
                std::to_string(context));
  }
}

Generation::Generation(std::vector<TokenId> prompt, const GenerateOptions& options,
                       const Tokenizer* tokenizer, std::size_t vocab_size, std::size_t context,
                       GenerateEvents events)
    : prompt_(std::move(prompt)),
      options_(options),
      events_(std::move(events)),
      sampler_(options.sampling, vocab_size),
      stop_(options.stop),
      room_(0) {
  check_prompt(prompt_, vocab_size, context);
  room_ = std::min(context - prompt_.size(), options_.max_new_tokens.value_or(context));
  for (const TokenId id : prompt_) sampler_.accept(id);
  if (tokenizer && options.think_budget) {
    think_budget_.emplace(*tokenizer, vocab_size, *options.think_budget, options.inside_thinking);
  }
  if (tokenizer) {
    // The decoder has to know what stands before: at the start of a text a word loses its space.
    decoder_.emplace(*tokenizer, true);
    std::string certain;
    for (const TokenId id : prompt_) certain += decoder_->push(id);
    const std::string whole = tokenizer->decode(prompt_, true);
    if (whole.starts_with(certain)) prompt_rest_ = whole.substr(certain.size());
  }
  if (options_.logprobs && options_.prompt_logprobs) {
    const TokenLogprobs first{.id = prompt_[0], .logprob = {}, .top = {}};
    events_.token({.id = prompt_[0], .of_prompt = true, .logprobs = &first});
  }
}

Session::Want Generation::prompt_want() const {
  if (options_.logprobs && options_.prompt_logprobs) return Session::Want::all;
  return room_ > 0 ? Session::Want::last : Session::Want::none;
}

void Generation::prompt_logits(std::size_t index, std::span<const float> logits) {
  if (index + 1 < prompt_.size()) {
    report(prompt_[index + 1], true, logits);
  } else if (room_ > 0) {
    choose(logits);
  }
}

void Generation::prompt_done() {
  if (room_ == 0) finish(FinishReason::length);
}

void Generation::choose(std::span<const float> logits) {
  const std::optional<TokenId> forced = think_budget_ ? think_budget_->forced() : std::nullopt;
  const TokenId id = forced ? *forced : sampler_.sample(logits);
  sampler_.accept(id);
  if (think_budget_) think_budget_->accept(id);
  ids_.push_back(id);
  report(id, false, logits);
  const auto& ends = options_.end_tokens;
  if (std::find(ends.begin(), ends.end(), id) != ends.end()) return finish(FinishReason::stop);
  if (decoder_) add_text(stop_.push(without_prompt(decoder_->push(id))));
  if (stop_.stopped()) return finish(FinishReason::stop);
  if (ids_.size() == room_) finish(FinishReason::length);
}

void Generation::cancel() {
  if (!finished()) finish(FinishReason::cancelled);
}

void Generation::report(TokenId id, bool of_prompt, std::span<const float> logits) {
  if (!options_.logprobs) return events_.token({.id = id, .of_prompt = of_prompt});
  const TokenLogprobs logprobs = token_logprobs(logits, id, *options_.logprobs);
  events_.token({.id = id, .of_prompt = of_prompt, .logprobs = &logprobs});
}

// `text` less what of it is still the prompt's. Some decoders hold text back until they know what follows (a
// run of byte tokens may go on); it comes out unchanged, unless what follows changed it.
std::string_view Generation::without_prompt(std::string_view text) {
  const auto differs = std::mismatch(text.begin(), text.end(), prompt_rest_.begin(), prompt_rest_.end());
  if (differs.first == text.end()) {
    prompt_rest_.erase(prompt_rest_.begin(), differs.second);
    return {};
  }
  if (differs.second == prompt_rest_.end()) text.remove_prefix(prompt_rest_.size());
  prompt_rest_.clear();
  return text;
}

void Generation::add_text(std::string_view text) {
  if (text.empty()) return;
  text_ += text;
  events_.text(text);
}

void Generation::finish(FinishReason reason) {
  finish_reason_ = reason;
  if (!decoder_) return;
  add_text(stop_.push(without_prompt(decoder_->finish())));
  if (stop_.stopped()) finish_reason_ = FinishReason::stop;
  add_text(stop_.finish());
}

}  // namespace baleen
