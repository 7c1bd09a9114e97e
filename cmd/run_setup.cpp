#include "cmd/run_setup.h"

#include "cmd/kernel_choice.h"
#include "cmd/output.h"
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
  write_message("model     " + folder.string() + ": " + model.config().model_type + ", " +
                format_count(parameters) + " parameters, " + format_count(active) + " active, " +
                format_bytes(model.checkpoint().bytes()) + "\nkernels   " + describe_kernels(kernels) + ", " +
                std::to_string(pool.size()) + " threads\nKV cache  " +
                std::string(kv_format_name(options.kv_format)) + ", " + cache + "\nsampling  " +
                describe_sampling(choose_sampling(options.request, defaults, seed)) + "\n" + more);
}

void RunSetup::warn_of_weights(const MemoryState& memory) const {
  const std::uint64_t weights = model.checkpoint().bytes();
  if (weights <= memory.total || options.quiet) return;
  write_message("baleen run: the weights take " + format_bytes(weights) + ", more than the " +
                format_bytes(memory.total) + " of memory: they will be read from disk again and again\n");
}

}  // namespace baleen::cmd
