#include "cmd/run_options.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "error.h"
#include "report/units.h"
#include "runtime/conversation.h"
#include "tokenizer/unicode.h"

namespace baleen::cmd {
namespace {

constexpr double unbounded = 1e308;

// Of what never goes to standard output, which carries the answer.
std::string parse_own_file(std::string_view name) {
  if (name == "-")
    throw UsageError("- is no file: standard output carries the answer\n./- is a file called -");
  return parse_path(name);
}

std::vector<Option> input_options(RunOptions& o) {
  constexpr std::string_view group = "Input";
  return {
      model_option(o),
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
           "Without this option the prompt becomes a user's message in the form of the model's chat "
           "template, if it has one.",
       .set = [&o](std::string_view) { o.raw = true; }},
      {.name = "system",
       .value = "TEXT",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "put a system message in front",
       .text = "Put a system message in front of the conversation. Needs a chat template, as --messages and "
               "--template-var do.",
       .set = [&o](std::string_view value) { o.system = value; }},
      {.name = "messages",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "read a conversation from JSON; - is standard input",
       .text =
           "Read a conversation from a JSON file; - is standard input. See PROMPT in baleen-run(1) for its "
           "form. Given a PROMPT or -f too, that becomes one more user's message at the end; given neither, "
           "on a terminal, a chat begins with it.",
       .set = [&o](std::string_view value) { o.messages = parse_path(value); }},
      {.name = "template-var",
       .value = "K=JSON",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "set a variable of the chat template; repeatable",
       .text =
           "Set a variable of the chat template, such as enable_thinking=false; a text takes double quotes, "
           "'name=\"text\"'. May be given several times; wins over what --messages sets.",
       .repeatable = true,
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             parse_template_var(value);  // what is wrong with it is said before anything is opened
             o.template_vars.emplace_back(value);
           }},
      {.name = "ids",
       .group = group,
       .brief = "prompt and output are token ids",
       .text =
           "The prompt is token ids in decimal, separated by white space, and nothing is added to them; in "
           "text format the output is token ids too, separated by single spaces.",
       .set = [&o](std::string_view) { o.ids = true; }},
      {.name = "prompt-cache",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "keep what the model computed of the prompt in FILE",
       .text =
           "Keep what the model computed of the prompt, its keys and values, in FILE, for the next prompt "
           "that begins with the same tokens. See PROMPT CACHE in baleen-run(1). Does not go with --echo "
           "--logprobs, for which every token of the prompt has to be computed.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.prompt_cache = parse_own_file(value); }},
      {.name = "dry-run",
       .group = group,
       .brief = "print the prompt as the model would get it, and stop",
       .text =
           "Print the prompt as the model would get it, and stop. With --format jsonl an object with "
           "\"id\", \"prompt\" and the token \"ids\". Needs no weights: a folder with just a tokenizer will "
           "do.",
       .in_brief = false,
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
       .brief = "new tokens at most; -1: to the end token",
       .text =
           "Generate N tokens at most. 0 only evaluates the prompt; -1 goes on until the model's end token, "
           "a stop string or a full context.",
       .fallback = "256",
       .set =
           [&o](std::string_view value) {
             constexpr auto most = std::numeric_limits<std::int64_t>::max();
             o.request.n = value == "-1"
                               ? -1
                               : static_cast<std::int64_t>(std::min<std::uint64_t>(parse_count(value), most));
           }},
      {.name = "stop",
       .value = "STRING",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "stop before STRING; repeatable",
       .text = "End where the text would hold STRING. It is not printed, not even in part; where tokens "
               "are printed (--ids, --logprobs), those that spell it are. May be given several times.",
       .repeatable = true,
       .set =
           [&o](std::string_view value) {
             if (value.empty()) throw UsageError("the string is empty");
             if (!o.request.stop) o.request.stop.emplace();
             o.request.stop->emplace_back(value);
           }},
      {.name = "ignore-eos",
       .group = group,
       .brief = "go on after the model's end token",
       .text = "Go on after the model's end token.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.request.ignore_eos = true; }},
      {.name = "think-budget",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "tokens of thinking at most; then </think> is written for the model",
       .text =
           "Tokens of thinking at most. When the model, or the prompt, has opened <think> and N tokens have "
           "come without a </think>, that is written for the model, which goes on with its answer; 0 does "
           "so at once. Concerns every format.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.request.think_budget = parse_count(value); }},
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
       .set = [&o](std::string_view value) { o.request.temp = parse_number(value, 0, unbounded); }},
      {.name = "top-k",
       .value = "K",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "choose among the K likeliest tokens; 0: all",
       .text =
           "Choose among the K likeliest tokens; 0 is all. By default as in generation_config.json, else 0.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.request.top_k = parse_count(value); }},
      {.name = "top-p",
       .value = "P",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "choose among the likeliest that make up P",
       .text =
           "Choose among the likeliest tokens that together have the probability P; 1 is all. By default as "
           "in generation_config.json, else 0.95.",
       .set = [&o](std::string_view value) { o.request.top_p = parse_number(value, 0, 1); }},
      {.name = "min-p",
       .value = "P",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "drop tokens below P times the likeliest one's probability",
       .text = "Drop tokens whose probability is below P times that of the likeliest. By default as in "
               "generation_config.json, else 0, which drops none.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.request.min_p = parse_number(value, 0, 1); }},
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
       .set =
           [&o](std::string_view value) { o.request.repeat_penalty = parse_number(value, 1e-6, unbounded); }},
      {.name = "seed",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "seed of the random choices",
       .text =
           "Seed of the random choices. The same seed, model and instruction set give the same tokens, with "
           "any number of threads. By default a fresh one, which -v shows.",
       .set = [&o](std::string_view value) { o.request.seed = parse_seed(value); }},
      {.name = "greedy",
       .group = group,
       .brief = "always take the likeliest token",
       .text =
           "Always take the likeliest token: the same as --temp 0. It is the default where "
           "generation_config.json says \"do_sample\": false, unless --temp, --top-k, --top-p or --min-p is "
           "given.",
       .set = [&o](std::string_view) { o.request.greedy = true; }},
  };
}

std::vector<Option> output_options(RunOptions& o) {
  using Format = RunOptions::Format;
  using Think = RunOptions::Think;
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
      {.name = "output",
       .letter = 'o',
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "write the output to FILE",
       .text = "Write the output to FILE; - is standard output. The file appears when it is whole; with "
               "--batch and "
               "--samples it grows by whole lines.",
       .set = [&o](std::string_view value) { o.output = value == "-" ? "/dev/stdout" : parse_path(value); }},
      {.name = "force",
       .group = group,
       .brief = "overwrite the files of -o and --route-stats",
       .text = "Overwrite the file of -o, and that of --route-stats, if there is one.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.force = true; }},
      {.name = "echo",
       .group = group,
       .brief = "repeat the prompt in front of the output",
       .text = "Repeat the prompt, as --dry-run shows it, in front of the output; with --logprobs its tokens "
               "too.",
       .in_brief = false,
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
       .set = [&o](std::string_view value) { o.request.logprobs = parse_count(value); }},
      {.name = "think",
       .value = "WHAT",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "what happens to <think>...</think> in text format",
       .text =
           "What happens in text format to what the model writes between <think> and </think>, also if the "
           "prompt ends in <think>. keep prints it with its tags, drop leaves it out, stderr sends it to "
           "standard error; white space next to the tags goes with them.",
       .fallback = "keep",
       .choices = {"keep", "drop", "stderr"},
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             o.think = parse_choice<Think>(
                 value, {{"keep", Think::keep}, {"drop", Think::drop}, {"stderr", Think::on_stderr}});
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

std::vector<Option> batch_options(RunOptions& o) {
  constexpr std::string_view group = "Many answers";
  return {
      {.name = "batch",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "answer every line of a JSON lines file",
       .text = "Answer every line of FILE, a JSON object each; - is standard input. Lines are decoded "
               "together, and "
               "results come as JSON lines in the order of the lines, as soon as those before are done. See "
               "BATCHES "
               "in baleen-run(1).",
       .set = [&o](std::string_view value) { o.batch = parse_path(value); }},
      {.name = "parallel",
       .value = "B",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "answers that are decoded together at most",
       .text =
           "Decode B answers together, at most: a pass over the weights serves all of them. Each needs a KV "
           "cache; fewer are decoded where memory does not hold as many. Results do not depend on B.",
       .fallback = "8",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.parallel = parse_positive(value, 4096); }},
      {.name = "samples",
       .value = "G",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "draw G answers to each prompt",
       .text = "Draw G answers to each prompt, which is computed once: a JSON line each, with its number as "
               "\"sample\". The n-th, from 0, is what the seed plus n gives.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.samples = parse_positive(value, 1U << 20U); }},
      {.name = "reward",
       .value = "CMD",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "judge each answer by what a shell command prints",
       .text =
           "Run CMD in a shell for each answer, with its JSON line on standard input, and take the number "
           "that "
           "it prints as \"reward\"; beside it comes \"advantage\", the reward less the mean of the prompt's "
           "samples, by their standard deviation. A command that fails or prints no number makes it null, "
           "with "
           "an \"error\".",
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             if (value.empty()) throw UsageError("the command is empty");
             o.reward = value;
           }},
      {.name = "resume",
       .group = group,
       .brief = "go on with an interrupted batch, behind the results in -o",
       .text = "Go on with an interrupted batch: lines whose results the file of -o holds are not answered "
               "again, "
               "and the others follow. The ids in the file must be those of the batch.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.resume = true; }},
  };
}

std::vector<Option> route_options(RunOptions& o) {
  constexpr std::string_view group = "Routing";
  return {
      {.name = "route-log",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "log which experts every token goes to",
       .text = "Log which experts every token goes to, in the format of baleen-routes(5), which "
               "baleen-route-stats(1) "
               "reads. A log of the same model that is there already grows.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.route_log = parse_path(value); }},
      {.name = "route-log-detail",
       .value = "WHAT",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "counts, experts, weights or scores",
       .text =
           "How much of each token is logged: counts are totals alone, for long runs; experts; weights are "
           "the "
           "experts with their combine weights; scores adds every expert's score, and the correction bias.",
       .fallback = "weights",
       .choices = {"counts", "experts", "weights", "scores"},
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             o.route_log_detail = parse_choice<RouteDetail>(value, {{"counts", RouteDetail::counts},
                                                                    {"experts", RouteDetail::experts},
                                                                    {"weights", RouteDetail::weights},
                                                                    {"scores", RouteDetail::scores}});
           }},
      {.name = "label",
       .value = "NAME",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "what kind of text this is, for the log",
       .text = "What kind of text this is: baleen route-stats --by label compares the labels of a log.",
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             if (value.empty() || value.size() > longest_label)
               throw UsageError("a label has 1 to " + std::to_string(longest_label) + " bytes");
             if (!unicode::is_valid(value)) throw UsageError("the label is not UTF-8 text");
             o.label = value;
           }},
      {.name = "route-stats",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "write how often each expert was asked for, at the end",
       .text =
           "At the end, write to FILE how often each expert was asked for: the JSON that baleen "
           "route-stats --json prints of a route log, without the log. The file appears when it is whole.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.route_stats = parse_own_file(value); }},
      {.name = "route-prior",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "which experts --memory keeps at first",
       .text = "With --memory: a route log of the model, or the JSON of --route-stats or baleen route-stats "
               "--json, out of which the cache learns which experts are worth keeping before any has been "
               "asked for.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.route_prior = parse_path(value); }},
  };
}

}  // namespace

Command run_definition(RunOptions& target) {
  Command command = {
      .name = "run",
      .summary = "generate text from a prompt",
      .synopsis = "[OPTION]... [PROMPT]",
      .about =
          "Generates text with a mixture-of-experts model and streams it to standard output. The prompt is "
          "PROMPT, or the text of a file, or else standard input; a model with a chat template gets it as a "
          "user's message. Without any of them, on a terminal, it is a chat.",
      .dash_hint = "a prompt that begins with - goes after --",
      .examples = {{"Ask a question, and see the answer without the thinking:",
                    "baleen run --think drop 'What is 347 + 589?'"},
                   {"Continue a text, always with the likeliest token:",
                    "baleen run --raw --greedy -n 32 'Once upon a time'"},
                   {"Ask many questions about one text, which the model reads once:",
                    "baleen run --raw -f prompt.txt --prompt-cache prompt.kv 'And who was there?'"},
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
        batch_options(target), route_options(target), machine_options(target),
        std::vector<Option>{throughput_option(target), memory_option(target)}, message_options(target)}) {
    command.options.insert(command.options.end(), group.begin(), group.end());
  }
  return command;
}

}  // namespace baleen::cmd
