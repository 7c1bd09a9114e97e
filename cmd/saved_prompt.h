// --prompt-cache: the file that a run takes the front of its prompt from, and saves its prompt to.
#pragma once

#include <cstddef>
#include <exception>
#include <filesystem>
#include <optional>
#include <span>

#include "runtime/generate.h"
#include "runtime/prompt_cache.h"
#include "runtime/scheduler.h"

namespace baleen::cmd {

class SavedPrompt {
 public:
  // Throws Error if the file does not exist and cannot be written: to be known before the model is even
  // looked at.
  static void check_place(const std::filesystem::path& path);

  // Opens the file if there is one. The prompt is to be saved if less than half of it is in there: another
  // document takes the file's place, another question behind the same document does not. Throws Error if the
  // file does not fit `origin` or is damaged, or if it cannot be written and is to be.
  SavedPrompt(std::filesystem::path path, KvOrigin origin, const Config& config,
              std::span<const TokenId> prompt);

  // Tokens of the prompt that come from the file: never the last one, whose logits choose the first new
  // token.
  std::size_t reused() const { return reused_; }

  // Before the generation runs.
  void give_to(Scheduler& scheduler, const Generation& generation);
  // Saves the prompt if that is due and the whole of it is through; to be called after each pass. The
  // generation goes on if that fails: finish() says so.
  void save_from(const Scheduler& scheduler, const Generation& generation);
  // When all is printed: throws what went wrong when the prompt was saved, or tells that it was if `verbose`.
  void finish(bool verbose) const;

  // Seconds that saving took; nothing if it was not done.
  std::optional<double> save_seconds() const { return save_seconds_; }

 private:
  std::filesystem::path path_;
  KvOrigin origin_;
  std::optional<PromptCache> cache_;
  std::size_t reused_ = 0;
  bool due_ = true;
  std::size_t saved_tokens_ = 0;
  std::optional<double> save_seconds_;
  std::exception_ptr error_;
};

}  // namespace baleen::cmd
