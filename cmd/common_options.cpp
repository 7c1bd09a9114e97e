#include "cmd/common_options.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "cmd/commands.h"
#include "cmd/help.h"
#include "cmd/kernel_choice.h"
#include "cmd/model_folder.h"
#include "cmd/output.h"
#include "report/units.h"
#include "runtime/kv_formats.h"

namespace baleen::cmd {

std::uint64_t parse_seed(std::string_view text) {
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error == std::errc() && end == text.data() + text.size()) return seed;
  throw UsageError("'" + std::string(text) + "' is not a seed: a whole number from 0 to 2^64 - 1");
}

std::size_t parse_positive(std::string_view text, std::size_t most) {
  const std::uint64_t count = parse_count(text);
  if (count >= 1 && count <= most) return count;
  throw UsageError("'" + std::string(text) + "' is out of range: from 1 to " + std::to_string(most));
}

std::string parse_path(std::string_view text) {
  if (text.empty()) throw UsageError("the name is empty");
  return std::string(text);
}

Option model_option(CommonOptions& o) {
  constexpr std::string_view group = "Input";
  return {.name = "model",
          .letter = 'm',
          .value = "DIR",
          .argument = Option::Argument::folder,
          .group = group,
          .brief = "model folder (else $BALEEN_MODEL, else the bundled one)",
          .text =
              "The model: a folder as published on Hugging Face, with config.json, *.safetensors and "
              "tokenizer.json (or tiktoken.model). Without this option and $BALEEN_MODEL it is the model "
              "that comes with baleen.",
          .env = "BALEEN_MODEL",
          .set = [&o](std::string_view value) { o.model = check_folder(parse_path(value)); }};
}

std::vector<Option> processor_options(CommonOptions& o) {
  constexpr std::string_view group = "Machine";
  return {
      {.name = "threads",
       .letter = 't',
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "threads (default: the physical cores)",
       .text =
           "Threads. By default as many as there are physical cores among those that this process may use.",
       .env = "BALEEN_THREADS",
       .set = [&o](std::string_view value) { o.threads = parse_positive(value, 4096); }},
      {.name = "isa",
       .value = "NAME",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "instruction set: scalar is the exact reference",
       .text = "Instruction set of the arithmetic. auto is the best that the processor has; scalar is the "
               "reference. One that this processor or this program lacks is an error.",
       .fallback = "auto",
       .env = "BALEEN_ISA",
       .choices = {"auto", "scalar", "avx2", "avx512", "amx", "neon"},
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             o.isa = parse_choice<std::string_view>(value, {{"auto", "auto"},
                                                            {"scalar", "scalar"},
                                                            {"avx2", "avx2"},
                                                            {"avx512", "avx512"},
                                                            {"amx", "amx"},
                                                            {"neon", "neon"}});
             choose_kernels(o.isa);  // there may be none
           }},
  };
}

std::vector<Option> machine_options(CommonOptions& o) {
  constexpr std::string_view group = "Machine";
  std::vector<Option> options = processor_options(o);
  std::vector<Option> model_options = {
      {.name = "kv-type",
       .value = "TYPE",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "storage of the KV cache: f32, bf16 or int8 (default f32)",
       .text =
           "How the KV cache stores its numbers: f32 (exact, the default), bf16 (half the memory) or int8 (a "
           "good quarter, one scale for every 32 numbers).",
       .choices = {"bf16", "f32", "int8"},
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             o.kv_format = parse_choice<kernels::KvFormat>(value, {kv_formats.begin(), kv_formats.end()});
           }},
      {.name = "lm-head",
       .value = "TYPE",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "output head as stored, or rounded to int8 at load",
       .text =
           "The output head is read whole for every token. int8 rounds it at load, by groups of 32 columns: "
           "half the bytes of bf16, in memory of its own; -v says how much and how large the error is.",
       .fallback = "stored",
       .choices = {"stored", "int8"},
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             o.lm_head_int8 = parse_choice<bool>(value, {{"stored", false}, {"int8", true}});
           }},
  };
  std::move(model_options.begin(), model_options.end(), std::back_inserter(options));
  return options;
}

Option throughput_option(CommonOptions& o) {
  return {.name = "throughput",
          .group = "Machine",
          .brief = "generated tokens by the kernels for prompts",
          .text =
              "Compute generated tokens with the kernels for prompts, which multiply many tokens by a "
              "weight at once, by tiles where the processor has them: for some tens of sequences that are "
              "decoded together. For few they are slower; baleen bench --throughput tells. They may round "
              "differently, so answers may differ from those without, but depend on their neighbours as "
              "little.",
          .in_brief = false,
          .set = [&o](std::string_view) { o.throughput = true; }};
}

MemorySize parse_memory(std::string_view text) {
  if (text == "auto") return {};
  try {
    return {parse_bytes(text)};
  } catch (const UsageError& error) {
    throw UsageError(std::string(error.what()) + "\nauto is what the machine can spare");
  }
}

Option memory_option(CommonOptions& o) {
  return {.name = "memory",
          .value = "SIZE",
          .argument = Option::Argument::text,
          .group = "Machine",
          .brief = "memory for weights at most: 24G, or auto",
          .text =
              "Weights take SIZE bytes of memory at most (24G, 512M), page cache included: what every "
              "token needs is loaded, and as many routed experts are kept as there is room for; the "
              "others are read from the files when they are asked for. auto is what machine and cgroups "
              "can spare beside the KV cache. A size that is too small is an error that names the least "
              "that works. Results are the same for any size. See MODELS LARGER THAN MEMORY in "
              "baleen-run(1).",
          .env = "BALEEN_MEMORY",
          .set = [&o](std::string_view value) { o.memory = parse_memory(value); },
          .set_by_env = [&o] { o.memory->source = "BALEEN_MEMORY"; }};
}

std::vector<Option> message_options(CommonOptions& o) {
  using Help = CommonOptions::Help;
  constexpr std::string_view group = "Messages";
  return {
      {.name = "verbose",
       .letter = 'v',
       .group = group,
       .brief = "say what runs and where time goes",
       .text = "Say on standard error what is loaded, which kernels run, the seed, and where time goes.",
       .set = [&o](std::string_view) { o.verbose = true; }},
      {.name = "quiet",
       .letter = 'q',
       .group = group,
       .brief = "no progress and no warnings",
       .text = "No progress and no warnings on standard error; errors stay.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.quiet = true; }},
      {.name = "progress",
       .group = group,
       .brief = "show progress though standard error is no terminal",
       .text = "Show progress, with rate and time left, though standard error is no terminal.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.progress = true; }},
      {.name = "color",
       .value = "WHEN",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "colour: auto, always or never",
       .text = "Colour. auto: on a terminal, unless the environment variable NO_COLOR is set to something.",
       .fallback = "auto",
       .choices = {"auto", "always", "never"},
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             o.color = parse_choice<ColorChoice>(value, {{"auto", ColorChoice::automatic},
                                                         {"always", ColorChoice::always},
                                                         {"never", ColorChoice::never}});
           }},
      {.letter = 'h',
       .group = group,
       .brief = "the options most used",
       .text = "Print the options most used.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.help = Help::brief; }},
      {.name = "help",
       .group = group,
       .brief = "all options, with examples",
       .text = "Print all options, with examples.",
       .set = [&o](std::string_view) { o.help = Help::full; }},
      {.name = "version",
       .group = group,
       .brief = "version, and the instruction sets built in",
       .text = "Print the version, the commit, the instruction set in use and those built in.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.version = true; }},
  };
}

Progress::Mode progress_mode(const CommonOptions& options) {
  if (options.quiet) return Progress::Mode::off;
  if (is_terminal(2)) return Progress::Mode::terminal;
  return options.progress ? Progress::Mode::lines : Progress::Mode::off;
}

Progress::Screen progress_screen() {
  return {.write = write_message, .columns = [] { return terminal_width(2); }};
}

bool print_help_or_version(const CommonOptions& options, const Command& command) {
  const Style style(1, options.color);
  if (options.help == CommonOptions::Help::full) write_output(full_help(command, style));
  if (options.help == CommonOptions::Help::brief) write_output(brief_help(command, style));
  if (options.version) write_output(version_text(options.isa));
  return options.help != CommonOptions::Help::none || options.version;
}

}  // namespace baleen::cmd
