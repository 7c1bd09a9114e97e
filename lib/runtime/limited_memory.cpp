#include "runtime/limited_memory.h"

#include <algorithm>

#include "error.h"
#include "model/weight_files.h"
#include "report/units.h"

namespace baleen {
namespace {

constexpr std::size_t longest_chunk = 8192;
constexpr std::size_t chunk_step = 512;
constexpr std::uint64_t working_share = 8;

}  // namespace

LimitedMemory limit_memory(Model& model, const std::filesystem::path& dir, std::uint64_t budget,
                           const LimitedMemoryOptions& options) {
  const WeightFiles files(model.checkpoint(), dir);
  LimitedMemory limited{.plan = plan_memory(model, files, budget), .resident = {}, .experts = nullptr};
  if (limited.plan.everything_fits()) return limited;
  limited.resident = hold_resident(
      model, files, {.reader = options.reader, .progress = options.progress, .cancel = options.cancel});
  if (limited.plan.experts == 0) return limited;
  limited.experts = std::make_unique<ExpertCache>(model, dir, limited.plan.slots,
                                                  ExpertCacheOptions{.reader = options.reader});
  if (options.prior) limited.experts->seed(*options.prior);
  return limited;
}

PromptChunks prompt_chunks(const Config& config, std::uint64_t memory, bool all_in_memory) {
  PromptChunks chunks;
  if (all_in_memory) return chunks;
  std::size_t tokens = longest_chunk;
  while (tokens > chunks.mixed && pass_memory(config, tokens, 1) > memory / working_share)
    tokens -= chunk_step;
  return {.alone = std::max(chunks.alone, tokens), .mixed = std::max(chunks.mixed, tokens)};
}

std::uint64_t automatic_budget(const MemoryState& state, const Config& config, std::uint64_t kv_bytes,
                               std::size_t longest_prompt) {
  const PromptChunks chunks = prompt_chunks(config, state.available, false);
  const std::size_t tokens = std::min(longest_prompt, chunks.alone);
  return spare_memory(state, kv_bytes, pass_memory(config, tokens, 1, longest_prompt));
}

std::pair<std::uint64_t, std::uint64_t> share_budget(const MemoryPlan& first, const MemoryPlan& second,
                                                     std::uint64_t budget) {
  const std::uint64_t least = first.least + second.least;
  if (budget < least)
    throw Error("--memory " + format_bytes(budget) + ": of two models one needs " +
                format_bytes(first.least) + ", the other " + format_bytes(second.least) + "; " +
                format_bytes_option(least) + " is the least that works");
  const auto lack = [](const MemoryPlan& plan) {
    return static_cast<double>(plan.weight_bytes - std::min(plan.weight_bytes, plan.least));
  };
  const double both = lack(first) + lack(second);
  const double part = both > 0 ? lack(first) / both : 0.5;
  const auto more = static_cast<std::uint64_t>(part * static_cast<double>(budget - least));
  return {first.least + more, budget - first.least - more};
}

}  // namespace baleen
