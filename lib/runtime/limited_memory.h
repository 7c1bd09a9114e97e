// A model within a budget for its weights: what every token needs is resident, the rest of the budget caches
// routed experts, and prompts go through in longer passes, each of which reads an expert once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <utility>

#include "model/memory_plan.h"
#include "model/model.h"
#include "model/resident.h"
#include "report/memory.h"
#include "routing/expert_shares.h"
#include "runtime/direct_reader.h"
#include "runtime/expert_cache.h"

namespace baleen {

struct LimitedMemoryOptions {
  const ExpertShares* prior = nullptr;  // which experts the model is known to prefer
  DirectReaderOptions reader;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // resident bytes read
  const std::atomic<bool>* cancel = nullptr;
};

struct LimitedMemory {
  MemoryPlan plan;
  ResidentWeights resident;              // zeros if everything fits
  std::unique_ptr<ExpertCache> experts;  // null: everything fits, or the model has no routed experts
};

// Brings the weights of a model, whose files lie in `dir`, within `budget` bytes. If all of them fit, the
// model is left as it is. The model must stay where it is as long as there is a cache. Throws Error naming
// the least budget that works, or file, tensor and offset of what cannot be read, and Cancelled.
LimitedMemory limit_memory(Model&, const std::filesystem::path& dir, std::uint64_t budget,
                           const LimitedMemoryOptions& = {});

// Prompt tokens that go through the model in one pass, at most.
struct PromptChunks {
  std::size_t alone = 2048;
  std::size_t mixed = 512;  // while others generate: they wait for it
};

// Of a model whose experts are all in memory the chunks above: longer ones buy nothing. If they are not, a
// pass reads most experts of every layer, so that twice as long a pass takes half the reads: up to 8,192
// tokens, as far as the working memory of a pass stays below an eighth of `memory`, the bytes of the budget
// or those that are available, whichever is less.
PromptChunks prompt_chunks(const Config&, std::uint64_t memory, bool all_in_memory);

// A budget that leaves room for a KV cache and for passes of prompts of up to `longest_prompt` tokens.
std::uint64_t automatic_budget(const MemoryState&, const Config&, std::uint64_t kv_bytes,
                               std::size_t longest_prompt);

// What two models get of a budget for both: the least that works, and of the rest in proportion to what
// they lack. The budgets in the plans do not matter. Throws Error naming the least that works.
std::pair<std::uint64_t, std::uint64_t> share_budget(const MemoryPlan& first, const MemoryPlan& second,
                                                     std::uint64_t budget);

}  // namespace baleen
