#include "cmd/saved_prompt.h"

#include <algorithm>
#include <utility>

#include "checkpoint/files.h"
#include "clock.h"
#include "cmd/output.h"
#include "error.h"
#include "report/output_file.h"
#include "report/units.h"

namespace baleen::cmd {

void SavedPrompt::check_place(const std::filesystem::path& path) {
  if (!path_exists(path)) NewFile(path, true);
}

SavedPrompt::SavedPrompt(std::filesystem::path path, KvOrigin origin, const Config& config,
                         std::span<const TokenId> prompt)
    : path_(std::move(path)), origin_(std::move(origin)) {
  if (path_exists(path_)) {
    cache_ = PromptCache::load(path_, origin_);
    const std::size_t common = cache_->common_rows(config, prompt);
    reused_ = std::min(common, prompt.size() - 1);
    due_ = 2 * common < prompt.size();
  }
  if (due_) NewFile(path_, true);  // may it be written?
}

void SavedPrompt::give_to(Scheduler& scheduler, const Generation& generation) {
  if (reused_ > 0) {
    KvCache rows = scheduler.new_cache(generation);
    cache_->copy_into(rows, reused_);
    const auto end = cache_->ids().begin() + static_cast<std::ptrdiff_t>(reused_);
    scheduler.keep({cache_->ids().begin(), end}, generation.prompt().size(), std::move(rows));
  }
  cache_.reset();
}

void SavedPrompt::save_from(const Scheduler& scheduler, const Generation& generation) {
  const KvCache* rows = due_ ? scheduler.prompt_rows(generation) : nullptr;
  if (rows == nullptr) return;
  due_ = false;
  const auto start = Clock::now();
  try {
    NewFile file(path_, true);
    save_prompt_cache(file, origin_, generation.prompt(), *rows);
  } catch (const Error&) {
    error_ = std::current_exception();
  }
  save_seconds_ = seconds_since(start);
  saved_tokens_ = generation.prompt().size();
}

void SavedPrompt::finish(bool verbose) const {
  if (error_) std::rethrow_exception(error_);
  if (!verbose || !save_seconds_) return;
  write_message("cache     " + path_.string() + ": " + std::to_string(saved_tokens_) + " tokens saved in " +
                format_seconds(*save_seconds_) + "\n");
}

}  // namespace baleen::cmd
