#include "runtime/batch.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "error.h"
#include "runtime/json_text.h"
#include "runtime/think_budget.h"

namespace baleen {
namespace {

using Json = nlohmann::ordered_json;

Json user_message(std::string text) {
  return {{"role", "user"}, {"content", std::move(text)}};
}

// What a line is called in its results: what it says, or its number among the lines, from 0.
Json name_of(const BatchLine& line, std::uint64_t index) {
  return line.id.is_null() ? Json(index) : line.id;
}

// What stands in front of a line's results.
Json names_of(const BatchLine& line, std::uint64_t index) {
  Json names{{"id", name_of(line, index)}};
  if (line.label) names["label"] = *line.label;
  return names;
}

Json error_result(const Json& names, const std::string& error) {
  Json result{{"schema", 1}};
  result.update(names);
  result["error"] = error;
  return result;
}

void add_extra(Json& result, const BatchLine& line) {
  if (!line.extra.empty()) result["extra"] = line.extra;
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& thrown) {
    return thrown.what();
  }
}

}  // namespace

struct Batch::Sample {
  std::unique_ptr<ResultWriter> writer;
  std::unique_ptr<Generation> generation;  // while it runs
  Json result;                             // once it has ended
  std::optional<double> reward;
};

struct Batch::Line {
  std::uint64_t index = 0;  // among the lines
  BatchLine said = {};
  Prompt prompt = {};
  GenerateOptions options = {};
  std::vector<Sample> samples = {};
  std::size_t begun = 0, done = 0;  // samples
  bool failed = false, cancelled = false;

  bool is_done() const { return done == samples.size(); }
};

Batch::Batch(Scheduler& scheduler, PromptMaker& maker, const Tokenizer& tokenizer, LineReader* reader,
             RewardRunner* rewards, BatchOptions options, OnResults on_results)
    : scheduler_(scheduler),
      maker_(maker),
      tokenizer_(tokenizer),
      reader_(reader),
      rewards_(rewards),
      options_(std::move(options)),
      on_results_(std::move(on_results)) {}

Batch::~Batch() = default;

const BatchCounts& Batch::run(const std::function<void(const BatchCounts&)>& on_pass,
                              const Observer* observer) {
  while (!cancelled()) {
    admit();
    hand_on_finished();
    if (window_.empty() && ended_) break;
    if (!scheduler_.idle())
      for (const Finished& finished : scheduler_.step(observer)) finish(finished);
    if (rewards_) take_rewards();
    if (on_pass) on_pass(counts_);
  }
  if (cancelled()) hand_on_cancelled();
  return counts_;
}

// Gives the scheduler as much as it takes, as far as the window reaches.
void Batch::admit() {
  while (scheduler_.wants_more() && !cancelled()) {
    if (!window_.empty() && window_.back()->begun < window_.back()->samples.size()) {
      begin_sample(*window_.back());
      continue;
    }
    if (ended_ || window_.size() >= options_.window) return;
    const bool nothing_to_do = scheduler_.idle() && (!rewards_ || rewards_->outstanding() == 0);
    if (nothing_to_do) hand_on_finished();  // or it would wait for the next line to come
    if (!read_line(nothing_to_do)) return;
  }
}

bool Batch::read_line(bool wait) {
  const LineReader::Result read = reader_ ? reader_->next(wait) : LineReader::Result();
  switch (read.state) {
    case LineReader::State::line:
      add_line(read.line);
      return true;
    case LineReader::State::too_long:
      window_.push_back(std::make_unique<Line>(Line{.index = next_index_++}));
      window_.back()->said.error = "the line is too long";
      return true;
    case LineReader::State::none_yet:
      return false;
    case LineReader::State::end:
      ended_ = true;
      return false;
  }
  return false;
}

void Batch::add_line(std::string_view text) {
  window_.push_back(std::make_unique<Line>(Line{.index = next_index_++}));
  Line& line = *window_.back();
  line.said = parse_batch_line(text);
  if (!line.said.error.empty()) return;
  try {
    prepare(line, make_prompt(line.said), over(options_.request, line.said.options));
  } catch (const Error& error) {
    line.said.error = error.what();
  }
}

void Batch::add(Prompt prompt) {
  window_.push_back(std::make_unique<Line>(Line{.index = next_index_++}));
  prepare(*window_.back(), std::move(prompt), options_.request);
}

Prompt Batch::make_prompt(BatchLine& line) {
  if (auto* const ids = std::get_if<BatchLine::Ids>(&line.input)) return maker_.from_ids(std::move(*ids));
  const auto* const text = std::get_if<BatchLine::Prompt>(&line.input);
  if (text && !maker_.has_chat_template()) return maker_.from_text(*text);
  if (!maker_.has_chat_template()) {
    throw Error(options_.raw ? "a conversation needs the model's chat template, which --raw leaves out"
                             : "a conversation needs a chat template, which this model does not have");
  }
  Conversation conversation = options_.conversation;
  if (text) {
    conversation.messages.push_back(user_message(*text));
    return maker_.from_conversation(conversation);
  }
  auto& own = std::get<Conversation>(line.input);
  if (begins_with_system(own)) conversation.messages.clear();
  for (Json& message : own.messages) conversation.messages.push_back(std::move(message));
  for (const auto& [name, value] : own.template_vars.items()) conversation.template_vars[name] = value;
  conversation.tools = std::move(own.tools);
  conversation.documents = std::move(own.documents);
  return maker_.from_conversation(conversation);
}

void Batch::prepare(Line& line, Prompt prompt, const RequestOptions& request) {
  check_prompt(prompt.ids, options_.vocab_size, options_.context);
  line.prompt = std::move(prompt);
  line.options = generate_options(request, options_.defaults, options_.end_tokens, options_.seed);
  line.options.inside_thinking = line.prompt.inside_thinking;
  line.options.prompt_logprobs = options_.echo;
  const std::size_t room = options_.context - line.prompt.ids.size();
  const std::size_t needed = line.prompt.ids.size() + std::min(room, line.options.max_new_tokens.value_or(0));
  if (needed > options_.cached_tokens) {
    throw Error("a KV cache of " + std::to_string(needed) + " tokens is more than there is memory for (" +
                std::to_string(options_.cached_tokens) + " tokens)");
  }
  if (const auto& budget = line.options.think_budget)
    (void)ThinkBudget(tokenizer_, options_.vocab_size, *budget,
                      line.prompt.inside_thinking);  // can it be had?
  if (options_.on_request) {
    for (std::size_t number = 0; number < samples(); ++number)
      options_.on_request(line.index * samples() + number, line.said);
  }
  line.samples.resize(samples());
}

// The n-th sample is what the seed plus n gives.
void Batch::begin_sample(Line& line) {
  const std::size_t number = line.begun++;
  Sample& sample = line.samples[number];
  GenerateOptions options = line.options;
  options.sampling.seed += number;
  sample.writer = std::make_unique<ResultWriter>(line.prompt, tokenizer_, options_.echo);
  const auto on_token = [writer = sample.writer.get()](const Step& step) { writer->token(step); };
  sample.generation =
      std::make_unique<Generation>(line.prompt.ids, options, &tokenizer_, options_.vocab_size,
                                   options_.context, GenerateEvents{on_token, [](std::string_view) {}});
  scheduler_.add(*sample.generation, line.index * samples() + number);
}

Batch::Line& Batch::line_of(std::uint64_t request) {
  return *window_[request / samples() - window_.front()->index];
}

void Batch::finish(const Finished& finished) {
  Line& line = line_of(finished.request);
  const std::size_t number = finished.request % samples();
  Sample& sample = line.samples[number];
  counts_.prefilled_tokens += finished.times.prefilled_tokens;
  counts_.shared_tokens += finished.times.shared_tokens;
  counts_.generated_tokens += finished.generation->ids().size();
  if (options_.on_end) options_.on_end(finished.request);
  Json names = names_of(line.said, line.index);
  if (options_.samples > 0) names["sample"] = number;
  if (finished.error) {
    sample.result = error_result(names, message_of(finished.error));
    line.failed = true;
  } else {
    sample.result = sample.writer->result(names, *finished.generation, finished.times);
  }
  add_extra(sample.result, line.said);  // before a reward is asked for: it may need what the line says
  const bool is_cancelled =
      !finished.error && finished.generation->finish_reason() == FinishReason::cancelled;
  line.cancelled = line.cancelled || is_cancelled;
  sample.generation.reset();
  sample.writer.reset();
  if (rewards_ && !finished.error && !is_cancelled) {
    rewards_->submit(finished.request, json_line(sample.result));
  } else {
    ++line.done;
  }
}

void Batch::take_rewards() {
  const bool nothing_else = scheduler_.idle() && rewards_->outstanding() > 0;
  for (RewardRunner::Finished& finished : rewards_->wait(std::chrono::milliseconds(nothing_else ? 100 : 0))) {
    Line& line = line_of(finished.key);
    Sample& sample = line.samples[finished.key % samples()];
    sample.reward = finished.reward;
    if (!finished.reward) {
      sample.result["error"] = finished.error;
      line.failed = true;
    }
    ++line.done;
  }
}

void Batch::hand_on_finished() {
  while (!window_.empty() && window_.front()->is_done()) {
    hand_on(*window_.front());
    window_.pop_front();
  }
}

// Whole lines in front are results like any other; behind them is what the caller may want or not.
void Batch::hand_on_cancelled() {
  for (const Finished& finished : scheduler_.step()) finish(finished);
  for (const auto& line : window_) {
    const bool complete = line->is_done() && !line->cancelled;
    if (!complete) {
      if (!options_.hand_on_cancelled || line->begun == 0) return;
      line->samples.resize(line->begun);
    }
    hand_on(*line);
  }
}

void Batch::hand_on(Line& line) {
  if (!line.said.error.empty()) {
    line.samples.resize(1);
    line.samples[0].result = error_result(names_of(line.said, line.index), line.said.error);
    add_extra(line.samples[0].result, line.said);
    line.failed = true;
  } else if (rewards_) {
    add_advantages(line);
  }
  std::vector<std::string> results;
  for (const Sample& sample : line.samples) results.push_back(json_line(sample.result));
  ++counts_.lines;
  counts_.failed += line.failed ? 1 : 0;
  on_results_(results);
}

void Batch::add_advantages(Line& line) {
  std::vector<std::optional<double>> rewards;
  for (const Sample& sample : line.samples) rewards.push_back(sample.reward);
  const std::vector<std::optional<double>> advantages = group_advantages(rewards);
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    line.samples[i].result["reward"] = or_null(rewards[i]);
    line.samples[i].result["advantage"] = or_null(advantages[i]);
  }
}

namespace {

// Whose result a line of output is: the name of a line of input, and which of its samples.
struct ResultName {
  Json id;
  bool has_text = false, has_error = false, has_reward = false;
  std::optional<std::size_t> sample = {};
};

constexpr const char* no_result =
    "no result of a batch, expected an object with schema 1, id, and text or error";

// What is left of the first result when the run was ended while writing it. Anything else is another file,
// which must not be cut off.
bool is_begun_result(std::string_view text) {
  const std::string_view start = "{\"schema\":1,\"id\":";
  return text.substr(0, start.size()) == start.substr(0, text.size());
}

ResultName read_result(std::string_view text) {
  const Json result = parse_json_text(text);
  if (!result.is_object() || !result.contains("id")) throw Error(no_result);
  ResultName name{.id = result["id"],
                  .has_text = result.contains("text"),
                  .has_error = result.contains("error"),
                  .has_reward = result.contains("reward")};
  if (result.value("schema", Json()) != 1 || (!name.has_text && !name.has_error)) throw Error(no_result);
  if (const auto sample = result.find("sample"); sample != result.end()) {
    if (!sample->is_number_unsigned()) throw Error("expected a number for sample");
    name.sample = sample->get<std::size_t>();
  }
  return name;
}

// Walks through results, answered line by answered line.
class ResultWalk {
 public:
  ResultWalk(std::size_t samples, bool rewards) : samples_(samples), rewards_(rewards) {}

  // Throws Error for a result that cannot follow those before.
  void take(const ResultName& result) {
    // An error of the whole line has no number; else they ascend from 0.
    const bool whole_line = !result.sample && next_sample_ == 0 && (samples_ == 0 || result.has_error);
    if (!whole_line && (samples_ == 0 || result.sample != next_sample_)) {
      throw Error(samples_ == 0 ? std::string("a sample, expected answers of a run without --samples")
                                : "expected sample " + std::to_string(next_sample_) + " of " +
                                      std::to_string(samples_) + ", as --samples says");
    }
    // Every answer to be judged has one, be it null; an error of the whole line was never judged.
    if (result.has_reward ? !rewards_ : rewards_ && result.has_text) {
      throw Error(rewards_ ? "no reward, expected answers of a run with --reward"
                           : "a reward, expected answers of a run without --reward");
    }
    ++results_;
    next_sample_ = whole_line || next_sample_ + 1 == samples_ ? 0 : next_sample_ + 1;
    if (next_sample_ > 0) return;
    ++lines_;
    whole_results_ = results_;
  }

  bool at_line() const { return next_sample_ == 0; }  // the next result is a new line's
  std::uint64_t lines() const { return lines_; }      // answered
  std::size_t results() const { return results_; }
  std::size_t whole_results() const { return whole_results_; }  // of the answered lines

 private:
  std::size_t samples_;
  bool rewards_;
  std::size_t next_sample_ = 0;
  std::size_t results_ = 0, whole_results_ = 0;
  std::uint64_t lines_ = 0;
};

// What the next line of input is called.
Json next_name(LineReader& reader, std::uint64_t index) {
  const LineReader::Result read = reader.next(true);
  if (read.state == LineReader::State::line) return name_of(parse_batch_line(read.line), index);
  if (read.state == LineReader::State::too_long) return index;
  throw Error("the batch has no line that this could answer");
}

}  // namespace

std::uint64_t resume_batch(LineFile& output, const std::string& output_name, LineReader& reader,
                           std::size_t samples, bool rewards) {
  const auto walk_through = [&](const auto& look) {
    ResultWalk walk(samples, rewards);
    const std::string rest = output.read_lines([&](std::string_view text) {
      try {
        const ResultName result = read_result(text);
        look(walk, result);
        walk.take(result);
      } catch (const Error& error) {
        throw FormatError(output_name + ": line " + std::to_string(walk.results() + 1), error.what());
      }
    });
    if (walk.results() == 0 && !is_begun_result(rest)) throw FormatError(output_name, no_result);
    return walk;
  };
  const ResultWalk found = walk_through([](const ResultWalk&, const ResultName&) {});
  Json name;
  walk_through([&](const ResultWalk& walk, const ResultName& result) {
    if (walk.results() >= found.whole_results()) return;  // will be answered again
    if (walk.at_line()) name = next_name(reader, walk.lines());
    if (result.id != name)
      throw Error("found the id " + json_line(result.id) + ", expected " + json_line(name) +
                  ": not the results of this batch");
  });
  output.truncate_to(found.whole_results());
  return found.lines();
}

}  // namespace baleen
