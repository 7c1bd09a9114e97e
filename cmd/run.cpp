// baleen run: what was asked for, the model that is to do it, and which of its ways to take.
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/files.h"
#include "checkpoint/generation_config.h"
#include "clock.h"
#include "cmd/chat.h"
#include "cmd/commands.h"
#include "cmd/distinct_files.h"
#include "cmd/inspect.h"
#include "cmd/interactive.h"
#include "cmd/kernel_choice.h"
#include "cmd/load_file.h"
#include "cmd/model_folder.h"
#include "cmd/output.h"
#include "cmd/parse.h"
#include "cmd/printer.h"
#include "cmd/prompt.h"
#include "cmd/run_options.h"
#include "cmd/run_setup.h"
#include "cmd/weight_memory.h"
#include "cmd/whole_output.h"
#include "error.h"
#include "model/memory_plan.h"
#include "model/model.h"
#include "model/weight_files.h"
#include "report/printable.h"
#include "report/units.h"
#include "routing/expert_shares.h"
#include "routing/route_log.h"
#include "runtime/generate.h"

namespace baleen::cmd {
namespace {

namespace fs = std::filesystem;

void check_route_options(const RunOptions& options) {
  if (options.route_log_detail && !options.route_log)
    throw UsageError("--route-log-detail says how much --route-log writes");
  if (options.label && !options.route_log) throw UsageError("--label names what --route-log writes");
  if (options.route_prior && !options.memory)
    throw UsageError(
        "--route-prior says which experts --memory keeps at first; without --memory all are there");
  if (options.route_log != "-") return;
  if (!options.output || options.output == "/dev/stdout") {
    throw UsageError(
        "--route-log -: standard output carries the answer already\n"
        "name a file for the log, or one for the answer with -o");
  }
}

// The option that a prompt comes from; null: none does.
const char* prompt_option(const RunOptions& options) {
  return options.prompt     ? "a PROMPT"
         : options.file     ? "-f"
         : options.messages ? "--messages"
         : options.ids      ? "--ids"
                            : nullptr;
}

// Options that go with many answers, or only with one.
void check_many(const RunOptions& options) {
  const auto need = [](bool given, const char* option, bool fulfilled, const char* other) {
    if (given && !fulfilled) throw UsageError(std::string(option) + " needs " + other);
  };
  need(options.parallel.has_value(), "--parallel", options.many(), "--batch or --samples");
  need(options.reward.has_value(), "--reward", options.many(), "--batch or --samples");
  need(options.resume, "--resume", options.batch.has_value(), "--batch");
  need(options.resume, "--resume", options.output.has_value(), "-o");
  need(options.force, "--force", options.output || options.route_stats, "-o or --route-stats");
  if (options.resume && options.force) throw UsageError("--resume and --force contradict each other");
  if (!options.many()) return;
  if (!options.jsonl())
    throw UsageError(
        "many answers are JSON lines: --format text is for one\njq -r .text takes the texts out");
  if (options.dry_run) throw UsageError("--dry-run shows one prompt, not those of --batch or --samples");
  if (options.prompt_cache) {
    throw UsageError(
        "--prompt-cache is for one answer; those of --batch and --samples share the beginnings of their "
        "prompts by themselves");
  }
  if (!options.batch) return;
  if (const char* const other = prompt_option(options))
    throw UsageError("--batch brings the prompts, " + std::string(other) + " would be another");
}

// Each output in a file of its own, and none over an input.
void check_files(const RunOptions& options) {
  // Without -o, too: what is read line by line while results are appended to it would never end. Another
  // prompt is read to its end before anything is printed.
  const bool prints = !options.output || options.output == "/dev/stdout";
  const NamedFile answers{prints ? "standard output" : "-o", prints ? "-" : options.output};
  const NamedFile route_log{"--route-log", options.route_log};
  const NamedFile route_stats{"--route-stats", options.route_stats};
  const NamedFile prompt_cache{"--prompt-cache", options.prompt_cache};
  const NamedFile batch{"--batch", options.batch};
  check_distinct({answers, route_log, route_stats, prompt_cache}, {batch});
  std::vector<NamedFile> written{route_log, route_stats, prompt_cache};
  if (!prints) written.push_back(answers);
  check_distinct(written, {{"-f", options.file}, {"--messages", options.messages}});
  // What a log or its loads go on with may be their own beginning: it is read before.
  written = {prompt_cache};
  if (!prints) written.push_back(answers);
  check_distinct(written, {{"--route-prior", options.route_prior}});
}

void check_combinations(const RunOptions& options) {
  if (options.json && !options.inspect) {
    throw UsageError("--json belongs to --inspect; for generated text there is --format jsonl");
  }
  if (options.inspect) {
    const char* const other = options.dry_run       ? "--dry-run"
                              : options.batch       ? "--batch"
                              : options.samples > 0 ? "--samples"
                                                    : prompt_option(options);
    if (other)
      throw UsageError("--inspect looks at the model alone, " + std::string(other) + " has no place there");
  }
  if (contradicts_itself(options.request)) {
    throw UsageError("--greedy and a --temp other than 0 contradict each other");
  }
  const bool prints_tokens = !options.jsonl() && (options.ids || options.request.logprobs);
  if (prints_tokens && options.think != RunOptions::Think::keep) {
    throw UsageError(std::string("--think concerns text, ") +
                     (options.request.logprobs ? "--logprobs" : "--ids") +
                     " prints every token\n--format jsonl has both, and the thinking apart");
  }
  if (options.prompt_cache && options.echo && options.request.logprobs) {
    throw UsageError(
        "--echo --logprobs needs every token of the prompt computed; there is nothing for "
        "--prompt-cache to save");
  }
  check_chat_options(options);
  check_many(options);
  check_route_options(options);
  check_files(options);
}

bool needs_tokenizer(const RunOptions& options) {
  const RequestOptions& request = options.request;
  return !options.ids || request.stop || request.think_budget || request.logprobs || options.dry_run ||
         options.jsonl();
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

// What is printed at once: to standard output, or whole or not at all to the file of -o.
void print_whole(const RunOptions& options, const std::string& text) {
  if (!options.output) return write_output(text);
  write_whole(options.output, options.force, [&](const auto& write) { write(text); });
}

void inspect(const RunOptions& options, const Model& model, const fs::path& folder, std::size_t context) {
  const std::uint64_t kv_bytes = saturating_product(context, model.kv_bytes_per_token(options.kv_format));
  const std::optional<std::uint64_t> budget = weight_budget(
      options, model, folder, {.kv_bytes = likely_kv_bytes(kv_bytes), .longest_prompt = context});
  std::optional<MemoryPlan> plan;
  if (budget) plan = plan_memory(model, WeightFiles(model.checkpoint(), folder), *budget);
  // -o is no terminal, whatever standard output is.
  const bool plain = options.output && options.color == ColorChoice::automatic;
  const Style style(1, plain ? ColorChoice::never : options.color);
  print_whole(options, inspection(model, folder, {context, options.kv_format, plan}, options.json, style));
}

ExpertShares read_prior(const RunOptions& options, const Model& model) {
  std::vector<std::string> notes;
  ExpertShares shares = read_expert_shares(*options.route_prior, model.config(), notes);
  if (!options.quiet)
    for (const std::string& note : notes) write_message("baleen run: " + printable(note) + "\n");
  return shares;
}

int run_model(const RunOptions& options, const fs::path& folder, const std::optional<Tokenizer>& tokenizer,
              bool is_chat) {
  const kernels::Kernels& kernels = choose_kernels(options.isa);
  const auto load_start = Clock::now();
  Model model = Model::open(folder);
  const GenerationConfig defaults = read_generation_config(folder);
  const std::size_t context = context_limit(options, model.config());
  const double load_seconds = seconds_since(load_start);
  if (options.inspect) {
    inspect(options, model, folder, context);
    return 0;
  }
  const Tokenizer* const words = tokenizer ? &*tokenizer : nullptr;
  PromptMaker maker = prompt_maker(options, folder, words);
  std::optional<RouteLog> route_log;
  if (options.route_log) {
    route_log.emplace(
        route_header(model, folder_name(folder), options.route_log_detail.value_or(RouteDetail::weights)),
        *options.route_log);
    route_log->name_request(0, options.label.value_or(""), "");  // that of one answer, and of a chat
  }
  std::optional<LoadFile> loads;
  if (options.route_stats) loads.emplace(*options.route_stats, options.force, model, folder_name(folder));
  std::optional<ExpertShares> prior;
  if (options.route_prior) prior = read_prior(options, model);
  const RunSetup setup{.options = options,
                       .folder = folder,
                       .model = model,
                       .tokenizer = words,
                       .maker = maker,
                       .kernels = kernels,
                       .defaults = defaults,
                       .end_tokens = end_tokens(defaults, model.config(), words),
                       .context = context,
                       .seed = options.request.seed ? *options.request.seed : std::random_device()(),
                       .load_seconds = load_seconds,
                       .route_log = route_log ? &*route_log : nullptr,
                       .loads = loads ? &*loads : nullptr,
                       .prior = prior ? &*prior : nullptr};
  if (is_chat) return run_chat(setup);
  return options.many() ? run_many(setup) : run_one(setup);
}

}  // namespace

int run(std::vector<std::string> words) {
  RunOptions options;
  const Command definition = run_definition(options);
  parse(definition, std::move(words), {"-h", "--help"});
  if (print_help_or_version(options, definition)) return 0;

  check_combinations(options);
  const fs::path folder = options.model ? *options.model : default_model_folder();
  if (!options.dry_run) check_holds_model(folder);
  if (options.inspect) return run_model(options, folder, {}, false);
  const bool is_chat = asks_for_chat(options);
  const std::optional<Tokenizer> tokenizer = open_tokenizer(options, folder);
  if (!options.dry_run) return run_model(options, folder, tokenizer, is_chat);
  PromptMaker maker = prompt_maker(options, folder, &*tokenizer);
  const Prompt prompt = make_prompt(options, maker);
  check_ids(prompt.ids, tokenizer->vocab_size());
  print_whole(options, show_prompt(options, prompt));
  return 0;
}

}  // namespace baleen::cmd
