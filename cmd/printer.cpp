#include "cmd/printer.h"

#include <optional>
#include <utility>

#include "cmd/output.h"
#include "report/units.h"
#include "runtime/result.h"
#include "runtime/thinking.h"

namespace baleen::cmd {
namespace {

// The text as it comes; with --think drop and stderr without the thinking, which is lost or goes to standard
// error, each in lines of its own.
class TextPrinter : public Printer {
 public:
  TextPrinter(const RunOptions& options, const Prompt& prompt, Write write)
      : write_(std::move(write)),
        silent_(options.request.n == 0 && !options.echo),
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
    write_(waiting_ + std::string(text));
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

  Write write_;
  bool silent_;  // nothing was asked for but that the prompt is evaluated
  bool shows_thinking_;
  bool thinking_line_open_ = false;  // on standard error
  std::string waiting_;              // the prompt, until there is something to show behind it
  std::optional<ThinkingSplitter> splitter_;
};

// Token ids as they come, separated by spaces.
class IdsPrinter : public Printer {
 public:
  IdsPrinter(const RunOptions& options, const Prompt& prompt, Write write)
      : write_(std::move(write)), silent_(options.request.n == 0 && !options.echo) {
    if (options.echo) waiting_ = prompt.ids;
  }

  void token(const Step& step) override {
    waiting_.push_back(step.id);
    flush();
  }
  void end(const Generation&, const GenerateTimes&) override {
    flush();
    if (!silent_) write_("\n");
  }

 private:
  void flush() {
    std::string line;
    for (const TokenId id : waiting_) {
      line += (first_ ? "" : " ") + std::to_string(id);
      first_ = false;
    }
    waiting_.clear();
    write_(line);
  }

  Write write_;
  bool silent_;
  bool first_ = true;
  std::vector<TokenId> waiting_;
};

// A line a token: id, token, log-probability, then id and log-probability of the likeliest, parted by tabs.
class LogprobsPrinter : public Printer {
 public:
  LogprobsPrinter(const Tokenizer& tokenizer, Write write)
      : tokenizer_(tokenizer), write_(std::move(write)) {}

  void token(const Step& step) override {
    std::string line = std::to_string(step.id) + "\t" + json_line(tokenizer_.token_text(step.id));
    const auto& logprob = step.logprobs->logprob;
    line += "\t" + (logprob ? format_fixed(*logprob, 6) : "-");
    for (const auto& [id, value] : step.logprobs->top) {
      line += "\t" + std::to_string(id) + "\t" + format_fixed(value, 6);
    }
    write_(line + "\n");
  }
  void end(const Generation&, const GenerateTimes&) override {}

 private:
  const Tokenizer& tokenizer_;
  Write write_;
};

class JsonPrinter : public Printer {
 public:
  JsonPrinter(const RunOptions& options, const Prompt& prompt, const Tokenizer& tokenizer, Write write)
      : write_(std::move(write)), writer_(prompt, tokenizer, options.echo) {}

  void token(const Step& step) override { writer_.token(step); }
  void end(const Generation& generation, const GenerateTimes& times) override {
    write_(json_line(writer_.result({{"id", 0}}, generation, times)) + "\n");
  }

 private:
  Write write_;
  ResultWriter writer_;
};

}  // namespace

std::unique_ptr<Printer> make_printer(const RunOptions& options, const Prompt& prompt,
                                      const Tokenizer* tokenizer, Write write) {
  if (options.jsonl()) return std::make_unique<JsonPrinter>(options, prompt, *tokenizer, std::move(write));
  if (options.request.logprobs) return std::make_unique<LogprobsPrinter>(*tokenizer, std::move(write));
  if (options.ids) return std::make_unique<IdsPrinter>(options, prompt, std::move(write));
  return std::make_unique<TextPrinter>(options, prompt, std::move(write));
}

std::string show_prompt(const RunOptions& options, const Prompt& prompt) {
  if (!options.jsonl()) return prompt.text + "\n";
  return json_line({{"schema", 1}, {"id", 0}, {"prompt", prompt.text}, {"ids", prompt.ids}}) + "\n";
}

}  // namespace baleen::cmd
