// baleen run: from a prompt to streamed text.
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/files.h"
#include "checkpoint/generation_config.h"
#include "clock.h"
#include "cmd/chat.h"
#include "cmd/commands.h"
#include "cmd/inspect.h"
#include "cmd/kernel_choice.h"
#include "cmd/kv_formats.h"
#include "cmd/model_folder.h"
#include "cmd/output.h"
#include "cmd/parse.h"
#include "cmd/printer.h"
#include "cmd/prompt.h"
#include "cmd/rounded_head.h"
#include "cmd/run_options.h"
#include "cmd/signals.h"
#include "error.h"
#include "model/model.h"
#include "report/memory.h"
#include "report/progress.h"
#include "report/units.h"
#include "runtime/generate.h"
#include "runtime/scheduler.h"
#include "runtime/thread_pool.h"

namespace baleen::cmd {
namespace {

namespace fs = std::filesystem;

void check_combinations(const RunOptions& options) {
  if (options.json && !options.inspect) {
    throw UsageError("--json belongs to --inspect; for generated text there is --format jsonl");
  }
  if (options.greedy && options.temperature.value_or(0) != 0) {
    throw UsageError("--greedy and a --temp other than 0 contradict each other");
  }
  const bool prints_tokens = options.format == RunOptions::Format::text && (options.ids || options.logprobs);
  if (prints_tokens && options.think != RunOptions::Think::keep) {
    throw UsageError(std::string("--think concerns text, ") + (options.logprobs ? "--logprobs" : "--ids") +
                     " prints every token\n--format jsonl has both, and the thinking apart");
  }
  check_chat_options(options);
}

bool needs_tokenizer(const RunOptions& options) {
  return !options.ids || !options.stop.empty() || options.think_budget || options.logprobs ||
         options.dry_run || options.format == RunOptions::Format::jsonl;
}

// With --ids alone a folder needs no tokenizer; if there is one it still tells the end token.
std::optional<Tokenizer> open_tokenizer(const RunOptions& options, const fs::path& folder) {
  if (!Tokenizer::file_in(folder)) {
    if (!needs_tokenizer(options)) return {};
    throw Error(
        (folder / "tokenizer.json").string() +
        ": no such file, nor tiktoken.model; without a tokenizer a model can only go from --ids to ids");
  }
  return Tokenizer::open(folder);
}

GenerationConfig read_generation_config(const fs::path& folder) {
  const fs::path file = folder / "generation_config.json";
  if (!path_exists(file)) return {};
  constexpr std::size_t most_bytes = std::size_t{1} << 20U;
  return parse_generation_config(read_small_file(file, most_bytes), file.string());
}

SamplingOptions choose_sampling(const RunOptions& options, const GenerationConfig& defaults) {
  const bool asks_to_sample = options.temperature || options.top_k || options.top_p || options.min_p;
  const bool greedy = options.greedy || (defaults.do_sample == false && !asks_to_sample);
  SamplingOptions sampling;
  sampling.temperature = greedy ? 0 : options.temperature.value_or(defaults.temperature.value_or(0.7));
  sampling.top_k = options.top_k.value_or(static_cast<std::size_t>(defaults.top_k.value_or(0)));
  sampling.top_p = options.top_p.value_or(defaults.top_p.value_or(0.95));
  sampling.min_p = options.min_p.value_or(defaults.min_p.value_or(0));
  sampling.repetition_penalty = options.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1));
  sampling.seed = options.seed ? *options.seed : std::random_device()();
  return sampling;
}

std::vector<TokenId> end_tokens(const GenerationConfig& generation, const Config& config,
                                const Tokenizer* tokenizer) {
  std::vector<TokenId> ids = generation.eos_token_id;
  ids.insert(ids.end(), config.eos_token_id.begin(), config.eos_token_id.end());
  if (tokenizer && tokenizer->eos_token() && tokenizer->eos_token()->id)
    ids.push_back(*tokenizer->eos_token()->id);
  return ids;
}

std::size_t context_limit(const RunOptions& options, const Config& config) {
  const std::size_t most = config.max_position_embeddings;
  if (!options.context) return most;
  if (*options.context > most) {
    throw UsageError("--ctx " + std::to_string(*options.context) + ": the model's context is " +
                     std::to_string(most) + " tokens (max_position_embeddings)");
  }
  return *options.context;
}

// What a run is made of, once everything is read and checked.
struct Job {
  const RunOptions& options;
  Model& model;
  const Tokenizer* tokenizer;
  const Prompt& prompt;
  const kernels::Kernels& kernels;
  GenerateOptions generate;
  std::size_t context;  // prompt and new tokens at most
  double load_seconds;
  double tokenize_seconds;
};

// The tokens that the KV cache must have room for.
std::size_t tokens_needed(const Job& job) {
  const std::size_t room = job.context - job.prompt.ids.size();
  return job.prompt.ids.size() + std::min(room, job.options.max_new_tokens.value_or(room));
}

void check_memory(const Job& job) {
  const std::optional<MemoryState> memory = memory_state();
  if (!memory) return;
  // With -n -1 the context is room, not a need: only the prompt must fit for certain.
  const bool open_ended = !job.options.max_new_tokens;
  const std::size_t tokens = open_ended ? job.prompt.ids.size() : tokens_needed(job);
  const std::uint64_t kv_bytes =
      saturating_product(tokens, job.model.kv_bytes_per_token(job.options.kv_format));
  if (kv_bytes > memory->available) {
    throw Error("the KV cache of " + std::to_string(tokens) + " tokens takes " + format_bytes(kv_bytes) +
                ", this machine has " + format_bytes(memory->available) +
                " available\na smaller -n or --ctx, or --kv-type int8, takes less");
  }
  const std::uint64_t most =
      saturating_product(tokens_needed(job), job.model.kv_bytes_per_token(job.options.kv_format));
  if (most > memory->available && !job.options.quiet) {
    write_message("baleen run: a KV cache for the whole context would take " + format_bytes(most) +
                  " of the " + format_bytes(memory->available) + " available: a smaller --ctx bounds it\n");
  }
  const std::uint64_t weights = job.model.checkpoint().bytes();
  if (weights > memory->total && !job.options.quiet) {
    write_message("baleen run: the weights take " + format_bytes(weights) + ", more than the " +
                  format_bytes(memory->total) + " of memory: they will be read from disk again and again\n");
  }
}

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

void describe_job(const Job& job, const fs::path& folder, std::size_t threads) {
  const Model& model = job.model;
  std::uint64_t parameters = 0;
  std::uint64_t active = 0;
  for (const Inventory& row : model.inventory()) {
    parameters += row.parameters;
    active += row.active_parameters;
  }
  write_message(
      "model     " + folder.string() + ": " + model.config().model_type + ", " + format_count(parameters) +
      " parameters, " + format_count(active) + " active, " + format_bytes(model.checkpoint().bytes()) +
      "\nkernels   " + describe_kernels(job.kernels) + ", " + std::to_string(threads) + " threads\n" +
      "KV cache  " + std::string(kv_format_name(job.options.kv_format)) + ", " +
      std::to_string(tokens_needed(job)) + " tokens, " +
      format_bytes(saturating_product(tokens_needed(job), model.kv_bytes_per_token(job.options.kv_format))) +
      "\n" + "sampling  " + describe_sampling(job.generate.sampling) + "\n" +
      (job.prompt.template_file.empty() ? "" : "template  " + job.prompt.template_file + "\n"));
}

void describe_times(const Job& job, const GenerateTimes& times) {
  const auto phase = [](const std::string& name, std::size_t tokens, double seconds) {
    std::string text =
        ", " + name + " " + format_seconds(seconds) + " (" + std::to_string(tokens) + " tokens";
    if (tokens > 0 && seconds > 0)
      text += ", " + format_fixed(static_cast<double>(tokens) / seconds, 1) + " tokens/s";
    return text + ")";
  };
  write_message("time      load " + format_seconds(job.load_seconds) + ", tokenize " +
                format_seconds(job.tokenize_seconds) +
                phase("prefill", times.prefilled_tokens, times.prefill_seconds) +
                phase("decode", times.decoded_tokens, times.decode_seconds) + "\n");
}

// Lines of the prompt's log-probabilities on the same terminal would be written over.
Progress::Mode prefill_progress_mode(const RunOptions& options) {
  const bool shares_terminal = options.echo && options.logprobs && is_terminal(1);
  return shares_terminal ? Progress::Mode::off : progress_mode(options);
}

// Moves the progress of the prompt layer by layer: a chunk of it may take minutes.
class PrefillProgress {
 public:
  PrefillProgress(Progress& progress, const Config& config) : progress_(progress) {
    observer_.hidden = [this, &config](std::size_t layer, std::span<const float> hidden) {
      if (layer >= config.num_hidden_layers) return;  // holds the rows of logits only
      const std::size_t tokens = hidden.size() / config.hidden_size;
      progress_.update(done_ + tokens * layer / config.num_hidden_layers, seconds_since(start_));
    };
  }
  PrefillProgress(const PrefillProgress&) = delete;
  PrefillProgress& operator=(const PrefillProgress&) = delete;

  const Observer* observer() const { return progress_.mode() == Progress::Mode::off ? nullptr : &observer_; }
  std::function<void(std::size_t)> on_chunk() {
    return [this](std::size_t done) {
      if (done == done_) return;  // the prompt is through
      done_ = done;
      progress_.update(done, seconds_since(start_));
    };
  }

 private:
  Progress& progress_;
  Observer observer_;
  std::size_t done_ = 0;
  Clock::time_point start_ = Clock::now();
};

void generate_and_print(const Job& job, Scheduler& scheduler) {
  const std::unique_ptr<Printer> printer = make_printer(job.options, job.prompt, job.tokenizer);
  Progress progress(prefill_progress_mode(job.options), "prefill", job.prompt.ids.size(), "tokens",
                    write_message);
  Generation generation(job.prompt.ids, job.generate, job.tokenizer, job.model.config().vocab_size,
                        job.context,
                        {.token =
                             [&](const Step& step) {
                               if (!step.of_prompt) progress.erase();
                               printer->token(step);
                             },
                         .text = [&](std::string_view text) { printer->text(text); }});
  PrefillProgress prefill(progress, job.model.config());
  const GenerateTimes times = generate(scheduler, generation, prefill.on_chunk(), prefill.observer());
  progress.erase();
  printer->end(generation, times);
  if (job.options.verbose) describe_times(job, times);
}

int run_job(const Job& job, const fs::path& folder) {
  ThreadPool pool(job.options.threads.value_or(default_thread_count()));
  check_memory(job);
  if (job.options.verbose) describe_job(job, folder, pool.size());
  round_head_if_asked(job.options, job.model, pool, job.kernels);
  int signal = 0;
  {
    const SignalFlag flag;
    Scheduler scheduler(
        job.model, pool,
        {.kv_format = job.options.kv_format, .kernels = &job.kernels, .cancel = SignalFlag::cancel()});
    generate_and_print(job, scheduler);
    signal = SignalFlag::signal();
  }
  if (signal != 0) raise_again(signal);
  return 0;
}

int run_model(const RunOptions& options, const fs::path& folder, const std::optional<Tokenizer>& tokenizer) {
  const kernels::Kernels& kernels = choose_kernels(options.isa);
  const auto load_start = Clock::now();
  Model model = Model::open(folder);
  const GenerationConfig defaults = read_generation_config(folder);
  const std::size_t context = context_limit(options, model.config());
  const double load_seconds = seconds_since(load_start);
  if (options.inspect) {
    print_inspection(model, folder, context, options.kv_format, options.json, Style(1, options.color));
    return 0;
  }
  const Tokenizer* const words = tokenizer ? &*tokenizer : nullptr;
  PromptMaker maker = prompt_maker(options, folder, words);
  const Prompt prompt = make_prompt(options, maker);
  check_prompt(prompt.ids, model.config().vocab_size, context);
  Job job{.options = options,
          .model = model,
          .tokenizer = words,
          .prompt = prompt,
          .kernels = kernels,
          .generate = {.max_new_tokens = options.max_new_tokens,
                       .end_tokens = {},
                       .stop = options.stop,
                       .think_budget = options.think_budget,
                       .inside_thinking = prompt.inside_thinking,
                       .logprobs = options.logprobs,
                       .prompt_logprobs = options.echo,
                       .sampling = choose_sampling(options, defaults)},
          .context = context,
          .load_seconds = load_seconds,
          .tokenize_seconds = prompt.tokenize_seconds};
  if (!options.ignore_eos) job.generate.end_tokens = end_tokens(defaults, model.config(), words);
  return run_job(job, folder);
}

}  // namespace

int run(std::vector<std::string> words) {
  RunOptions options;
  const Command definition = run_definition(options);
  parse(definition, std::move(words), {"-h", "--help"});
  if (print_help_or_version(options, definition)) return 0;

  check_combinations(options);
  const fs::path folder = options.model ? *options.model : default_model_folder();
  if (options.inspect) return run_model(options, folder, {});
  check_prompt_source(options);
  const std::optional<Tokenizer> tokenizer = open_tokenizer(options, folder);
  if (!options.dry_run) return run_model(options, folder, tokenizer);
  PromptMaker maker = prompt_maker(options, folder, &*tokenizer);
  const Prompt prompt = make_prompt(options, maker);
  check_ids(prompt.ids, tokenizer->vocab_size());
  print_prompt(options, prompt);
  return 0;
}

}  // namespace baleen::cmd
