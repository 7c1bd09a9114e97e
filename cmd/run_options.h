// The options of `baleen run`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cmd/command.h"
#include "cmd/common_options.h"

namespace baleen::cmd {

struct RunOptions : CommonOptions {
  std::optional<std::string> file;
  std::optional<std::string> prompt;
  bool raw = false;
  bool ids = false;
  std::optional<std::string> system;
  std::optional<std::string> messages;     // a file
  std::vector<std::string> template_vars;  // "K=JSON", each checked

  std::optional<std::size_t> max_new_tokens = 256;  // none: until the end token or the context is full
  std::vector<std::string> stop;
  bool ignore_eos = false;
  std::optional<std::size_t> think_budget;

  std::optional<double> temperature;
  std::optional<std::size_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<std::uint64_t> seed;
  bool greedy = false;

  enum class Format { text, jsonl };
  Format format = Format::text;
  enum class Think { keep, drop, on_stderr };
  Think think = Think::keep;
  bool echo = false;
  std::optional<std::size_t> logprobs;
  bool dry_run = false;
  bool inspect = false;
  bool json = false;

  std::optional<std::size_t> context;
};

// The definition of `baleen run`; its options set the fields of `target`, which must outlive it.
Command run_definition(RunOptions& target);

}  // namespace baleen::cmd
