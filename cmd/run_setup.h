// What `baleen run` works with once the model is open, whether there is one prompt or many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/generation_config.h"
#include "cmd/run_options.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "report/memory.h"
#include "routing/route_log.h"
#include "runtime/prompt.h"
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
  RouteLog* route_log;  // null: none is asked for

  // Of the KV cache for so many tokens.
  std::uint64_t kv_bytes(std::size_t tokens) const;
  // The lines of -v: model, kernels, `cache` ("64 tokens, 3.9 MiB"), sampling, and `more`, whole lines.
  void describe(const ThreadPool& pool, const std::string& cache, const std::string& more) const;
  // Says so if the weights do not fit memory.
  void warn_of_weights(const MemoryState& memory) const;
};

// One prompt, answered as the options say. Returns the exit status.
int run_one(const RunSetup& setup);
// Prompt after prompt from a terminal; see cmd/interactive.h.
int run_chat(const RunSetup& setup);
// --batch and --samples: many answers, a JSON line each.
int run_many(const RunSetup& setup);

}  // namespace baleen::cmd
