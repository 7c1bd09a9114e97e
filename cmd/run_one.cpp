// One prompt, or one after the other in a chat, streamed as it is answered.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "checkpoint/checksum.h"
#include "checkpoint/fingerprint.h"
#include "clock.h"
#include "cmd/interactive.h"
#include "cmd/kernel_choice.h"
#include "cmd/output.h"
#include "cmd/printer.h"
#include "cmd/prompt.h"
#include "cmd/run_setup.h"
#include "cmd/saved_prompt.h"
#include "cmd/signals.h"
#include "cmd/whole_output.h"
#include "error.h"
#include "report/memory.h"
#include "report/progress.h"
#include "report/units.h"
#include "runtime/prompt_cache.h"
#include "runtime/request.h"
#include "runtime/scheduler.h"
#include "runtime/thread_pool.h"

namespace baleen::cmd {
namespace {

// Once everything is read and checked.
struct Job {
  const RunSetup& setup;
  const Prompt& prompt;
  GenerateOptions generate;
};

// The tokens that the KV cache must have room for.
std::size_t tokens_needed(const Job& job) {
  const std::size_t room = job.setup.context - job.prompt.ids.size();
  return job.prompt.ids.size() + std::min(room, job.generate.max_new_tokens.value_or(room));
}

// With -n -1 the context is room, not a need: only the prompt must fit for certain.
bool open_ended(const Job& job) {
  return !job.generate.max_new_tokens;
}

// `held`: bytes that weights will take for good.
void check_kv_fits(const Job& job, std::uint64_t held = 0) {
  const std::optional<MemoryState> memory = memory_state();
  if (!memory) return;
  const std::size_t tokens = open_ended(job) ? job.prompt.ids.size() : tokens_needed(job);
  const std::uint64_t kv_bytes = job.setup.kv_bytes(tokens);
  const std::uint64_t available = memory->available - std::min(memory->available, held);
  if (kv_bytes > available && kv_bytes <= memory->available) {
    throw Error(std::string(job.setup.options.memory->source) + " " + format_bytes(held) + " leaves " +
                format_bytes(available) + " of the " + format_bytes(memory->available) +
                " available, the KV cache of " + std::to_string(tokens) + " tokens takes " +
                format_bytes(kv_bytes) + "\na smaller --memory leaves more");
  }
  if (kv_bytes > available) {
    throw Error("the KV cache of " + std::to_string(tokens) + " tokens takes " + format_bytes(kv_bytes) +
                ", this machine has " + format_bytes(available) +
                " available\na smaller -n or --ctx, or --kv-type int8, takes less");
  }
}

std::uint64_t kv_bytes_needed(const Job& job) {
  const RunSetup& setup = job.setup;
  return open_ended(job)
             ? std::max(setup.kv_bytes(job.prompt.ids.size()), likely_kv_bytes(setup.kv_bytes(setup.context)))
             : setup.kv_bytes(tokens_needed(job));
}

// `most_tokens` may be in the KV cache in the end.
void warn_of_memory(const RunSetup& setup, std::size_t most_tokens,
                    std::optional<std::uint64_t> weight_budget) {
  const std::optional<MemoryState> memory = memory_state();
  if (!memory) return;
  const std::uint64_t most = setup.kv_bytes(most_tokens);
  if (most > memory->available && !setup.options.quiet) {
    write_message("baleen run: a KV cache for the whole context would take " + format_bytes(most) +
                  " of the " + format_bytes(memory->available) + " available: a smaller --ctx bounds it\n");
  }
  setup.warn_of_weights(*memory, weight_budget);
}

void describe_times(const Job& job, const GenerateTimes& times) {
  const auto phase = [](const std::string& name, std::size_t tokens, double seconds) {
    std::string text =
        ", " + name + " " + format_seconds(seconds) + " (" + std::to_string(tokens) + " tokens";
    if (tokens > 0 && seconds > 0)
      text += ", " + format_fixed(static_cast<double>(tokens) / seconds, 1) + " tokens/s";
    return text + ")";
  };
  write_message("time      load " + format_seconds(job.setup.load_seconds) + ", tokenize " +
                format_seconds(job.prompt.tokenize_seconds) +
                phase("prefill", times.prefilled_tokens, times.prefill_seconds) +
                phase("decode", times.decoded_tokens, times.decode_seconds) + "\n");
}

// Lines of the prompt's log-probabilities on the same terminal would be written over.
Progress::Mode prefill_progress_mode(const RunOptions& options) {
  const bool shares_terminal = options.echo && options.request.logprobs && is_terminal(1);
  return shares_terminal ? Progress::Mode::off : progress_mode(options);
}

// Moves the progress of the prompt layer by layer: a chunk of it may take minutes.
class PrefillProgress {
 public:
  PrefillProgress(Progress& progress, std::size_t total) : progress_(progress), total_(total) {}

  void attach(Observer& observer, const Config& config) {
    if (progress_.mode() == Progress::Mode::off) return;
    observer.hidden = [this, &config](std::size_t layer, std::span<const float> hidden) {
      // The rows of logits, and what is generated, are no progress.
      if (layer >= config.num_hidden_layers || done_ == total_) return;
      const std::size_t tokens = hidden.size() / config.hidden_size;
      progress_.update(done_ + tokens * layer / config.num_hidden_layers, seconds_since(start_));
    };
  }
  PrefillProgress(const PrefillProgress&) = delete;
  PrefillProgress& operator=(const PrefillProgress&) = delete;

  std::function<void(std::size_t)> on_chunk() {
    return [this](std::size_t done) {
      if (done == done_) return;  // the prompt is through
      done_ = done;
      progress_.update(done, seconds_since(start_));
    };
  }

 private:
  Progress& progress_;
  std::size_t total_;
  std::size_t done_ = 0;
  Clock::time_point start_ = Clock::now();
};

std::optional<SavedPrompt> open_saved_prompt(const Job& job) {
  const RunOptions& options = job.setup.options;
  if (!options.prompt_cache) return {};
  SavedPrompt::check_place(*options.prompt_cache);
  const Model& model = job.setup.model;
  const std::string fingerprint = to_hex(model_fingerprint(job.setup.folder, model.checkpoint()));
  SavedPrompt saved(*options.prompt_cache,
                    kv_origin(fingerprint, describe_kernels(job.setup.kernels),
                              KvLayout(model.config(), options.kv_format), model.config().num_hidden_layers),
                    model.config(), job.prompt.ids);
  if (options.verbose) {
    write_message("cache     " + *options.prompt_cache + ": " + std::to_string(saved.reused()) + " of the " +
                  std::to_string(job.prompt.ids.size()) + " tokens of the prompt\n");
  }
  return saved;
}

// `saved` may be nullptr.
Turn generate_and_print(const Job& job, Scheduler& scheduler, SavedPrompt* saved, const Write& write) {
  const RunSetup& setup = job.setup;
  const std::unique_ptr<Printer> printer = make_printer(setup.options, job.prompt, setup.tokenizer, write);
  const std::size_t reused = saved ? saved->reused() : 0;
  const std::size_t to_prefill = job.prompt.ids.size() - reused;
  Progress progress(prefill_progress_mode(setup.options), "prefill", to_prefill, "tokens", progress_screen());
  Generation generation(job.prompt.ids, job.generate, setup.tokenizer, setup.model.config().vocab_size,
                        setup.context,
                        {.token =
                             [&](const Step& step) {
                               if (!step.of_prompt) progress.erase();
                               printer->token(step);
                             },
                         .text = [&](std::string_view text) { printer->text(text); }});
  PrefillProgress prefill(progress, to_prefill);
  Observer observer;
  prefill.attach(observer, setup.model.config());
  setup.observe_routes(observer);
  const auto on_chunk = prefill.on_chunk();
  if (saved) saved->give_to(scheduler, generation);
  GenerateTimes times = generate(
      scheduler, generation,
      [&](std::size_t done) {
        on_chunk(std::max(done, reused) - reused);
        if (saved) saved->save_from(scheduler, generation);
      },
      &observer);
  progress.erase();
  const double save_seconds = saved ? saved->save_seconds().value_or(0) : 0;
  times.decode_seconds = std::max(0.0, times.decode_seconds - save_seconds);  // no work of the model's
  printer->end(generation, times);
  if (setup.options.verbose) describe_times(job, times);
  return {.text = generation.text(),
          .finish_reason = generation.finish_reason(),
          .tokens = generation.ids().size(),
          .times = times};
}

std::string describe_cache(const RunSetup& setup, std::size_t tokens) {
  return std::to_string(tokens) + " tokens, " + format_bytes(setup.kv_bytes(tokens));
}

Job make_job(const RunSetup& setup, const Prompt& prompt) {
  Job job{.setup = setup,
          .prompt = prompt,
          .generate = generate_options(setup.options.request, setup.defaults, setup.end_tokens, setup.seed)};
  job.generate.inside_thinking = prompt.inside_thinking;
  job.generate.prompt_logprobs = setup.options.echo;
  return job;
}

// Prints the answer. Throws Cancelled if a signal came before there was any of it.
std::optional<SavedPrompt> answer(const Job& job, const Write& write) {
  const RunSetup& setup = job.setup;
  ThreadPool pool(setup.options.threads.value_or(default_thread_count()));
  check_kv_fits(job);
  const std::optional<std::uint64_t> budget =
      setup.weight_budget(kv_bytes_needed(job), job.prompt.ids.size());
  check_kv_fits(job, setup.held_bytes(budget));
  warn_of_memory(setup, tokens_needed(job), budget);
  if (setup.options.verbose) {
    const std::string& file = job.prompt.template_file;
    setup.describe(pool, describe_cache(setup, tokens_needed(job)),
                   file.empty() ? "" : "template  " + file + "\n");
  }
  std::optional<SavedPrompt> saved = open_saved_prompt(job);
  const std::optional<LimitedMemory> memory = setup.load_weights(pool, budget);
  Scheduler scheduler(setup.model, pool, setup.scheduler_options(memory));
  const Turn turn = generate_and_print(job, scheduler, saved ? &*saved : nullptr, write);
  setup.describe_experts(memory, turn.times.tokens(), turn.times.seconds());
  setup.finish_routes();
  return saved;
}

}  // namespace

int run_one(const RunSetup& setup) {
  const RunOptions& options = setup.options;
  const Prompt prompt = make_prompt(options, setup.maker);
  std::optional<SavedPrompt> saved;
  write_whole(options.output, options.force, [&](const Write& write) {
    check_prompt(prompt.ids, setup.model.config().vocab_size, setup.context);
    saved = answer(make_job(setup, prompt), write);
  });
  if (saved) saved->finish(options.verbose);
  setup.write_loads();
  return 0;
}

// The scheduler keeps what the turn before left in its cache: a turn computes what is new, the answer before
// included, and rows that have another form now (model/expansion.h).
int run_chat(const RunSetup& setup) {
  const RunOptions& options = setup.options;
  ThreadPool pool(options.threads.value_or(default_thread_count()));
  const std::optional<std::uint64_t> budget =
      setup.weight_budget(likely_kv_bytes(setup.kv_bytes(setup.context)), setup.context);
  warn_of_memory(setup, setup.context, budget);
  if (options.verbose) setup.describe(pool, describe_cache(setup, setup.context) + " at most", "");
  const std::optional<LimitedMemory> memory = setup.load_weights(pool, budget);
  SchedulerOptions scheduler_options = setup.scheduler_options(memory);
  scheduler_options.kept = 1;
  Scheduler scheduler(setup.model, pool, scheduler_options);
  GenerateTimes all;
  interact({.options = options,
            .maker = setup.maker,
            .context = setup.context,
            .answer = [&](const Prompt& prompt) {
              const Job job = make_job(setup, prompt);
              check_kv_fits(job);
              const Turn turn = generate_and_print(job, scheduler, nullptr, write_output);
              all += turn.times;
              return turn;
            }});
  setup.describe_experts(memory, all.tokens(), all.seconds());
  setup.finish_routes();
  setup.write_loads();
  return 0;
}

}  // namespace baleen::cmd
