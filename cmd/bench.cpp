// baleen bench: speeds beside what the machine could do, the quality of predictions, and what tokens cost.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bench/cost.h"
#include "bench/disk_speed.h"
#include "bench/machine.h"
#include "bench/quality.h"
#include "bench/random_model.h"
#include "bench/shapes.h"
#include "bench/speed.h"
#include "checkpoint/files.h"
#include "clock.h"
#include "cmd/bench_cost.h"
#include "cmd/bench_options.h"
#include "cmd/bench_quality.h"
#include "cmd/bench_report.h"
#include "cmd/commands.h"
#include "cmd/kernel_choice.h"
#include "cmd/model_folder.h"
#include "cmd/output.h"
#include "cmd/parse.h"
#include "cmd/prompt.h"
#include "cmd/rounded_head.h"
#include "cmd/signals.h"
#include "cmd/weight_memory.h"
#include "error.h"
#include "model/memory_plan.h"
#include "model/model.h"
#include "model/weight_files.h"
#include "report/memory.h"
#include "report/printable.h"
#include "report/progress.h"
#include "report/units.h"
#include "runtime/kv_formats.h"
#include "runtime/limited_memory.h"
#include "runtime/thread_pool.h"
#include "tokenizer/tokenizer.h"

namespace baleen::cmd {
namespace {

namespace fs = std::filesystem;
using Format = BenchOptions::Format;

constexpr std::size_t largest_config = std::size_t{16} << 20U;
constexpr std::size_t largest_text = std::size_t{256} << 20U;
// What random weights leave of the memory: room for activations and for everybody else.
constexpr std::uint64_t memory_reserve = std::uint64_t{1536} << 20U;
// The disk is measured on so many bytes of the model, for so long, at most.
constexpr std::uint64_t most_disk_bytes = 4'000'000'000;
constexpr double most_disk_seconds = 2;

void warn(const BenchOptions& options, const std::string& text) {
  if (!options.quiet) write_message("baleen bench: " + printable(text) + "\n");
}

void print_json(const Json& object) {
  write_output(object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

// ---- What was asked for, and whether it fits together.

bool keeps_books(const BenchOptions& o) {
  return o.tokens_in || o.tokens_cached || o.tokens_out || o.hours;
}
bool has_speeds(const BenchOptions& o) {
  return o.prefill_speed || o.decode_speed;
}

void need(bool there, const std::string& who, const std::string& what) {
  if (!there) throw UsageError(who + " needs " + what);
}

void check_cost_options(const BenchOptions& o) {
  if (keeps_books(o)) {
    need(o.tokens_in && o.tokens_out, "a volume of tokens", "--tokens-in and --tokens-out");
    need(o.cost_per_hour && o.price_in && o.price_out, "--tokens-in",
         "--cost-per-hour, --price-in and --price-out");
    if (o.tokens_cached.value_or(0) > *o.tokens_in)
      throw UsageError("--tokens-cached are more than --tokens-in");
    if (o.price_list) throw UsageError("--prices compares speeds, not volumes of tokens");
  }
  need(!o.price_in == !o.price_out, "a price", "both --price-in and --price-out");
  need(!o.price_cached || keeps_books(o), "--price-cached", "--tokens-in, --tokens-cached and --tokens-out");
  need(o.cost_per_hour || !(o.price_in || o.price_list || has_speeds(o)), "a comparison of prices",
       "--cost-per-hour");
  need(!o.prefill_speed == !o.decode_speed, "a given speed", "both --prefill-tps and --decode-tps");
}

void check_combinations(const BenchOptions& o) {
  if (o.formats_given > 1) throw UsageError("--json, --csv and --markdown exclude each other");
  need(!o.weights || o.shape, "--weights", "--shape");
  need(!o.layers || o.shape, "--layers", "--shape");
  need(!o.reference || o.text, "--kl", "a text to compare on: --ppl FILE");
  need(!o.context || o.text, "--ctx", "--ppl FILE");
  if (o.memory && o.shape)
    throw UsageError(
        "--memory (or $BALEEN_MEMORY) and --shape exclude each other: these weights lie in no files");
  if (o.text && o.shape) throw UsageError("--ppl and --shape exclude each other: noise predicts nothing");
  if (o.text && o.throughput) throw UsageError("--throughput concerns decoding, and --ppl does none");
  if (o.text && o.cost_per_hour) throw UsageError("--ppl and --cost-per-hour exclude each other");
  check_cost_options(o);
  const bool tabular = o.format == Format::csv || o.format == Format::markdown;
  if (tabular && (o.text || o.cost_per_hour)) {
    throw UsageError("--csv and --markdown hold speeds alone; there is --json");
  }
}

// ---- Cost.

std::optional<PriceList> read_price_list(const BenchOptions& options) {
  if (!options.price_list) return {};
  return parse_price_list(read_small_file(*options.price_list, largest_config), *options.price_list);
}

CostReport cost_report(const BenchOptions& o, const Request& request, const Speeds& speeds) {
  CostReport report{.request = request,
                    .speeds = speeds,
                    .cost_per_hour = *o.cost_per_hour,
                    .prices = {},
                    .list = read_price_list(o)};
  if (o.price_in) report.prices = Prices{.in = *o.price_in, .cached = *o.price_in, .out = *o.price_out};
  return report;
}

int print_books(const BenchOptions& o) {
  const BooksReport report{
      .volume = {.in = static_cast<double>(*o.tokens_in),
                 .cached = static_cast<double>(o.tokens_cached.value_or(0)),
                 .out = static_cast<double>(*o.tokens_out),
                 .hours = o.hours.value_or(24)},
      .prices = {.in = *o.price_in, .cached = o.price_cached.value_or(*o.price_in), .out = *o.price_out},
      .cost_per_hour = *o.cost_per_hour};
  if (o.format == Format::json) {
    print_json(books_json(report));
  } else {
    write_output(books_text(report));
  }
  return 0;
}

int print_given_cost(const BenchOptions& o) {
  const std::vector<std::uint64_t>& prompts = o.prompts ? *o.prompts : default_prompts;
  const Request request{.in = static_cast<double>(*std::max_element(prompts.begin(), prompts.end())),
                        .out = static_cast<double>(o.new_tokens.value_or(default_new_tokens))};
  need(request.in + request.out > 0, "a request", "-p or -n above 0");
  const CostReport report = cost_report(o, request, {.in = *o.prefill_speed, .out = *o.decode_speed});
  if (o.format == Format::json) {
    print_json(Json{{"schema", 1}, {"cost", cost_json(report)}});
  } else {
    write_output(cost_text(report));
  }
  return 0;
}

// ---- Speed.

std::vector<std::uint64_t> that_fit(std::vector<std::uint64_t> sizes, std::uint64_t behind,
                                    std::uint64_t context) {
  std::erase_if(sizes, [&](std::uint64_t size) { return size + behind > context; });
  return sizes;
}

std::vector<SpeedTest> choose_tests(const BenchOptions& o, std::size_t context) {
  const std::uint64_t new_tokens = o.new_tokens.value_or(default_new_tokens);
  std::vector<std::uint64_t> depths = o.depths ? *o.depths : that_fit(default_depths, new_tokens, context);
  // Tokens that were asked for and fit behind no default depth are a mistake.
  if (depths.empty() && o.new_tokens) depths = {default_depths.front()};
  std::vector<SpeedTest> tests = speed_tests(o.prompts ? *o.prompts : that_fit(default_prompts, 0, context),
                                             new_tokens, depths, o.batches);
  for (const SpeedTest& test : tests) {
    if (test.depth + test.tokens <= context) continue;
    throw UsageError(test_name(test) + ": " + std::to_string(test.depth + test.tokens) +
                     " tokens, the model's context is " + std::to_string(context) +
                     " tokens (max_position_embeddings)");
  }
  need(!tests.empty(), "a benchmark", "something to measure: -p or -n above 0 that fits the model's context");
  if (o.cost_per_hour) {
    need(tests.front().kind == SpeedTest::Kind::prefill && tests.back().kind == SpeedTest::Kind::decode,
         "--cost-per-hour", "both speeds: prompts (-p) and tokens to decode (-n)");
  }
  return tests;
}

std::uint64_t available_memory() {
  const std::optional<MemoryState> memory = memory_state();
  return memory ? memory->available : std::uint64_t{0} - 1;
}

std::uint64_t kv_cache_bytes(const Config& config, kernels::KvFormat format, std::size_t tokens) {
  return saturating_product(tokens, KvLayout(config, format).position_bytes * config.num_hidden_layers);
}

void check_kv_memory(const Config& config, kernels::KvFormat format, std::size_t tokens) {
  const std::uint64_t bytes = kv_cache_bytes(config, format, tokens);
  const std::uint64_t available = available_memory();
  if (bytes <= available) return;
  throw Error("the KV cache of " + std::to_string(tokens) + " tokens takes " + format_bytes(bytes) +
              ", this machine has " + format_bytes(available) +
              " available\nshorter or fewer sequences, or --kv-type int8, take less");
}

ModelShape read_shape(const BenchOptions& o) {
  const WeightFormat format = o.weights.value_or(WeightFormat::bf16);
  std::string names;
  for (const ShapePreset& preset : shape_presets()) {
    if (preset.name == *o.shape) return parse_shape(preset.config_json, *o.shape, format);
    names += (names.empty() ? "" : ", ") + std::string(preset.name);
  }
  if (!path_exists(*o.shape)) {
    throw UsageError("--shape " + *o.shape +
                     ": no such file, and none of the shapes known by name: " + names);
  }
  return parse_shape(read_small_file(*o.shape, largest_config), *o.shape, format);
}

// What is measured.
struct Subject {
  Model model;
  std::string name;
  ShapeSize size;  // of the whole model
  std::vector<double> layer_counts = {};
  std::optional<Extrapolation> extrapolation = {};
};

Subject open_subject(const fs::path& folder) {
  Subject subject{.model = Model::open(folder), .name = folder.string(), .size = {}};
  for (const Inventory& row : subject.model.inventory()) {
    subject.size.parameters += row.parameters;
    subject.size.active_parameters += row.active_parameters;
    subject.size.bytes += row.bytes;
  }
  return subject;
}

Extrapolation count_layers(const ModelShape& all, const ModelShape& part) {
  const auto moe = [](const ModelShape& shape) {
    return static_cast<std::size_t>(
        std::count(shape.config.is_moe_layer.begin(), shape.config.is_moe_layer.end(), true));
  };
  return {.measured_dense = part.config.num_hidden_layers - moe(part),
          .measured_moe = moe(part),
          .all_dense = all.config.num_hidden_layers - moe(all),
          .all_moe = moe(all)};
}

// `cached` tokens of KV cache need room too.
Subject make_subject(const BenchOptions& o, const ModelShape& shape, std::size_t cached, ThreadPool& pool) {
  const std::uint64_t taken = memory_reserve + kv_cache_bytes(shape.config, o.kv_format, cached);
  const std::uint64_t available = available_memory();
  const LayerChoice choice =
      choose_layers(shape, available > taken ? available - taken : 0, o.layers.value_or(0));
  const ModelShape part = with_layers(shape, choice.layers);
  if (const std::uint64_t bytes = shape_size(part).bytes; bytes > available) {
    throw Error(std::to_string(choice.layers.size()) + " layers of " + shape.name + " take " +
                format_bytes(bytes) + ", this machine has " + format_bytes(available) +
                " available\na smaller --layers takes less");
  }
  Subject subject{.model = random_model(part, o.seed, pool, SignalFlag::cancel()),
                  .name = shape.name,
                  .size = shape_size(shape),
                  .layer_counts = choice.counts};
  if (choice.layers.size() < shape.config.num_hidden_layers)
    subject.extrapolation = count_layers(shape, part);
  return subject;
}

std::string weight_formats(const Model& model) {
  std::vector<std::string> formats;
  for (const Inventory& row : model.inventory()) {
    if (std::find(formats.begin(), formats.end(), row.format) == formats.end()) formats.push_back(row.format);
  }
  std::string text;
  for (const std::string& format : formats) text += (text.empty() ? "" : ", ") + format;
  return text;
}

SpeedReport describe(const BenchOptions& o, const Subject& subject, const std::string& command_line,
                     const kernels::Kernels& kernels, std::size_t threads) {
  const std::optional<MemoryState> memory = memory_state();
  return {.command_line = command_line,
          .processor = processor_name(),
          .memory_bytes = memory ? memory->total : 0,
          .threads = threads,
          .isa = std::string(kernels.name),
          .kernels = describe_kernels(kernels),
          .model = subject.name,
          .architecture = subject.model.config().model_type,
          .weights = weight_formats(subject.model),
          .parameters = subject.size.parameters,
          .active_parameters = subject.size.active_parameters,
          .weight_bytes = subject.size.bytes,
          .routed_experts = subject.model.config().n_routed_experts,
          .kv_type = std::string(kv_format_name(o.kv_format)),
          .throughput = o.throughput,
          .seed = o.seed,
          .extrapolation = subject.extrapolation,
          .memory = {},
          .bandwidth = {},
          .peak = {},
          .results = {}};
}

// Weights of a file are read into the page cache before anything is timed; those just made are in memory.
void warm_up(const BenchOptions& o, const Subject& subject, ThreadPool& pool, SpeedReport& report) {
  const std::uint64_t bytes = subject.model.checkpoint().bytes();
  if (subject.model.checkpoint().files() == 0) return;
  if (bytes > available_memory()) {
    warn(o, "the weights take " + format_bytes(bytes) + ", this machine has " +
                format_bytes(available_memory()) +
                " available: they are read from disk again and again, and that is what is measured");
    return;
  }
  const auto start = Clock::now();
  touch_weights(subject.model, pool, SignalFlag::cancel());
  report.warm_up_bytes = bytes;
  report.warm_up_seconds = seconds_since(start);
  if (o.verbose) {
    write_message("warm-up   " + format_bytes(bytes) + " of weights read in " +
                  format_seconds(report.warm_up_seconds) + "\n");
  }
}

// Passes of prompts are as long as `baleen run` makes them.
std::size_t prompt_chunk(const Model& model, const LimitedMemory& memory) {
  const std::uint64_t bound = std::min(memory.plan.budget, available_memory());
  const bool all_there = !memory.experts || memory.plan.every_expert_fits();
  return prompt_chunks(model.config(), bound, all_there).alone;
}

void measure(const BenchOptions& o, const Subject& subject, const LimitedMemory& memory,
             const kernels::Kernels& kernels, ThreadPool& pool, std::span<const SpeedTest> tests,
             MachineLimits& limits, SpeedReport& report) {
  SpeedBench bench(subject.model, pool,
                   {.kernels = &kernels,
                    .kv_format = o.kv_format,
                    .decode_path = o.generated_path(),
                    .seed = o.seed,
                    .repetitions = o.repetitions,
                    .chunk = prompt_chunk(subject.model, memory),
                    .layer_counts = subject.layer_counts,
                    .cancel = SignalFlag::cancel(),
                    .experts = memory.experts.get()},
                   tests);
  Progress progress(progress_mode(o), "bench", tests.size() * (o.repetitions + 1), "runs", progress_screen());
  const auto start = Clock::now();
  std::uint64_t runs = 0;
  std::vector<fs::path> files;
  if (memory.experts) files = largest_first(WeightFiles(subject.model.checkpoint(), subject.name).paths());
  const auto measure_disk = [&] {
    if (memory.experts)
      report.memory->disk.push_back(sequential_bandwidth(files, most_disk_bytes, most_disk_seconds));
  };
  measure_disk();
  limits.measure();
  for (const SpeedTest& test : tests) {
    report.results.push_back(bench.measure(test, [&] { progress.update(++runs, seconds_since(start)); }));
    limits.measure();
  }
  measure_disk();
}

void warn_of(const BenchOptions& o, const SpeedReport& report) {
  const std::uint64_t cache = last_level_cache_bytes();
  for (const SpeedResult& result : report.results) {
    const SpeedFigures figures = speed_figures(result, report.roofline());
    const std::string name = test_name(result.test) + ": ";
    if (figures.scattered()) {
      warn(o, name + "the repetitions scatter by " + format_fixed(100 * figures.spread, 0) +
                  " %: stop what else runs on this machine, or take more of them with -r");
    }
    if (report.cached()) {
      const CacheFigures use = cache_figures(result, report.roofline(), report.disk_bandwidth());
      if (use.suspect()) {
        warn(o, name + format_fixed(100 * std::max(use.bound_share, use.disk_share), 0) +
                    " % of what the disk allows is suspect: it was slower while its speed was measured");
      }
    }
    if (!figures.suspect()) continue;
    const bool cached = figures.pass.weight_bytes < static_cast<double>(cache);
    std::string why = "the machine was slower while its limits were measured; measure again when it is idle";
    if (!figures.memory_bound) why += ". Or products of integers were faster than the peak of float32";
    if (cached) why = "what a pass reads fits the last-level cache (" + format_bytes(cache) + ")";
    warn(o, name + format_fixed(100 * figures.roofline_share, 0) + " % of the roofline is suspect: " + why);
  }
}

void print_speeds(const BenchOptions& o, const SpeedReport& report) {
  std::optional<CostReport> cost;
  const SpeedResult* const in = longest_prompt(report.results);
  const SpeedResult* const out = largest_batch(report.results);
  if (o.cost_per_hour && in && out) {
    cost = cost_report(
        o, {.in = static_cast<double>(in->test.tokens), .out = static_cast<double>(out->test.tokens)},
        {.in = in->tokens_per_second(), .out = out->tokens_per_second()});
  }
  switch (o.format) {
    case Format::table:
      write_output(speed_text(report, Style(1, o.color)));
      break;
    case Format::csv:
      write_output(speed_csv(report));
      break;
    case Format::markdown:
      write_output(speed_markdown(report));
      break;
    case Format::json: {
      Json object = speed_json(report);
      if (cost) object["cost"] = cost_json(*cost);
      print_json(object);
      break;
    }
  }
  if (cost && o.format == Format::table) {
    write_output("\ninput as measured by " + test_name(in->test) + ", output by " + test_name(out->test) +
                 ": " + cost_text(*cost));
  }
}

// What is found wrong is found before the first gigabyte is touched.
int run_speed(const BenchOptions& o, const std::string& command_line) {
  const kernels::Kernels& kernels = choose_kernels(o.isa);
  read_price_list(o);
  std::optional<ModelShape> shape;
  std::optional<Subject> subject;
  if (o.shape) {
    shape = read_shape(o);
  } else {
    subject = open_subject(o.model ? *o.model : default_model_folder());
  }
  const Config& config = shape ? shape->config : subject->model.config();
  const std::vector<SpeedTest> tests = choose_tests(o, config.max_position_embeddings);
  const std::size_t cached = cached_tokens(tests);
  if (subject) check_kv_memory(config, o.kv_format, cached);
  ThreadPool pool(o.threads.value_or(default_thread_count()));
  const std::uint64_t cache = last_level_cache_bytes();
  std::optional<std::uint64_t> budget;
  if (subject) {
    const std::uint64_t beside = bandwidth_buffer_bytes(cache, available_memory());
    budget = weight_budget(
        o, subject->model, subject->name,
        {.kv_bytes = kv_cache_bytes(config, o.kv_format, cached) + beside, .longest_prompt = cached});
  }

  int signal = 0;
  SpeedReport report;
  try {
    const SignalFlag flag;
    const std::uint64_t available = available_memory();
    const std::uint64_t left = available - std::min(available, budget.value_or(0));
    // A quarter of what there is, and no more than half of what the budget leaves.
    const std::uint64_t room =
        std::min(budget ? std::min(available, 2 * left) : available, address_space_left());
    MachineLimits limits(pool, kernels, bandwidth_buffer_bytes(cache, room), SignalFlag::cancel());
    if (limits.buffer_bytes() < bandwidth_buffer_bytes(cache, std::uint64_t{0} - 1)) {
      warn(o, "memory is short: bandwidth is measured on " + format_bytes(limits.buffer_bytes()) + " alone");
    }
    if (shape) subject = make_subject(o, *shape, cached, pool);
    round_head_if_asked(o, subject->model, pool, kernels);
    report = describe(o, *subject, command_line, kernels, pool.size());
    report.bandwidth_buffer_bytes = limits.buffer_bytes();
    LimitedMemory memory;
    if (budget) {
      memory = load_weights(o, subject->model, subject->name, *budget, nullptr, SignalFlag::cancel());
      report.memory = MemoryReport{.plan = memory.plan, .cached = memory.experts != nullptr, .disk = {}};
    }
    if (!budget || memory.plan.everything_fits()) warm_up(o, *subject, pool, report);
    try {
      measure(o, *subject, memory, kernels, pool, tests, limits, report);
    } catch (const Cancelled&) {
    }
    report.bandwidth = limits.bandwidth();
    report.peak = limits.peak();
    signal = SignalFlag::signal();
  } catch (const Cancelled&) {
    signal = SignalFlag::signal();
  }
  if (!report.results.empty()) {
    warn_of(o, report);
    print_speeds(o, report);
  }
  if (signal != 0) raise_again(signal);
  return 0;
}

// ---- Quality.

void check_same_tokenizer(const fs::path& folder, const fs::path& reference, const Model& model,
                          const Model& other) {
  if (model.config().vocab_size != other.config().vocab_size) {
    throw Error(reference.string() + ": a vocabulary of " + std::to_string(other.config().vocab_size) +
                " tokens, " + folder.string() + " has " + std::to_string(model.config().vocab_size) +
                "; --kl compares models of the same tokenizer");
  }
  const auto file = Tokenizer::file_in(reference);
  if (!file) return;
  const std::string name = file->filename().string();
  if (!path_exists(folder / name) ||
      read_small_file(*file, largest_text) != read_small_file(folder / name, largest_text)) {
    throw Error(file->string() + ": not the " + name + " of " + folder.string() +
                "; --kl compares models of the same tokenizer");
  }
}

std::size_t choose_window(const BenchOptions& o, const Model& model, std::size_t tokens) {
  const std::size_t most = model.config().max_position_embeddings;
  if (o.context.value_or(0) > most) {
    throw UsageError("--ctx " + std::to_string(*o.context) + ": the model's context is " +
                     std::to_string(most) + " tokens (max_position_embeddings)");
  }
  return std::min(o.context.value_or(most), tokens);
}

// The bytes that --memory gives the weights of each.
struct WeightBudgets {
  std::uint64_t model = 0;
  std::uint64_t reference = 0;
};

WeightBudgets quality_budgets(const BenchOptions& o, const fs::path& folder, const Model& model,
                              const std::optional<Model>& reference, std::size_t window) {
  std::uint64_t kv_bytes = kv_cache_bytes(model.config(), o.kv_format, window);
  if (reference) kv_bytes += kv_cache_bytes(reference->config(), o.kv_format, window);
  const PassNeeds needs{.kv_bytes = kv_bytes, .longest_prompt = window};
  const std::uint64_t both = weight_budget(o, model, folder, needs).value_or(0);
  if (!reference) return {.model = both};
  constexpr std::uint64_t unlimited = std::uint64_t{0} - 1;
  const auto plan = [](const Model& m, const fs::path& f) {
    return plan_memory(m, WeightFiles(m.checkpoint(), f), unlimited);
  };
  const auto [first, second] = share_budget(plan(model, folder), plan(*reference, *o.reference), both);
  return {.model = first, .reference = second};
}

int run_quality(const BenchOptions& o) {
  const kernels::Kernels& kernels = choose_kernels(o.isa);
  const fs::path folder = o.model ? *o.model : default_model_folder();
  Model model = Model::open(folder);
  const Tokenizer tokenizer = Tokenizer::open(folder);
  std::optional<Model> reference;
  if (o.reference) {
    reference = Model::open(*o.reference);
    check_same_tokenizer(folder, *o.reference, model, *reference);
  }
  const std::string text = read_small_file(*o.text, largest_text);
  check_utf8(text, *o.text);
  const std::vector<TokenId> ids = tokenizer.encode(text, Tokenizer::SpecialTokens::add);
  if (ids.size() < 2)
    throw Error(*o.text + ": " + std::to_string(ids.size()) + " tokens, expected two at least");
  for (const TokenId id : ids) {
    if (static_cast<std::size_t>(id) < model.config().vocab_size) continue;
    throw Error(*o.text + ": token " + std::to_string(id) + " is outside the model's vocabulary of " +
                std::to_string(model.config().vocab_size));
  }
  const std::size_t window = choose_window(o, model, ids.size());
  check_kv_memory(model.config(), o.kv_format, window);

  ThreadPool pool(o.threads.value_or(default_thread_count()));
  std::optional<WeightBudgets> budgets;
  if (o.memory) budgets = quality_budgets(o, folder, model, reference, window);
  round_head_if_asked(o, model, pool, kernels);
  int signal = 0;
  std::vector<Prediction> predictions;
  {
    const SignalFlag flag;
    Progress progress(progress_mode(o), "predict", ids.size(), "tokens", progress_screen());
    try {
      LimitedMemory memory;
      LimitedMemory reference_memory;
      if (budgets) memory = load_weights(o, model, folder, budgets->model, nullptr, SignalFlag::cancel());
      if (budgets && reference)
        reference_memory =
            load_weights(o, *reference, *o.reference, budgets->reference, nullptr, SignalFlag::cancel());
      const auto start = Clock::now();
      predictions = predict_text(model, reference ? &*reference : nullptr, ids, pool,
                                 {.kernels = &kernels,
                                  .kv_format = o.kv_format,
                                  .window = window,
                                  .cancel = SignalFlag::cancel(),
                                  .experts = memory.experts.get(),
                                  .reference_experts = reference_memory.experts.get()},
                                 [&](std::size_t done) { progress.update(done, seconds_since(start)); });
    } catch (const Cancelled&) {
      signal = SignalFlag::signal();
    }
  }
  if (signal != 0) {
    raise_again(signal);
    return 0;
  }
  const QualityReport report{.model = folder.string(),
                             .reference = o.reference ? o.reference->string() : "",
                             .text = *o.text,
                             .kernels = describe_kernels(kernels),
                             .kv_type = std::string(kv_format_name(o.kv_format)),
                             .tokens = ids.size(),
                             .window = window,
                             .predictions = predictions};
  if (o.format == Format::json) {
    print_json(quality_json(report));
  } else {
    write_output(quality_text(report));
  }
  return 0;
}

}  // namespace

int bench(std::vector<std::string> words) {
  const std::string command_line = "baleen bench" + (words.empty() ? "" : " " + quote_words(words));
  BenchOptions options;
  const Command definition = bench_definition(options);
  parse(definition, std::move(words), {"-h", "--help"});
  if (print_help_or_version(options, definition)) return 0;
  check_combinations(options);
  if (keeps_books(options)) return print_books(options);
  if (has_speeds(options)) return print_given_cost(options);
  if (options.text) return run_quality(options);
  return run_speed(options, command_line);
}

}  // namespace baleen::cmd
