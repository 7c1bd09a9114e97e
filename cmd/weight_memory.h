// --memory of run and bench: the bytes that it gives weights, and a model brought within them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "cmd/common_options.h"
#include "model/model.h"
#include "runtime/limited_memory.h"

namespace baleen::cmd {

// What --memory auto leaves room for.
struct PassNeeds {
  std::uint64_t kv_bytes = 0;
  std::size_t longest_prompt = 0;
};

// What is set aside for a KV cache of so many bytes if nobody knows whether that many tokens will come: at
// most a quarter of the memory.
std::uint64_t likely_kv_bytes(std::uint64_t most);

// The bytes for weights that the options ask for; none without --memory. Throws Error naming the least that
// works if they are too few, unless the output head is still to be rounded and to become smaller.
std::optional<std::uint64_t> weight_budget(const CommonOptions&, const Model&,
                                           const std::filesystem::path& folder, const PassNeeds&);

// limit_memory() with the options' progress and, with -v, a line that says what became of the budget.
LimitedMemory load_weights(const CommonOptions&, Model&, const std::filesystem::path& folder,
                           std::uint64_t budget, const ExpertShares* prior, const std::atomic<bool>* cancel);

// "2.3 GiB resident, 580 of 1664 experts of 16.5 MiB in slots", or that all weights fit.
std::string describe_plan(const MemoryPlan&);
// "hits 71.2 %, guessed 12.0 %, ...": what the cache did for so many tokens in so many seconds.
std::string describe_use(const ExpertCacheTotals&, std::uint64_t tokens, double seconds);

}  // namespace baleen::cmd
