// Many requests, one a line, answered together: keeps the scheduler supplied with lines and hands on what
// they came to in the order of the lines. Owns the window of lines that are under way or wait for slower ones
// before them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/generation_config.h"
#include "report/output_file.h"
#include "runtime/batch_line.h"
#include "runtime/conversation.h"
#include "runtime/line_reader.h"
#include "runtime/prompt.h"
#include "runtime/request.h"
#include "runtime/result.h"
#include "runtime/reward.h"
#include "runtime/scheduler.h"

namespace baleen {

struct BatchOptions {
  RequestOptions request;  // of the command line, for what a line leaves open
  std::uint64_t seed = 0;  // where neither says one
  GenerationConfig defaults;
  std::vector<TokenId> end_tokens;
  // What every conversation begins with: a system message or none, and template variables; a line's own win.
  Conversation conversation;
  bool raw = false;   // prompts are taken as they are
  bool echo = false;  // as ResultWriter
  std::size_t vocab_size = 0;
  std::size_t context = 0;        // prompt and new tokens of a line at most
  std::size_t cached_tokens = 0;  // that a KV cache has memory for; a line that needs more is an error
  std::size_t window = 1;         // lines that are read and not handed on, at most
  std::size_t samples = 0;        // answers to each line; 0: one, without a number
  // Called with the number that observers will see for each sample of a line before the first of them runs,
  // and once it has ended. What on_request throws is an error of the line.
  std::function<void(std::uint64_t request, const BatchLine&)> on_request = {};
  std::function<void(std::uint64_t request)> on_end = {};
  bool hand_on_cancelled = false;  // what was generated until the cancel flag came
  const std::atomic<bool>* cancel = nullptr;
};

struct BatchCounts {
  std::uint64_t lines = 0;   // done
  std::uint64_t failed = 0;  // of them with an error, be it of one sample
  std::uint64_t prefilled_tokens = 0, shared_tokens = 0, generated_tokens = 0;
};

class Batch {
 public:
  // `results`: a JSON object a sample, without newlines; all those of one line at once.
  using OnResults = std::function<void(std::span<const std::string> results)>;

  // All referred to must outlive it; `reader` and `rewards` may be null.
  Batch(Scheduler&, PromptMaker&, const Tokenizer&, LineReader* reader, RewardRunner* rewards, BatchOptions,
        OnResults);
  ~Batch();

  // Where lines are counted from, behind those that an earlier run has answered.
  void begin_at(std::uint64_t line) { next_index_ = line; }
  // A prompt that stands in no line of the reader's.
  void add(Prompt prompt);

  // Until every line is answered or the cancel flag is set. `on_pass` is called after every pass. Throws what
  // goes wrong with no line alone.
  const BatchCounts& run(const std::function<void(const BatchCounts&)>& on_pass = {},
                         const Observer* observer = nullptr);

 private:
  struct Sample;
  struct Line;

  bool cancelled() const { return options_.cancel && options_.cancel->load(std::memory_order_relaxed); }
  void admit();
  bool read_line(bool wait);
  void add_line(std::string_view text);
  Prompt make_prompt(BatchLine& line);
  void prepare(Line& line, Prompt prompt, const RequestOptions& request);
  void begin_sample(Line& line);
  void finish(const Finished& finished);
  void take_rewards();
  void hand_on_finished();
  void hand_on(Line& line);
  void add_advantages(Line& line);
  void hand_on_cancelled();
  Line& line_of(std::uint64_t request);
  std::size_t samples() const { return options_.samples ? options_.samples : 1; }

  Scheduler& scheduler_;
  PromptMaker& maker_;
  const Tokenizer& tokenizer_;
  LineReader* reader_;
  RewardRunner* rewards_;
  BatchOptions options_;
  OnResults on_results_;
  std::deque<std::unique_ptr<Line>> window_;  // neighbours by index; the front is handed on next
  std::uint64_t next_index_ = 0;
  bool ended_ = false;  // there is nothing more to read
  BatchCounts counts_;
};

// What an earlier run left: reads the results in `output` beside the lines that they answer, which `reader`
// is moved behind, and cuts off what belongs to a line that was not finished. Returns the number of answered
// lines. `samples` as in BatchOptions; `rewards`: whether there are to be any. Throws Error if the results
// are not those of these lines and options.
std::uint64_t resume_batch(LineFile& output, const std::string& output_name, LineReader& reader,
                           std::size_t samples, bool rewards);

}  // namespace baleen
