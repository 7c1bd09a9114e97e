// How `baleen run` shows what is generated: text, token ids, a line a token, or one JSON object.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cmd/prompt.h"
#include "cmd/run_options.h"
#include "runtime/generate.h"
#include "runtime/scheduler.h"

namespace baleen::cmd {

class Printer {
 public:
  virtual ~Printer() = default;
  virtual void token(const Step&) {}
  virtual void text(std::string_view) {}
  virtual void end(const Generation&, const GenerateTimes&) = 0;
};

using Write = std::function<void(std::string_view)>;

// `tokenizer` may be null where no text is wanted; prompt and tokenizer must outlive the printer. What is
// printed goes to `write`.
std::unique_ptr<Printer> make_printer(const RunOptions& options, const Prompt& prompt,
                                      const Tokenizer* tokenizer, Write write);

// --dry-run: the prompt as the model would get it.
std::string show_prompt(const RunOptions& options, const Prompt& prompt);

}  // namespace baleen::cmd
