#include "cmd/bench_options.h"

#include <algorithm>

#include "cmd/model_folder.h"
#include "error.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

constexpr double unbounded = 1e308;
constexpr std::uint64_t most_tokens = std::uint64_t{1} << 30U;
constexpr std::uint64_t most_sequences = 4096;

// Counts parted by commas.
std::vector<std::uint64_t> parse_counts(std::string_view text, std::uint64_t least, std::uint64_t most) {
  std::vector<std::uint64_t> counts;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::uint64_t count = parse_count(text.substr(0, comma));
    if (count < least || count > most) {
      throw UsageError("'" + std::string(text.substr(0, comma)) + "' is out of range: from " +
                       std::to_string(least) + " to " + std::to_string(most));
    }
    counts.push_back(count);
    if (comma == std::string_view::npos) return counts;
    text.remove_prefix(comma + 1);
  }
}

double parse_positive_number(std::string_view text) {
  const double number = parse_number(text, 0, unbounded);
  if (number > 0) return number;
  throw UsageError("'" + std::string(text) + "' is not above 0");
}

std::vector<Option> test_options(BenchOptions& o) {
  constexpr std::string_view group = "Tests";
  return {
      {.letter = 'p',
       .value = "N,...",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "lengths of prompts to measure",
       .text = "Measure prefill of prompts of N tokens, from an empty context; logits of the last token. 0: "
               "none. "
               "Of the default lengths those longer than the model's context are left out.",
       .fallback = "1,8,32,128,512",
       .set = [&o](std::string_view value) { o.prompts = parse_counts(value, 0, most_tokens); }},
      {.letter = 'n',
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "tokens to decode; 0: none",
       .text = "Measure decoding of N tokens, one after the other. 0: none.",
       .fallback = "32",
       .set = [&o](std::string_view value) { o.new_tokens = parse_counts(value, 0, most_tokens)[0]; }},
      {.name = "depth",
       .letter = 'd',
       .value = "N,...",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "tokens in the context before decoding",
       .text =
           "Decode behind N tokens, which are really computed first. Of the default depths those that do not "
           "fit the model's context are left out; where none does, -n is an error.",
       .fallback = "0,2048",
       .set = [&o](std::string_view value) { o.depths = parse_counts(value, 0, most_tokens); }},
      {.name = "batch",
       .letter = 'b',
       .value = "N,...",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "sequences decoded together",
       .text = "Decode N sequences together.",
       .fallback = "1,4",
       .set = [&o](std::string_view value) { o.batches = parse_counts(value, 1, most_sequences); }},
      {.name = "repetitions",
       .letter = 'r',
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "repetitions of each test, after one to warm up",
       .text = "Repeat each test N times, after one time to warm up. The median counts.",
       .fallback = "5",
       .set = [&o](std::string_view value) { o.repetitions = parse_positive(value, 10000); }},
      {.name = "seed",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "seed of the random tokens and weights",
       .text = "Seed of the random tokens, and of the random weights of --shape.",
       .fallback = "0",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.seed = parse_seed(value); }},
  };
}

std::vector<Option> shape_options(BenchOptions& o) {
  constexpr std::string_view group = "Shape";
  return {
      {.name = "shape",
       .value = "NAME",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "random weights of a shape: a config.json or a name",
       .text =
           "In place of a model's weights, noise in its shape: NAME is a config.json, or one of deepseek-v3, "
           "moonlight, qwen3-30b-a3b and olmoe. As many layers are made as the memory holds, one of each "
           "kind "
           "at least; where these are not all, times and work are extrapolated by kind, and said to be.",
       .set = [&o](std::string_view value) { o.shape = parse_path(value); }},
      {.name = "weights",
       .value = "FORMAT",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "their format: bf16, fp8, int8, int4 or mxfp4 (default bf16)",
       .text =
           "How the weights of --shape are stored: bf16 (the default), fp8 in blocks of 128 by 128, int8, "
           "int4 or mxfp4 in groups of 32. Embedding, output head, routers and norms are bf16.",
       .choices = {"bf16", "fp8", "int8", "int4", "mxfp4"},
       .set =
           [&o](std::string_view value) {
             o.weights = parse_choice<WeightFormat>(value, {{"bf16", WeightFormat::bf16},
                                                            {"fp8", WeightFormat::fp8},
                                                            {"int8", WeightFormat::int8},
                                                            {"int4", WeightFormat::int4},
                                                            {"mxfp4", WeightFormat::mxfp4}});
           }},
      {.name = "layers",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "so many layers instead of what fits",
       .text = "Make N layers of --shape, whatever the memory holds.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.layers = parse_positive(value, most_tokens); }},
  };
}

std::vector<Option> quality_options(BenchOptions& o) {
  constexpr std::string_view group = "Quality";
  return {
      {.name = "ppl",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "perplexity of a text, instead of speeds",
       .text = "Print how well the model predicts the text of FILE, instead of speeds: perplexity, and nats "
               "a token. "
               "Every token counts but the first one of each window.",
       .set = [&o](std::string_view value) { o.text = parse_path(value); }},
      {.name = "kl",
       .value = "DIR",
       .argument = Option::Argument::folder,
       .group = group,
       .brief = "divergence from the model in DIR on --ppl FILE",
       .text = "Print how far the model's predictions of the text of --ppl are from those of the reference "
               "model in "
               "DIR, of the same tokenizer: Kullback-Leibler divergence (mean, median, 99th percentile) and "
               "how often "
               "both find the same token likeliest. Positions that both send to the same experts in every "
               "layer, and "
               "those that they do not, are also told apart.",
       .set = [&o](std::string_view value) { o.reference = check_folder(parse_path(value)); }},
      {.name = "ctx",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "window of --ppl (default: the model's context)",
       .text =
           "Cut the text into windows of N tokens, which know nothing of each other. By default the model's "
           "context.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.context = parse_counts(value, 2, most_tokens)[0]; }},
  };
}

Option money(std::string_view name, std::string_view brief, std::string_view text,
             std::optional<double>& target) {
  return {.name = name,
          .value = "X",
          .argument = Option::Argument::text,
          .group = "Cost",
          .brief = brief,
          .text = text,
          .in_brief = name == "cost-per-hour",
          .set = [&target](std::string_view value) { target = parse_positive_number(value); }};
}

Option volume(std::string_view name, std::string_view brief, std::string_view text,
              std::optional<std::uint64_t>& target) {
  return {.name = name,
          .value = "N",
          .argument = Option::Argument::text,
          .group = "Cost",
          .brief = brief,
          .text = text,
          .in_brief = false,
          .set = [&target](std::string_view value) { target = parse_count(value); }};
}

std::vector<Option> cost_options(BenchOptions& o) {
  return {
      money(
          "cost-per-hour", "what the machine costs, in dollars",
          "What the machine costs an hour, in dollars (or any other money). Adds to the speeds what a "
          "million "
          "tokens cost: input at the speed of the longest prompt, output at that of the largest batch at the "
          "greatest depth.",
          o.cost_per_hour),
      money("price-in", "price of a million input tokens",
            "What a million input tokens are sold for. With --price-out it gives the theoretical income, as "
            "if the "
            "machine never waited and everything were paid, and the cost-profit ratio: profit over cost.",
            o.price_in),
      money("price-out", "price of a million output tokens", "What a million output tokens are sold for.",
            o.price_out),
      money("price-cached", "price of a million cached input tokens",
            "What a million input tokens are sold for that were found in a cache. By default as --price-in.",
            o.price_cached),
      {.name = "prices",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = "Cost",
       .brief = "compare with a list of published prices",
       .text =
           "Compare with the published prices in FILE, a JSON list as in examples/prices: from how many "
           "tokens a "
           "day on the machine is cheaper than buying the tokens, if prompts and answers are as long as the "
           "longest -p and -n.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.price_list = parse_path(value); }},
      money("prefill-tps", "input tokens a second, instead of measuring",
            "Take this many input tokens a second instead of measuring; needs --decode-tps.",
            o.prefill_speed),
      money("decode-tps", "output tokens a second, instead of measuring",
            "Take this many output tokens a second instead of measuring; needs --prefill-tps.",
            o.decode_speed),
      volume("tokens-in", "input tokens that were served",
             "Keep the books of a day, without measuring: this many input tokens were served, those found in "
             "a cache "
             "included. Needs --tokens-out, --cost-per-hour, --price-in and --price-out.",
             o.tokens_in),
      volume("tokens-cached", "of them found in a cache", "So many of --tokens-in were found in a cache.",
             o.tokens_cached),
      volume("tokens-out", "output tokens that were served", "So many output tokens were served.",
             o.tokens_out),
      {.name = "hours",
       .value = "X",
       .argument = Option::Argument::text,
       .group = "Cost",
       .brief = "hours that took",
       .text = "Hours that took.",
       .fallback = "24",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.hours = parse_positive_number(value); }},
  };
}

Option format(std::string_view name, std::string_view brief, std::string_view text,
              BenchOptions::Format value, BenchOptions& o) {
  return {
      .name = name, .group = "Output", .brief = brief, .text = text, .set = [&o, value](std::string_view) {
        o.format = value;
        ++o.formats_given;
      }};
}

std::vector<Option> format_options(BenchOptions& o) {
  using Format = BenchOptions::Format;
  return {
      format("json", "print JSON", "Print one JSON object, with the seconds of every repetition.",
             Format::json, o),
      format("csv", "print CSV", "Print comma-separated values, a line a test.", Format::csv, o),
      format("markdown", "print a table for a README",
             "Print a table in Markdown, with machine and command line, to be put into a README.",
             Format::markdown, o),
  };
}

}  // namespace

Command bench_definition(BenchOptions& target) {
  Command command = {
      .name = "bench",
      .summary = "measure speed, quality and cost of a model",
      .synopsis = "[OPTION]...",
      .about =
          "Measures how fast this machine evaluates prompts and generates tokens, and how near that is to "
          "what its "
          "memory and its arithmetic allow at most, which are measured in the same run. Or how well a model "
          "predicts "
          "a text, or what tokens cost.",
      .examples = {{"Prompts of 512 tokens, and 32 tokens decoded from an empty context:",
                    "baleen bench -p 512 -n 32 -d 0 -b 1"},
                   {"DeepSeek-V3's shape in int4, of which a few layers fit:",
                    "baleen bench --shape deepseek-v3 --weights int4 -p 32 -d 0"},
                   {"A day's books: 226.75 nodes of 8 GPUs at $2 an hour:",
                    "baleen bench --cost-per-hour 3628 --price-in 0.55 --price-cached 0.14 --price-out 2.19 "
                    "--tokens-in 608e9 --tokens-cached 342e9 --tokens-out 168e9"}},
      .options = {},
      .operands =
          [](std::vector<std::string> words) {
            if (!words.empty()) throw UsageError("unexpected argument '" + words[0] + "'");
          },
  };
  Option model = model_option(target);
  model.group = "Tests";
  command.options.push_back(std::move(model));
  for (auto&& group :
       {test_options(target), shape_options(target), quality_options(target), cost_options(target),
        format_options(target), machine_options(target),
        std::vector<Option>{throughput_option(target), memory_option(target)}, message_options(target)}) {
    command.options.insert(command.options.end(), group.begin(), group.end());
  }
  return command;
}

}  // namespace baleen::cmd
