#include "cmd/run_setup.h"

#include <algorithm>

#include "cmd/kernel_choice.h"
#include "cmd/output.h"
#include "cmd/rounded_head.h"
#include "cmd/signals.h"
#include "report/memory.h"
#include "report/units.h"
#include "runtime/kv_formats.h"
#include "runtime/request.h"

namespace baleen::cmd {
namespace {

std::string describe_sampling(const SamplingOptions& s) {
  std::string text = s.temperature == 0 ? "greedy" : "temp " + format_fixed(s.temperature, 2);
  if (s.temperature != 0) {
    if (s.top_k > 0) text += ", top-k " + std::to_string(s.top_k);
    text += ", top-p " + format_fixed(s.top_p, 2);
    if (s.min_p > 0) text += ", min-p " + format_fixed(s.min_p, 2);
  }
  if (s.repetition_penalty != 1) text += ", repeat-penalty " + format_fixed(s.repetition_penalty, 2);
  return s.temperature == 0 ? text : text + ", seed " + std::to_string(s.seed);
}

}  // namespace

std::uint64_t RunSetup::kv_bytes(std::size_t tokens) const {
  return saturating_product(tokens, model.kv_bytes_per_token(options.kv_format));
}

void RunSetup::describe(const ThreadPool& pool, const std::string& cache, const std::string& more) const {
  std::uint64_t parameters = 0;
  std::uint64_t active = 0;
  for (const Inventory& row : model.inventory()) {
    parameters += row.parameters;
    active += row.active_parameters;
  }
  const std::size_t misplaced = model.misplaced_tensors();
  const std::string unused = misplaced == 0 ? ""
                                            : "unused    " + std::to_string(misplaced) +
                                                  (misplaced == 1 ? " tensor" : " tensors") +
                                                  " that config.json has no place for\n";
  write_message(
      "model     " + folder.string() + ": " + model.config().model_type + ", " + format_count(parameters) +
      " parameters, " + format_count(active) + " active, " + format_bytes(model.checkpoint().bytes()) + "\n" +
      unused + "kernels   " + describe_kernels(kernels) + ", " +
      (options.throughput ? "generated tokens by those for prompts, " : "") + std::to_string(pool.size()) +
      " threads\nKV cache  " + std::string(kv_format_name(options.kv_format)) + ", " + cache +
      "\nsampling  " + describe_sampling(choose_sampling(options.request, defaults, seed)) + "\n" + more);
}

void RunSetup::warn_of_weights(const MemoryState& memory, std::optional<std::uint64_t> budget) const {
  if (options.quiet) return;
  const std::uint64_t weights = model.checkpoint().bytes();
  if (budget && std::min(*budget, weights) > memory.available) {
    write_message("baleen run: " + std::string(options.memory->source) + " " + format_bytes(*budget) +
                  " is more than the " + format_bytes(memory.available) + " available\n");
  } else if (!budget && weights > memory.total) {
    write_message("baleen run: the weights take " + format_bytes(weights) + ", more than the " +
                  format_bytes(memory.total) + " of memory: they will be read from disk again and again" +
                  (model.config().n_routed_experts > 0
                       ? "\n--memory auto keeps in memory what is used most, and reads the rest faster\n"
                       : "\n"));
  }
}

std::optional<std::uint64_t> RunSetup::weight_budget(std::uint64_t kv_cache_bytes,
                                                     std::size_t longest_prompt) const {
  return cmd::weight_budget(options, model, folder,
                            {.kv_bytes = kv_cache_bytes, .longest_prompt = longest_prompt});
}

std::uint64_t RunSetup::held_bytes(std::optional<std::uint64_t> budget) const {
  return budget && *budget < model.checkpoint().bytes() ? *budget : 0;
}

std::optional<LimitedMemory> RunSetup::load_weights(ThreadPool& pool,
                                                    std::optional<std::uint64_t> budget) const {
  round_head_if_asked(options, model, pool, kernels);
  if (!budget) return {};
  return cmd::load_weights(options, model, folder, *budget, prior, SignalFlag::cancel());
}

SchedulerOptions RunSetup::scheduler_options(const std::optional<LimitedMemory>& memory) const {
  SchedulerOptions scheduler{.kv_format = options.kv_format,
                             .kernels = &kernels,
                             .generated_path = options.generated_path(),
                             .cancel = SignalFlag::cancel()};
  if (!memory || !memory->experts) return scheduler;
  scheduler.experts = memory->experts.get();
  std::uint64_t bound = memory->plan.budget;
  if (const std::optional<MemoryState> state = memory_state()) bound = std::min(bound, state->available);
  const PromptChunks chunks = prompt_chunks(model.config(), bound, memory->plan.every_expert_fits());
  scheduler.chunk = chunks.alone;
  scheduler.mixed_chunk = chunks.mixed;
  return scheduler;
}

void RunSetup::describe_experts(const std::optional<LimitedMemory>& memory, std::uint64_t tokens,
                                double seconds) const {
  if (!options.verbose || !memory || !memory->experts) return;
  const ExpertCacheTotals totals = memory->experts->totals();
  if (totals.asked > 0) write_message("experts   " + describe_use(totals, tokens, seconds) + "\n");
}

void RunSetup::observe_routes(Observer& observer) const {
  if (route_log) route_log->attach(observer);
  if (loads) loads->attach(observer);
}

void RunSetup::finish_routes() const {
  if (route_log) route_log->finish();
}

void RunSetup::write_loads() const {
  if (loads) loads->write();
}

}  // namespace baleen::cmd
