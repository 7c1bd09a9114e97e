// What `baleen run` works with once the model is open, whether there is one prompt or many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/generation_config.h"
#include "cmd/load_file.h"
#include "cmd/run_options.h"
#include "cmd/weight_memory.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "report/memory.h"
#include "routing/expert_shares.h"
#include "routing/route_log.h"
#include "runtime/limited_memory.h"
#include "runtime/prompt.h"
#include "runtime/scheduler.h"
#include "runtime/thread_pool.h"
#include "tokenizer/token_id.h"
#include "tokenizer/tokenizer.h"

namespace baleen::cmd {

struct RunSetup {
  const RunOptions& options;
  std::filesystem::path folder;
  Model& model;
  const Tokenizer* tokenizer;  // may be null with --ids
  PromptMaker& maker;
  const kernels::Kernels& kernels;
  GenerationConfig defaults;
  std::vector<TokenId> end_tokens;
  std::size_t context;  // prompt and new tokens at most
  std::uint64_t seed;   // of --seed, or a fresh one
  double load_seconds;
  RouteLog* route_log;        // null: none is asked for
  LoadFile* loads;            // likewise
  const ExpertShares* prior;  // likewise

  // Of the KV cache for so many tokens.
  std::uint64_t kv_bytes(std::size_t tokens) const;
  // The lines of -v: model, kernels, `cache` ("64 tokens, 3.9 MiB"), sampling, and `more`, whole lines.
  void describe(const ThreadPool& pool, const std::string& cache, const std::string& more) const;
  // Says so if the weights, or what --memory gives them, do not fit memory.
  void warn_of_weights(const MemoryState& memory, std::optional<std::uint64_t> budget) const;

  // The bytes for weights beside a KV cache and prompts of so many tokens; none without --memory. Throws
  // Error.
  std::optional<std::uint64_t> weight_budget(std::uint64_t kv_cache_bytes, std::size_t longest_prompt) const;
  // Of them, those that cannot be given up for anything else: all, if the weights do not fit them.
  std::uint64_t held_bytes(std::optional<std::uint64_t> budget) const;
  // Rounds the head and brings the weights within the budget, as the options ask. Throws Error, Cancelled.
  std::optional<LimitedMemory> load_weights(ThreadPool& pool, std::optional<std::uint64_t> budget) const;
  // For one sequence at a time; `memory` is what load_weights() returned.
  SchedulerOptions scheduler_options(const std::optional<LimitedMemory>& memory) const;
  // With -v: what the expert cache did for so many tokens.
  void describe_experts(const std::optional<LimitedMemory>& memory, std::uint64_t tokens,
                        double seconds) const;

  // Sets what the observer calls for routes.
  void observe_routes(Observer& observer) const;
  // When all tokens are through: what is left of the route log.
  void finish_routes() const;
  // When the run has ended well: the file of --route-stats.
  void write_loads() const;
};

// One prompt, answered as the options say. Returns the exit status.
int run_one(const RunSetup& setup);
// Prompt after prompt from a terminal; see cmd/interactive.h.
int run_chat(const RunSetup& setup);
// --batch and --samples: many answers, a JSON line each.
int run_many(const RunSetup& setup);

}  // namespace baleen::cmd
