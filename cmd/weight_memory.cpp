#include "cmd/weight_memory.h"

#include <algorithm>

#include "clock.h"
#include "cmd/output.h"
#include "error.h"
#include "model/weight_files.h"
#include "report/memory.h"
#include "report/progress.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

constexpr std::uint64_t mebi = std::uint64_t{1} << 20;

std::string describe_reader(const ExpertCache& experts) {
  return "reads by " + std::string(to_string(experts.engine())) +
         (experts.direct() ? " past the page cache" : " through the page cache");
}

std::string percent(double part, double whole, int digits) {
  return format_fixed(whole > 0 ? 100 * part / whole : 0, digits) + " %";
}

// The library speaks of --memory, whatever gave the size.
template <typename Work>
auto naming_source(const CommonOptions& options, const Work& work) {
  constexpr std::string_view option = "--memory";
  try {
    return work();
  } catch (const Error& error) {
    std::string what = error.what();
    if (!what.starts_with(option)) throw;
    throw Error(what.replace(0, option.size(), options.memory->source));
  }
}

}  // namespace

std::uint64_t likely_kv_bytes(std::uint64_t most) {
  const std::optional<MemoryState> state = memory_state();
  return state ? std::min(most, state->available / 4) : most;
}

std::optional<std::uint64_t> weight_budget(const CommonOptions& options, const Model& model,
                                           const std::filesystem::path& folder, const PassNeeds& needs) {
  if (!options.memory) return {};
  const bool automatic = !options.memory->bytes;
  std::uint64_t budget = options.memory->bytes.value_or(0);
  if (automatic) {
    const std::optional<MemoryState> state = memory_state();
    if (!state)
      throw Error(std::string(options.memory->source) +
                  " auto: this system does not say what memory it has; give a size");
    budget = automatic_budget(*state, model.config(), needs.kv_bytes, needs.longest_prompt);
  }
  if (options.lm_head_int8) return budget;
  try {
    naming_source(options,
                  [&] { return plan_memory(model, WeightFiles(model.checkpoint(), folder), budget); });
  } catch (const Error& error) {
    if (!automatic) throw;
    throw Error(std::string(error.what()) + "\nauto is what this machine can spare beside the KV cache");
  }
  return budget;
}

LimitedMemory load_weights(const CommonOptions& options, Model& model, const std::filesystem::path& folder,
                           std::uint64_t budget, const ExpertShares* prior, const std::atomic<bool>* cancel) {
  const auto start = Clock::now();
  std::optional<Progress> progress;
  const auto on_progress = [&](std::uint64_t done, std::uint64_t total) {
    if (!progress) progress.emplace(progress_mode(options), "load", total / mebi, "MiB", progress_screen());
    progress->update(done / mebi, seconds_since(start));
  };
  LimitedMemory memory = naming_source(options, [&] {
    return limit_memory(model, folder, budget,
                        {.prior = prior, .reader = {}, .progress = on_progress, .cancel = cancel});
  });
  progress.reset();
  if (!options.verbose) return memory;
  std::string text = "memory    " + format_bytes(budget) + ": " + describe_plan(memory.plan);
  if (memory.experts) text += "; " + describe_reader(*memory.experts);
  write_message(text + "\n");
  return memory;
}

std::string describe_plan(const MemoryPlan& plan) {
  if (plan.everything_fits()) return "all " + format_bytes(plan.weight_bytes) + " of weights fit";
  const std::string resident = format_bytes(plan.resident_bytes) + " resident";
  if (plan.experts == 0) return resident;
  return resident + ", " + std::to_string(plan.slots) + " of " + std::to_string(plan.experts) +
         " experts of " + format_bytes(plan.slot_bytes) + " in slots";
}

std::string describe_use(const ExpertCacheTotals& totals, std::uint64_t tokens, double seconds) {
  const auto share = [&](std::uint64_t part) {
    return percent(static_cast<double>(part), static_cast<double>(totals.asked), 1);
  };
  std::string text = "hits " + share(totals.hits) + ", guessed " + share(totals.by_guess) + ", missed " +
                     share(totals.misses) + "; " +
                     format_bytes(totals.bytes_read / std::max<std::uint64_t>(tokens, 1)) + " a token read";
  if (totals.read_seconds > 0)
    text += " at " + format_fixed(static_cast<double>(totals.bytes_read) / totals.read_seconds / 1e9, 1) +
            " GB/s";
  return text + ", stalled " + percent(totals.stall_seconds, seconds, 0) + " of the time";
}

}  // namespace baleen::cmd
