#include "cmd/run_options.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "cmd/kv_formats.h"
#include "cmd/model_folder.h"
#include "error.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

constexpr double unbounded = 1e308;

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

std::vector<Option> input_options(RunOptions& o) {
  constexpr std::string_view group = "Input";
  return {
      {.name = "model",
       .letter = 'm',
       .value = "DIR",
       .argument = Option::Argument::folder,
       .group = group,
       .brief = "model folder (else $BALEEN_MODEL, else the bundled one)",
       .text =
           "The model: a folder as published on Hugging Face, with config.json, *.safetensors and "
           "tokenizer.json. Without this option and $BALEEN_MODEL it is the model that comes with baleen.",
       .env = "BALEEN_MODEL",
       .set = [&o](std::string_view value) { o.model = check_folder(parse_path(value)); }},
      {.name = "file",
       .letter = 'f',
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "read the prompt from FILE; - is standard input",
       .text =
           "Read the prompt from FILE; - is standard input. Given a PROMPT too, the model gets the file's "
           "text, a newline, then PROMPT.\n"
           "One newline at the end of a file or of standard input is not part of the prompt; with --raw it "
           "is.",
       .set = [&o](std::string_view value) { o.file = parse_path(value); }},
      {.name = "raw",
       .group = group,
       .brief = "take the prompt as it is, byte for byte",
       .text =
           "Take the prompt as it is, byte for byte: no chat template, and a newline at the end of a file "
           "stays. The model still gets the begin-of-text token that its tokenizer's configuration asks "
           "for, and special tokens written in the text are recognised.\n"
           "This version has no chat templates: a model whose tokenizer has one needs --raw or --ids.",
       .set = [&o](std::string_view) { o.raw = true; }},
      {.name = "ids",
       .group = group,
       .brief = "prompt and output are token ids",
       .text =
           "The prompt is token ids in decimal, separated by white space, and nothing is added to them; in "
           "text format the output is token ids too, separated by single spaces.",
       .set = [&o](std::string_view) { o.ids = true; }},
      {.name = "dry-run",
       .group = group,
       .brief = "print the prompt as the model would get it, and stop",
       .text =
           "Print the prompt as the model would get it, and stop. With --format jsonl an object with "
           "\"id\", \"prompt\" and the token \"ids\". Needs no weights: a folder with just a tokenizer will "
           "do.",
       .set = [&o](std::string_view) { o.dry_run = true; }},
  };
}

std::vector<Option> length_options(RunOptions& o) {
  constexpr std::string_view group = "Length";
  return {
      {.letter = 'n',
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "new tokens at most; -1: until the end token",
       .text =
           "Generate N tokens at most. 0 only evaluates the prompt; -1 goes on until the model's end token, "
           "a stop string or a full context.",
       .fallback = "256",
       .set =
           [&o](std::string_view value) {
             if (value == "-1") {
               o.max_new_tokens.reset();
             } else {
               o.max_new_tokens = parse_count(value);
             }
           }},
      {.name = "stop",
       .value = "STRING",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "stop before STRING; repeatable",
       .text =
           "End where the text would hold STRING. It is not printed, not even in part; where tokens "
           "are printed (--ids, --logprobs), those that spell it are. May be given several times.",
       .repeatable = true,
       .set =
           [&o](std::string_view value) {
             if (value.empty()) throw UsageError("the string is empty");
             o.stop.emplace_back(value);
           }},
      {.name = "ignore-eos",
       .group = group,
       .brief = "go on after the model's end token",
       .text = "Go on after the model's end token.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.ignore_eos = true; }},
      {.name = "ctx",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "context: prompt and new tokens together at most",
       .text =
           "Context: prompt and new tokens together at most. By default, and at most, what the model was "
           "made "
           "for. A prompt longer than that is an error. Memory is taken for as many tokens as prompt and -n "
           "ask for.",
       .set = [&o](std::string_view value) { o.context = parse_positive(value, 1U << 30U); }},
  };
}

std::vector<Option> sampling_options(RunOptions& o) {
  constexpr std::string_view group = "Sampling";
  return {
      {.name = "temp",
       .value = "X",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "temperature; 0 is greedy",
       .text = "Temperature: logits are divided by X. 0 always takes the likeliest token. By default the "
               "temperature in generation_config.json, else 0.7.",
       .set = [&o](std::string_view value) { o.temperature = parse_number(value, 0, unbounded); }},
      {.name = "top-k",
       .value = "K",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "choose among the K likeliest tokens; 0: all",
       .text =
           "Choose among the K likeliest tokens; 0 is all. By default as in generation_config.json, else 0.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.top_k = parse_count(value); }},
      {.name = "top-p",
       .value = "P",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "choose among the likeliest that make up P",
       .text =
           "Choose among the likeliest tokens that together have the probability P; 1 is all. By default as "
           "in generation_config.json, else 0.95.",
       .set = [&o](std::string_view value) { o.top_p = parse_number(value, 0, 1); }},
      {.name = "min-p",
       .value = "P",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "drop tokens below P times the likeliest one's probability",
       .text = "Drop tokens whose probability is below P times that of the likeliest. By default as in "
               "generation_config.json, else 0, which drops none.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.min_p = parse_number(value, 0, 1); }},
      {.name = "repeat-penalty",
       .value = "X",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "make tokens that have occurred less likely",
       .text = "Divide the logit of every token that has occurred in prompt or output by X (multiply it, if "
               "it is "
               "negative). By default as in generation_config.json, else 1, which changes nothing. Concerns "
               "greedy "
               "choice as well.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.repetition_penalty = parse_number(value, 1e-6, unbounded); }},
      {.name = "seed",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "seed of the random choices",
       .text =
           "Seed of the random choices. The same seed, model and instruction set give the same tokens, with "
           "any number of threads. By default a fresh one, which -v shows.",
       .set = [&o](std::string_view value) { o.seed = parse_seed(value); }},
      {.name = "greedy",
       .group = group,
       .brief = "always take the likeliest token",
       .text =
           "Always take the likeliest token: the same as --temp 0. It is the default where "
           "generation_config.json says \"do_sample\": false, unless --temp, --top-k, --top-p or --min-p is "
           "given.",
       .set = [&o](std::string_view) { o.greedy = true; }},
  };
}

std::vector<Option> output_options(RunOptions& o) {
  using Format = RunOptions::Format;
  constexpr std::string_view group = "Output";
  return {
      {.name = "format",
       .value = "FORMAT",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "text, or jsonl: one JSON object",
       .text =
           "text is streamed as it is decided, and a newline ends it; special tokens are left out. jsonl is "
           "one JSON object on one line, see OUTPUT in baleen-run(1).",
       .fallback = "text",
       .choices = {"text", "jsonl"},
       .set =
           [&o](std::string_view value) {
             o.format = parse_choice<Format>(value, {{"text", Format::text}, {"jsonl", Format::jsonl}});
           }},
      {.name = "echo",
       .group = group,
       .brief = "repeat the prompt in front of the output",
       .text = "Repeat the prompt in front of the output; with --logprobs its tokens too.",
       .set = [&o](std::string_view) { o.echo = true; }},
      {.name = "logprobs",
       .value = "K",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "log-probabilities of each token and the K likeliest",
       .text =
           "Log-probabilities of each token and of the K likeliest in its place, as the model gives them: "
           "before penalty, temperature and choice. In text format one line a token takes the place of the "
           "text: id, token, log-probability, then id and log-probability of the K likeliest, parted by "
           "tabs.",
       .set = [&o](std::string_view value) { o.logprobs = parse_count(value); }},
      {.name = "think",
       .value = "WHAT",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "what happens to <think>...</think> in text format",
       .text = "What happens to <think>...</think> in text format. This version knows keep alone.",
       .fallback = "keep",
       .choices = {"keep"},
       .in_brief = false,
       .set =
           [](std::string_view value) {
             if (value == "drop" || value == "stderr") {
               throw UsageError("'" + std::string(value) +
                                "' is not in this version of baleen; --format jsonl "
                                "parts the thinking from the text");
             }
             parse_choice<bool>(value, {{"keep", true}});
           }},
      {.name = "inspect",
       .group = group,
       .brief = "print what the model is, and stop",
       .text = "Print what the model is and stop: architecture, parameters in all and active for a token, "
               "bytes by "
               "kind and format, KV cache, the memory needed and whether this machine has it.",
       .set = [&o](std::string_view) { o.inspect = true; }},
      {.name = "json",
       .group = group,
       .brief = "print --inspect as JSON",
       .text = "Print --inspect as JSON.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.json = true; }},
  };
}

std::vector<Option> machine_options(RunOptions& o) {
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
           }},
      {.name = "kv-type",
       .value = "TYPE",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "storage of the KV cache: f32, bf16 or int8 (default f32)",
       .text = "How the KV cache stores its numbers: f32 (exact, the default), bf16 (half the memory) or int8 (a "
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
       .text = "The output head is read whole for every token. int8 rounds it at load, by groups of 32 columns: "
               "half the bytes of bf16, in memory of its own; -v says how much and how large the error is.",
       .fallback = "stored",
       .choices = {"stored", "int8"},
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             o.lm_head_int8 = parse_choice<bool>(value, {{"stored", false}, {"int8", true}});
           }},
  };
}

std::vector<Option> message_options(RunOptions& o) {
  using Help = RunOptions::Help;
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
       .text = "Show the progress of a long prompt, with rate and time left, though standard error is no "
               "terminal.",
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

// What users of later versions know: named here so that asking for it is answered plainly, never ignored.
std::vector<Option> unavailable_options() {
  std::vector<Option> options = {
      {.name = "system", .value = "TEXT"},
      {.name = "messages", .value = "FILE"},
      {.name = "template-var", .value = "K=JSON", .repeatable = true},
      {.name = "batch", .value = "FILE"},
      {.name = "parallel", .value = "B"},
      {.name = "output", .letter = 'o', .value = "FILE"},
      {.name = "resume"},
      {.name = "force"},
      {.name = "memory", .value = "SIZE", .env = "BALEEN_MEMORY"},
      {.name = "route-log", .value = "FILE"},
  };
  for (Option& option : options) {
    option.group = "Not in this version";
    option.in_brief = false;
    option.available = false;
  }
  return options;
}

}  // namespace

Command run_definition(RunOptions& target) {
  Command command = {
      .name = "run",
      .summary = "generate text from a prompt",
      .synopsis = "[OPTION]... [PROMPT]",
      .about =
          "Generates text with a mixture-of-experts model and streams it to standard output. The prompt is "
          "PROMPT, or the text of a file, or else standard input.",
      .examples = {{"Continue a text, always with the likeliest token:",
                    "baleen run --raw --greedy -n 32 'Once upon a time'"},
                   {"What the model makes of each token of a file:",
                    "baleen run --raw -f prompt.txt -n 0 --echo --logprobs 3"}},
      .options = {},
      .operands =
          [&target](std::vector<std::string> words) {
            if (words.size() > 1) {
              throw UsageError("unexpected argument '" + words[1] +
                               "': there is one prompt; put quotes around it if it has spaces");
            }
            if (!words.empty()) target.prompt = words[0];
          },
  };
  for (auto&& group :
       {input_options(target), length_options(target), sampling_options(target), output_options(target),
        machine_options(target), message_options(target), unavailable_options()}) {
    command.options.insert(command.options.end(), group.begin(), group.end());
  }
  return command;
}

}  // namespace baleen::cmd
