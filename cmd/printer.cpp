#include "cmd/printer.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "cmd/output.h"
#include "report/units.h"
#include "runtime/thinking.h"

namespace baleen::cmd {
namespace {

using Json = nlohmann::ordered_json;

void print_line(const Json& object) {
  write_output(object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

// Log-probabilities hold no more than six digits behind the point that mean anything.
Json json_number(double value) {
  return std::round(value * 1e6) / 1e6;
}

// The text as it comes; with --think drop and stderr without the thinking, which is lost or goes to standard
// error, each in lines of its own.
class TextPrinter : public Printer {
 public:
  TextPrinter(const RunOptions& options, const Prompt& prompt)
      : silent_(options.max_new_tokens == 0 && !options.echo),
        shows_thinking_(options.think == RunOptions::Think::on_stderr),
        waiting_(options.echo ? prompt.text : "") {
    if (options.think != RunOptions::Think::keep) splitter_.emplace(prompt.inside_thinking);
  }

  void text(std::string_view text) override {
    if (!splitter_) return print(text);
    print_parted(splitter_->push(text));
    if (!splitter_->inside()) end_thinking();
  }
  void end(const Generation&, const GenerateTimes&) override {
    if (splitter_) print_parted(splitter_->finish());
    end_thinking();
    if (!silent_) print("\n");
  }

 private:
  void print(std::string_view text) {
    write_output(waiting_ + std::string(text));
    waiting_.clear();
  }
  void print_parted(const Answer& part) {
    if (shows_thinking_ && !part.reasoning.empty()) {
      write_message(part.reasoning);
      thinking_line_open_ = true;
    }
    if (!part.text.empty()) print(part.text);
  }
  void end_thinking() {
    if (thinking_line_open_) write_message("\n");
    thinking_line_open_ = false;
  }

  bool silent_;  // nothing was asked for but that the prompt is evaluated
  bool shows_thinking_;
  bool thinking_line_open_ = false;  // on standard error
  std::string waiting_;              // the prompt, until there is something to show behind it
  std::optional<ThinkingSplitter> splitter_;
};

// Token ids as they come, separated by spaces.
class IdsPrinter : public Printer {
 public:
  IdsPrinter(const RunOptions& options, const Prompt& prompt)
      : silent_(options.max_new_tokens == 0 && !options.echo) {
    if (options.echo) waiting_ = prompt.ids;
  }

  void token(const Step& step) override {
    waiting_.push_back(step.id);
    flush();
  }
  void end(const Generation&, const GenerateTimes&) override {
    flush();
    if (!silent_) write_output("\n");
  }

 private:
  void flush() {
    std::string line;
    for (const TokenId id : waiting_) {
      line += (first_ ? "" : " ") + std::to_string(id);
      first_ = false;
    }
    waiting_.clear();
    write_output(line);
  }

  bool silent_;
  bool first_ = true;
  std::vector<TokenId> waiting_;
};

// A line a token: id, token, log-probability, then id and log-probability of the likeliest, parted by tabs.
class LogprobsPrinter : public Printer {
 public:
  explicit LogprobsPrinter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void token(const Step& step) override {
    const Json token = tokenizer_.token_text(step.id);
    std::string line =
        std::to_string(step.id) + "\t" + token.dump(-1, ' ', false, Json::error_handler_t::replace);
    const auto& logprob = step.logprobs->logprob;
    line += "\t" + (logprob ? format_fixed(*logprob, 6) : "-");
    for (const auto& [id, value] : step.logprobs->top) {
      line += "\t" + std::to_string(id) + "\t" + format_fixed(value, 6);
    }
    write_output(line + "\n");
  }
  void end(const Generation&, const GenerateTimes&) override {}

 private:
  const Tokenizer& tokenizer_;
};

class JsonPrinter : public Printer {
 public:
  JsonPrinter(const RunOptions& options, const Prompt& prompt, const Tokenizer& tokenizer)
      : options_(options), prompt_(prompt), tokenizer_(tokenizer) {}

  void token(const Step& step) override {
    if (!step.logprobs) return;
    Json top = Json::array();
    for (const auto& [id, value] : step.logprobs->top) top.push_back(Json::array({id, json_number(value)}));
    const auto& logprob = step.logprobs->logprob;
    logprobs_.push_back(Json{{"id", step.id},
                             {"token", tokenizer_.token_text(step.id)},
                             {"logprob", logprob ? json_number(*logprob) : Json()},
                             {"top", std::move(top)}});
  }

  void end(const Generation& generation, const GenerateTimes& times) override {
    const Answer answer = split_thinking(generation.text(), prompt_.inside_thinking);
    const auto rate = [](std::size_t tokens, double seconds) {
      return tokens > 0 && seconds > 0 ? json_number(static_cast<double>(tokens) / seconds) : Json();
    };
    Json result{{"schema", 1},
                {"id", 0},
                {"text", (options_.echo ? prompt_.text : "") + answer.text},
                {"ids", generation.ids()},
                {"prompt_tokens", generation.prompt().size()},
                {"completion_tokens", generation.ids().size()},
                {"finish_reason", finish_reason_name(generation.finish_reason())},
                {"reasoning", answer.reasoning},
                {"timings",
                 {{"prefill_tps", rate(times.prefilled_tokens, times.prefill_seconds)},
                  {"decode_tps", rate(times.decoded_tokens, times.decode_seconds)}}}};
    if (options_.logprobs) result["logprobs"] = logprobs_;
    print_line(result);
  }

 private:
  const RunOptions& options_;
  const Prompt& prompt_;
  const Tokenizer& tokenizer_;
  Json logprobs_ = Json::array();
};

}  // namespace

std::unique_ptr<Printer> make_printer(const RunOptions& options, const Prompt& prompt,
                                      const Tokenizer* tokenizer) {
  if (options.format == RunOptions::Format::jsonl)
    return std::make_unique<JsonPrinter>(options, prompt, *tokenizer);
  if (options.logprobs) return std::make_unique<LogprobsPrinter>(*tokenizer);
  if (options.ids) return std::make_unique<IdsPrinter>(options, prompt);
  return std::make_unique<TextPrinter>(options, prompt);
}

void print_prompt(const RunOptions& options, const Prompt& prompt) {
  if (options.format == RunOptions::Format::text) return write_output(prompt.text + "\n");
  print_line(Json{{"schema", 1}, {"id", 0}, {"prompt", prompt.text}, {"ids", prompt.ids}});
}

}  // namespace baleen::cmd
