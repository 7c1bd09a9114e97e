// An answer as a JSON object: what `--format jsonl` prints, one line a generation.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/generate.h"
#include "runtime/prompt.h"
#include "runtime/scheduler.h"
#include "tokenizer/tokenizer.h"

namespace baleen {

// One line of output, without its newline. What is no UTF-8 is replaced.
std::string json_line(const nlohmann::ordered_json& object);

// Gathers the log-probabilities that a generation tells of, and writes what it came to.
class ResultWriter {
 public:
  // Prompt and tokenizer must outlive it. `echo`: the text begins with the prompt's.
  ResultWriter(const Prompt& prompt, const Tokenizer& tokenizer, bool echo)
      : prompt_(prompt), tokenizer_(tokenizer), echo_(echo) {}

  void token(const Step& step);
  // {"schema", NAMES, "text", "ids", ...}, see OUTPUT in baleen-run(1); `names` is an object with the id and
  // what else tells whose answer it is.
  nlohmann::ordered_json result(const nlohmann::ordered_json& names, const Generation& generation,
                                const GenerateTimes& times) const;

 private:
  const Prompt& prompt_;
  const Tokenizer& tokenizer_;
  bool echo_;
  nlohmann::ordered_json logprobs_;  // a list, once there is one
};

}  // namespace baleen
