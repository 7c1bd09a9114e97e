// The options of `baleen run`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cmd/command.h"
#include "cmd/common_options.h"
#include "routing/route_line.h"
#include "runtime/request.h"

namespace baleen::cmd {

struct RunOptions : CommonOptions {
  std::optional<std::string> file;
  std::optional<std::string> prompt;
  bool raw = false;
  bool ids = false;
  std::optional<std::string> system;
  std::optional<std::string> messages;     // a file
  std::vector<std::string> template_vars;  // "K=JSON", each checked

  RequestOptions request;

  enum class Format { text, jsonl };
  std::optional<Format> format;
  enum class Think { keep, drop, on_stderr };
  Think think = Think::keep;
  bool echo = false;
  bool dry_run = false;
  bool inspect = false;
  bool json = false;

  std::optional<std::size_t> context;
  std::optional<std::string> prompt_cache;  // a file

  std::optional<std::string> batch;  // a file
  std::optional<std::size_t> parallel;
  std::size_t samples = 0;  // 0: one answer, without a number
  std::optional<std::string> reward;
  std::optional<std::string> output;  // a file
  bool resume = false;
  bool force = false;

  std::optional<std::string> route_log;  // a file
  std::optional<RouteDetail> route_log_detail;
  std::optional<std::string> label;
  std::optional<std::string> route_stats;  // a file to write
  std::optional<std::string> route_prior;  // a file to read

  // More than one answer may come: they are JSON lines.
  bool many() const { return batch || samples > 0; }
  bool jsonl() const { return format ? *format == Format::jsonl : many(); }
};

// The definition of `baleen run`; its options set the fields of `target`, which must outlive it.
Command run_definition(RunOptions& target);

}  // namespace baleen::cmd
