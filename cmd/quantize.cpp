// baleen quantize: a published checkpoint made smaller, in a folder that other engines load too.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checksum.h"
#include "checkpoint/files.h"
#include "checkpoint/fingerprint.h"
#include "clock.h"
#include "cmd/commands.h"
#include "cmd/kernel_choice.h"
#include "cmd/model_folder.h"
#include "cmd/output.h"
#include "cmd/parse.h"
#include "cmd/prompt.h"
#include "cmd/quantize_options.h"
#include "cmd/quantize_report.h"
#include "cmd/signals.h"
#include "error.h"
#include "model/forward.h"
#include "quant/choose.h"
#include "quant/fit.h"
#include "quant/folder.h"
#include "quant/job.h"
#include "quant/loaders.h"
#include "quant/output.h"
#include "quant/sample.h"
#include "report/memory.h"
#include "report/printable.h"
#include "report/progress.h"
#include "report/units.h"
#include "tokenizer/tokenizer.h"

namespace baleen::cmd {
namespace {

namespace fs = std::filesystem;
using kernels::Format;

constexpr std::size_t listed_problems = 10;
constexpr std::size_t largest_text = std::size_t{256} << 20U;

void note(const QuantizeOptions& o, const std::string& text) {
  if (!o.quiet) write_message("baleen quantize: " + printable(text) + "\n");
}

void check_combinations(const QuantizeOptions& o) {
  if (o.check) {
    if (o.in || o.to || o.bits || o.dry_run || o.verify || o.resume || o.force || !o.keep.empty() ||
        !o.only.empty())
      throw UsageError("--check DIR stands alone");
    return;
  }
  if (!o.in) throw UsageError("no model to quantize\nbaleen quantize IN OUT --to int4 makes OUT of IN");
  if (!o.to && !o.bits && !o.target_size)
    throw UsageError("no format: --to int8, int4, fp8 or mxfp4, --bits or --target-size");
  if (o.to && o.target_size)
    throw UsageError("--target-size chooses formats: without --to; --bits can settle some");
  if (!o.target_size && (o.route_log || o.per_expert))
    throw UsageError("--route-log and --per-expert belong to --target-size");
  if (!o.out && !o.dry_run) throw UsageError("no folder to write to: baleen quantize IN OUT");
  if (o.dry_run && (o.verify || o.resume || o.force))
    throw UsageError("--dry-run writes nothing: without --verify, --resume and --force");
  if (o.feedback && !o.calibrate) throw UsageError("--method gptq needs a text: --calibrate TEXT");
  // In the environment a bound of memory may stand for runs that heed it.
  if (!o.calibrate && (o.calibrate_tokens || (o.memory && o.memory->source == "--memory")))
    throw UsageError("--calibrate-tokens and --memory belong to --calibrate");
  if (o.group_given && o.to && (*o.to == Encoding::fp8 || *o.to == Encoding::mxfp4))
    throw UsageError(std::string("--group belongs to int4 and int8; ") +
                     (*o.to == Encoding::fp8 ? "fp8 has blocks of 128 by 128" : "mxfp4 has groups of 32"));
}

// Progress in MiB of weights, and the bytes a second that it went at.
class Bytes {
 public:
  Bytes(const QuantizeOptions& o, const std::string& work, std::uint64_t total)
      : progress_(progress_mode(o), work, total >> 20U, "MiB", progress_screen()) {}
  OnBytes callback() {
    return [this](std::uint64_t bytes) { progress_.update(bytes >> 20U, seconds()); };
  }
  double seconds() const { return seconds_since(start_); }

 private:
  Progress progress_;
  Clock::time_point start_ = Clock::now();
};

std::uint64_t source_bytes(const Source& source) {
  return source.model().checkpoint().bytes();
}

int check(const QuantizeOptions& o) {
  ThreadPool pool(o.threads.value_or(default_thread_count()));
  std::uint64_t size = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(*o.check, error))
    size += entry.is_regular_file() ? entry.file_size() : 0;
  Bytes bytes(o, "check", size);
  const CheckResult result =
      check_folder(*o.check, choose_kernels(o.isa), pool, SignalFlag::cancel(), bytes.callback());
  write_output(o.json ? check_json(*o.check, result) : check_text(*o.check, result));
  if (result.problems.empty()) return 0;
  std::string text = *o.check + ": " + std::to_string(result.problems.size()) +
                     (result.problems.size() == 1 ? " thing is" : " things are") + " wrong";
  for (std::size_t i = 0; i < std::min(listed_problems, result.problems.size()); ++i)
    text += "\n  " + result.problems[i];
  if (result.problems.size() > listed_problems)
    text += "\n  and " + std::to_string(result.problems.size() - listed_problems) + " more";
  throw Error(text);
}

std::optional<Target> target_of(const QuantizeOptions& o) {
  if (!o.to) return {};
  return Target{*o.to, o.group};
}

void warn(const QuantizeOptions& o, const Source& source, const Plan& plan,
          std::span<const Decision> decisions) {
  const Loaders loaders = loaders_of(module_formats(source, decisions));
  if (!loaders.transformers.empty()) note(o, "transformers will not load this: " + loaders.transformers);
  if (!loaders.transformers_widening.empty())
    note(o, "transformers without an fp8 GPU will not read this rightly: " + loaders.transformers_widening);
  if (!loaders.vllm.empty()) note(o, "vLLM will not load this: " + loaders.vllm);
  for (const std::string& text : kept_notes(source, plan)) note(o, text);
  const auto again = std::count_if(plan.modules.begin(), plan.modules.end(), [&](const PlannedModule& m) {
    const SourceModule& module = source.modules()[static_cast<std::size_t>(&m - plan.modules.data())];
    return m.work == Work::encode && module.is_quantized() &&
           module.weight->matrix.format != Format::fp8_e4m3;
  });
  if (again > 0)
    note(o, std::to_string(again) + " matrices were rounded before (" + source.quantization().description() +
                "): errors add up, the checkpoint that they were made of would give better ones");
}

std::vector<EncodeError> errors_of(const Plan& plan, const Output& output) {
  std::vector<EncodeError> errors;
  for (std::size_t i = 0; i < plan.modules.size(); ++i) errors.push_back(output.result(i)->error);
  return errors;
}

void print(const QuantizeOptions& o, const QuantizeReport& report) {
  write_output(o.json ? quantize_json(report) : quantize_text(report));
}

SampleOptions sampling(const QuantizeOptions& o, Bytes& bytes) {
  return {.kernels = &choose_kernels(o.isa),
          .rule = o.scale,
          .cancel = SignalFlag::cancel(),
          .on_progress = bytes.callback()};
}

int dry_run(const QuantizeOptions& o, const Source& source, const Plan& plan, ThreadPool& pool) {
  std::vector<std::optional<Target>> targets;
  for (const PlannedModule& module : plan.modules)
    targets.push_back(module.work == Work::encode ? module.decision.target : std::nullopt);
  std::vector<EncodeError> errors;
  {
    Bytes bytes(o, "measure", source_bytes(source));
    errors = sample_errors(source, targets, pool, sampling(o, bytes));
  }
  print(o, {source, plan, errors, "expected"});
  return 0;
}

std::uint64_t calibration_memory(const QuantizeOptions& o) {
  if (o.memory && o.memory->bytes) return *o.memory->bytes;
  const std::optional<MemoryState> state = memory_state();
  return state ? state->available / 5 * 4 : 0;
}

// What the model reads for --calibrate, and by which means. Whatever is wrong with them is found when it is
// made, before the work.
struct Reading {
  std::vector<TokenId> ids;
  std::optional<Blas> blas;
  CalibrationOptions options;

  Reading(const QuantizeOptions& o, const Source& source) {
    const std::string text = read_small_file(*o.calibrate, largest_text);
    check_utf8(text, *o.calibrate);
    ids = Tokenizer::open(source.dir()).encode(text, Tokenizer::SpecialTokens::add);
    if (ids.size() < 2)
      throw Error(*o.calibrate + ": " + std::to_string(ids.size()) + " tokens, expected two at least");
    ids.resize(std::min<std::size_t>(ids.size(), o.calibrate_tokens.value_or(default_calibrate_tokens)));
    if (o.feedback) blas.emplace();
    options.window = std::min<std::size_t>(options.window, source.model().config().max_position_embeddings);
    options.blas = blas ? &*blas : nullptr;
    options.memory = calibration_memory(o);
    Calibration::check(source.model(), ids, options);
  }
  Reading(const Reading&) = delete;  // the options refer to it
  Reading& operator=(const Reading&) = delete;
};

// Everything but source and layout that the result's bytes depend on, in the words of the command line.
std::string settings(const QuantizeOptions& o, const Reading* reading) {
  std::string text = std::string("--scale ") + (o.scale == ScaleRule::mse ? "mse" : "minmax");
  if (!reading) return text;
  const std::span<const TokenId> ids = reading->ids;
  // Calibration reads through the kernels of the forward pass, which round as their instruction set does.
  return text + " --method " + (o.feedback ? "gptq" : "rtn") + " --calibrate " + std::to_string(ids.size()) +
         " tokens " + to_hex(Checksum().add(std::as_bytes(ids)).value()) + " --isa " +
         describe_kernels(choose_kernels(o.isa));
}

// Encodes what the model's reading of the text guides.
void calibrate(const QuantizeOptions& o, const Source& source, const Plan& plan, Output& output,
               ThreadPool& pool, const Reading& reading, const JobOptions& job) {
  const Calibration::Memory memory =
      Calibration::memory(source.model(), reading.ids.size(), pool.size(), reading.options);
  if (o.verbose)
    note(o, "calibration with " + std::to_string(reading.ids.size()) + " tokens: at least " +
                format_bytes(memory.least) + " of memory, all in memory with " +
                format_bytes(memory.comfortable));
  const CalibrationResult result =
      write_calibrated(source, plan, output, pool, job, reading.ids, reading.options);
  if (result.unguided > 0)
    note(o, std::to_string(result.unguided) + " of " + std::to_string(result.guided + result.unguided) +
                " matrices were reached by fewer than " + std::to_string(reading.options.least_tokens) +
                " tokens and quantized without calibration; a longer text reaches more");
  if (o.verbose && o.feedback)
    note(o, "largest damping of a Hessian: " + format_fixed(100 * result.most_damping, 0) + " %");
}

constexpr std::string_view verified = "read back";

std::vector<EncodeError> verify(const QuantizeOptions& o, const Source& source, const Plan& plan,
                                const fs::path& folder, ThreadPool& pool) {
  const Source written = Source::open(folder);
  Bytes bytes(o, "verify", source_bytes(source));
  return read_back(source, plan, written, choose_kernels(o.isa), pool, SignalFlag::cancel(),
                   bytes.callback());
}

int write(const QuantizeOptions& o, const Source& source, const Plan& plan, const std::string& config,
          const Reading* reading, ThreadPool& pool) {
  const kernels::Kernels& kernels = choose_kernels(o.isa);
  const OutputOptions options{.resume = o.resume,
                              .force = o.force,
                              .settings = settings(o, reading),
                              .source = model_fingerprint(source.dir(), source.model().checkpoint()),
                              .beside = bytes_beside(source, plan)};
  const fs::path out = output_folder(*o.out);
  if (o.resume && is_complete(out, output_identity(plan, options))) {
    tidy_output(out);
    if (o.verbose) note(o, *o.out + " is done already");
    print(o, {source, plan, o.verify ? verify(o, source, plan, out, pool) : std::vector<EncodeError>(),
              verified});
    return 0;
  }
  Output output(out, source, plan, options);
  std::vector<EncodeError> errors;
  try {
    Bytes bytes(o, "quantize", source_bytes(source));
    const JobOptions job{.kernels = &kernels,
                         .rule = o.scale,
                         .cancel = SignalFlag::cancel(),
                         .on_progress = bytes.callback()};
    if (reading) calibrate(o, source, plan, output, pool, *reading, job);
    write_modules(source, plan, output, pool, job);
    for (const std::string& name : complete_folder(source, plan, output, config))
      note(o, name + " is too large to be copied");
    if (o.verbose)
      note(o, format_bytes(source_bytes(source)) + " in " + format_seconds(bytes.seconds()) + ", " +
                  format_fixed(static_cast<double>(source_bytes(source)) / 1e6 / bytes.seconds(), 0) +
                  " MB/s");
    errors = o.verify ? verify(o, source, plan, output.partial(), pool) : errors_of(plan, output);
    output.commit();
  } catch (const Error& error) {
    throw Error(std::string(error.what()) + "\n" + output.partial().string() +
                " keeps what is done; --resume goes on with it");
  } catch (const Cancelled&) {
    note(o, output.partial().string() + " keeps what is done; --resume goes on with it");
    throw;
  }
  print(o, {source, plan, errors, o.verify ? verified : "weights'"});
  return 0;
}

std::vector<Decision> fit(const QuantizeOptions& o, const Source& source, const ChooseOptions& wanted,
                          ThreadPool& pool) {
  std::optional<ExpertShares> shares;
  if (o.route_log) {
    std::vector<std::string> notes;
    shares = read_expert_shares(*o.route_log, source.model().config(), notes);
    for (const std::string& text : notes) note(o, text);
  }
  Bytes bytes(o, "measure", source_bytes(source));
  return fit_size(source, pool,
                  {.choose = wanted,
                   .group = o.group,
                   .size = *o.target_size,
                   .shard_size = o.shard_size,
                   .per_expert = o.per_expert,
                   .shares = shares ? &*shares : nullptr,
                   .sample = sampling(o, bytes)});
}

int work(const QuantizeOptions& o) {
  if (o.check) return check(o);
  const Source source = Source::open(check_folder(*o.in));
  ThreadPool pool(o.threads.value_or(default_thread_count()));
  const ChooseOptions wanted{.to = target_of(o),
                             .rules = o.bits ? parse_bits(*o.bits, o.group) : std::vector<BitsRule>(),
                             .keep = o.keep,
                             .only = o.only};
  std::vector<Decision> decisions;
  if (!o.target_size) decisions = choose(source, wanted);
  std::optional<Reading> reading;
  if (o.calibrate) reading.emplace(o, source);
  if (o.target_size) decisions = fit(o, source, wanted, pool);
  const Plan plan = make_plan(source, decisions, o.shard_size);
  warn(o, source, plan, decisions);
  if (o.dry_run) return dry_run(o, source, plan, pool);
  return write(o, source, plan, config_json(source, decisions), reading ? &*reading : nullptr, pool);
}

}  // namespace

int quantize(std::vector<std::string> words) {
  QuantizeOptions options;
  const Command definition = quantize_definition(options);
  parse(definition, std::move(words), {"-h", "--help"});
  if (print_help_or_version(options, definition)) return 0;
  check_combinations(options);
  return run_until_signal([&] { return work(options); });
}

}  // namespace baleen::cmd
