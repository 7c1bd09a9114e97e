// Many answers, decoded together: the lines of a batch, or several samples of one prompt.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "checkpoint/files.h"
#include "clock.h"
#include "cmd/chat.h"
#include "cmd/output.h"
#include "cmd/prompt.h"
#include "cmd/run_setup.h"
#include "cmd/signals.h"
#include "error.h"
#include "report/memory.h"
#include "report/output_file.h"
#include "report/progress.h"
#include "report/units.h"
#include "routing/route_log.h"
#include "runtime/batch.h"
#include "runtime/json_text.h"
#include "runtime/line_reader.h"
#include "runtime/reward.h"
#include "runtime/scheduler.h"

namespace baleen::cmd {
namespace {

constexpr std::size_t default_parallel = 8;
// Lines that may wait for a slower one before them, for each that is decoded.
constexpr std::size_t window_factor = 64;

FileDescriptor open_batch(const std::string& name) {
  FileDescriptor file(name == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                  : ::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw_system_error(input_name(name), "", errno);
  return file;
}

// The lines of a regular file that are left to answer; 0 where that cannot be known beforehand.
std::uint64_t count_lines(const std::string& batch, std::uint64_t answered) {
  struct stat status {};
  if (batch == "-" || ::stat(batch.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return 0;
  const FileDescriptor file = open_batch(batch);
  LineReader reader(file.get(), batch);
  std::uint64_t lines = 0;
  while (reader.next(true).state != LineReader::State::end) ++lines;
  return lines - std::min(lines, answered);
}

// What KV caches may take: all that is available less what the weights need to stay in memory, or, where they
// do not fit anyway, a quarter of it. What weights hold for good is never theirs.
std::uint64_t kv_budget(const RunSetup& setup, const MemoryState& memory, std::uint64_t held) {
  const std::uint64_t weights = held > 0 ? held : setup.model.checkpoint().bytes();
  const std::uint64_t beside_weights = memory.available > weights ? memory.available - weights : 0;
  return held > 0 ? beside_weights : std::max(beside_weights, memory.available / 4);
}

BatchOptions make_batch_options(const RunSetup& setup, std::size_t parallel) {
  const RunOptions& options = setup.options;
  BatchOptions batch;
  batch.request = options.request;
  batch.seed = setup.seed;
  batch.defaults = setup.defaults;
  batch.end_tokens = setup.end_tokens;
  batch.conversation = begin_conversation(options);
  batch.raw = options.raw;
  batch.echo = options.echo;
  batch.vocab_size = setup.model.config().vocab_size;
  batch.context = setup.context;
  batch.cached_tokens = setup.context;
  batch.window = window_factor * parallel;
  batch.samples = options.samples;
  // A file is gone on with by --resume, which must not take half an answer for a whole one.
  batch.hand_on_cancelled = !options.output;
  batch.cancel = SignalFlag::cancel();
  return batch;
}

std::string describe_speed(const BatchCounts& counts, double seconds) {
  return format_fixed(static_cast<double>(counts.generated_tokens) / std::max(seconds, 1e-9), 1) +
         " tokens/s";
}

std::string describe_counts(const BatchCounts& counts, double seconds) {
  return std::to_string(counts.lines) + (counts.lines == 1 ? " line in " : " lines in ") +
         format_seconds(seconds) + ", prompts " + std::to_string(counts.prefilled_tokens) + " tokens and " +
         std::to_string(counts.shared_tokens) + " shared, generated " +
         std::to_string(counts.generated_tokens) + " tokens (" + describe_speed(counts, seconds) + ")";
}

// Where results go: standard output, or a file that grows by whole lines.
class Results {
 public:
  explicit Results(const RunOptions& options) {
    using Mode = LineFile::Mode;
    if (!options.output) return;
    file_.emplace(*options.output, options.resume  ? Mode::resume
                                   : options.force ? Mode::overwrite
                                                   : Mode::fresh);
  }

  LineFile& file() { return *file_; }
  void write(std::span<const std::string> lines) {
    std::string together;
    for (const std::string& line : lines) {
      if (file_) {
        file_->write(line);
      } else {
        together += line + "\n";
      }
    }
    if (!file_) write_output(together);
  }
  void close() {
    if (file_) file_->close();
  }

 private:
  std::optional<LineFile> file_;
};

// A line's own label wins over that of the command line.
void log_requests(RouteLog& log, const std::string& label, BatchOptions& options) {
  options.on_request = [&log, label](std::uint64_t request, const BatchLine& line) {
    log.name_request(request, line.label.value_or(label), line.id.is_null() ? "" : json_line(line.id));
  };
  options.on_end = [&log](std::uint64_t request) { log.forget_request(request); };
}

}  // namespace

int run_many(const RunSetup& setup) {
  const RunOptions& options = setup.options;
  const std::size_t parallel = options.parallel.value_or(default_parallel);
  std::optional<FileDescriptor> input;
  std::optional<LineReader> reader;
  if (options.batch) {
    input = open_batch(*options.batch);
    constexpr std::size_t longest_line = std::size_t{64} << 20U;
    reader.emplace(input->get(), input_name(*options.batch), longest_line, SignalFlag::cancel());
  }
  // Before there is a file of results that would be empty.
  ThreadPool pool(options.threads.value_or(default_thread_count()));
  const std::optional<std::uint64_t> budget =
      setup.weight_budget(likely_kv_bytes(setup.kv_bytes(parallel * setup.context)), setup.context);
  std::optional<Prompt> prompt;
  if (!options.batch) {
    prompt = make_prompt(options, setup.maker);
    check_prompt(prompt->ids, setup.model.config().vocab_size, setup.context);
  }
  Results results(options);
  const std::uint64_t answered = options.resume ? resume_batch(results.file(), *options.output, *reader,
                                                               options.samples, options.reward.has_value())
                                                : 0;

  BatchOptions batch_options = make_batch_options(setup, parallel);
  std::uint64_t kv_bytes = std::numeric_limits<std::uint64_t>::max();
  std::string cache = std::to_string(parallel) + " sequences";
  if (const std::optional<MemoryState> memory = memory_state()) {
    setup.warn_of_weights(*memory, budget);
    const std::uint64_t held = std::min(memory->available, setup.held_bytes(budget));
    kv_bytes = kv_budget(setup, *memory, held);
    batch_options.cached_tokens = (memory->available - held) / setup.kv_bytes(1);
    cache += " of " + format_bytes(setup.kv_bytes(1)) + " a token, " + format_bytes(kv_bytes) + " at most";
  }
  if (setup.route_log) log_requests(*setup.route_log, options.label.value_or(""), batch_options);
  if (options.verbose) {
    setup.describe(pool, cache,
                   answered > 0 ? "resume    behind " + std::to_string(answered) + " lines\n" : "");
  }
  const std::optional<LimitedMemory> memory = setup.load_weights(pool, budget);
  const Progress::Mode mode = progress_mode(options);
  const std::uint64_t lines = !options.batch                ? 1
                              : mode == Progress::Mode::off ? 0
                                                            : count_lines(*options.batch, answered);
  Progress progress(mode, "batch", lines, "lines", progress_screen());

  BatchCounts counts;
  int signal = 0;
  {
    const SignalFlag flag;
    SchedulerOptions scheduler_options = setup.scheduler_options(memory);
    scheduler_options.parallel = parallel;
    scheduler_options.kv_bytes = kv_bytes;
    Scheduler scheduler(setup.model, pool, scheduler_options);
    std::optional<RewardRunner> rewards;
    if (options.reward) {
      std::signal(SIGCHLD, SIG_DFL);  // where a parent had it ignored, commands would end without a status
      rewards.emplace(*options.reward, pool.size());
    }
    Batch batch(scheduler, setup.maker, *setup.tokenizer, reader ? &*reader : nullptr,
                rewards ? &*rewards : nullptr, batch_options, [&](std::span<const std::string> line) {
                  progress.erase();
                  results.write(line);
                });
    batch.begin_at(answered);
    if (prompt) batch.add(std::move(*prompt));
    Observer observer;
    setup.observe_routes(observer);
    const auto start = Clock::now();
    counts = batch.run(
        [&](const BatchCounts& done) {
          progress.update(done.lines, seconds_since(start), describe_speed(done, seconds_since(start)));
        },
        &observer);
    progress.update(counts.lines, seconds_since(start), describe_speed(counts, seconds_since(start)));
    setup.finish_routes();
    progress.erase();
    if (options.verbose) {
      write_message("time      load " + format_seconds(setup.load_seconds) + ", " +
                    describe_counts(counts, seconds_since(start)) + "\n");
    }
    setup.describe_experts(memory, counts.prefilled_tokens + counts.generated_tokens, seconds_since(start));
    signal = SignalFlag::signal();
  }
  results.close();
  if (signal != 0) raise_again(signal);
  setup.write_loads();
  if (counts.failed == 0) return 0;
  throw Error(std::to_string(counts.failed) + " of " + std::to_string(counts.lines) +
              (counts.lines == 1 ? " line with an error" : " lines with an error") +
              (options.output ? "; see " + *options.output : ""));
}

}  // namespace baleen::cmd
