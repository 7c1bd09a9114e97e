// The options that subcommands share, each defined once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cmd/command.h"
#include "cmd/terminal.h"
#include "error.h"
#include "kernels/kernels.h"
#include "report/progress.h"

namespace baleen::cmd {

// A bound on memory, or what the machine can spare.
struct MemorySize {
  std::optional<std::uint64_t> bytes;    // none: auto
  std::string_view source = "--memory";  // what gave it, for messages
};
// "1.5G" or "auto".
MemorySize parse_memory(std::string_view text);

struct CommonOptions {
  std::optional<std::filesystem::path> model;
  std::optional<std::size_t> threads;
  std::string isa = "auto";
  // Exact unless asked for less: a bf16 cache moves logits enough to reroute tokens whose experts nearly
  // tied.
  kernels::KvFormat kv_format = kernels::KvFormat::f32;
  bool lm_head_int8 = false;
  bool throughput = false;
  std::optional<MemorySize> memory;

  // The kernels that generated tokens take.
  kernels::Path generated_path() const { return throughput ? kernels::Path::batch : kernels::Path::stream; }

  bool verbose = false;
  bool quiet = false;
  bool progress = false;
  ColorChoice color = ColorChoice::automatic;

  enum class Help { none, brief, full };
  Help help = Help::none;
  bool version = false;
};

Option model_option(CommonOptions& target);                    // -m
std::vector<Option> processor_options(CommonOptions& target);  // -t, --isa
std::vector<Option> machine_options(CommonOptions& target);    // and --kv-type, --lm-head
Option throughput_option(CommonOptions& target);
Option memory_option(CommonOptions& target);  // --memory, for weights
std::vector<Option> message_options(
    CommonOptions& target);  // -v, -q, --progress, --color, -h, --help, --version

// Where progress goes by these options and by what standard error is.
Progress::Mode progress_mode(const CommonOptions& options);
Progress::Screen progress_screen();

// If help or version is asked for, prints it and returns true.
bool print_help_or_version(const CommonOptions& options, const Command& command);

std::uint64_t parse_seed(std::string_view text);
std::size_t parse_positive(std::string_view text, std::size_t most);
std::string parse_path(std::string_view text);

// One of the words a value may be.
template <typename Value>
Value parse_choice(std::string_view text, const std::vector<std::pair<std::string_view, Value>>& choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (name == text) return value;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  throw UsageError("'" + std::string(text) + "' is none of " + names);
}

}  // namespace baleen::cmd
