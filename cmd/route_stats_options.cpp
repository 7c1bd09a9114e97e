#include "cmd/route_stats_options.h"

#include <utility>

#include "error.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

constexpr std::size_t most = 1U << 20U;

std::vector<Option> input_options(RouteStatsOptions& o) {
  constexpr std::string_view group = "Input";
  Option model = model_option(o);
  model.text =
      "With -f, the model that reads the text (with --cache-budget, the one whose experts are cached): a "
      "folder with config.json, *.safetensors and tokenizer.json, "
      "as "
      "published on Hugging Face. By default the model that comes with baleen.";
  return {
      std::move(model),
      {.name = "file",
       .letter = 'f',
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "let the model read the text in FILE, instead of a log",
       .text = "Let the model of -m read the text in FILE, as it is, and look at its routing, instead of "
               "reading a "
               "log; - is standard input. A text longer than the model's context is read in pieces.",
       .set = [&o](std::string_view value) { o.text = parse_path(value); }},
      {.name = "keep-going",
       .group = group,
       .brief = "leave wrong lines out, and report the others",
       .text = "Leave lines out that are wrong, or of another model, and report the others; the first of "
               "them are "
               "named, and the exit status is 1. By default the first wrong line ends the work.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.keep_going = true; }},
  };
}

std::vector<Option> view_options(RouteStatsOptions& o) {
  using By = RouteStatsOptions::By;
  constexpr std::string_view group = "What to look at";
  return {
      {.name = "layer",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "this layer alone, with a bar for each expert",
       .text = "This layer alone, by the model's number for it, with a bar for each expert.",
       .set =
           [&o](std::string_view value) {
             o.layer = parse_count(value);
             if (*o.layer > most) throw UsageError("'" + std::string(value) + "' is no layer's number");
           }},
      {.name = "top",
       .value = "K",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "how many of each list to print",
       .text = "How many layers, experts, pairs or keys a list names, the most remarkable first. By default "
               "10, and "
               "with --layer all experts.",
       .set = [&o](std::string_view value) { o.top = parse_positive(value, most); }},
      {.name = "by",
       .value = "WHAT",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "prompt, generated, phase, request, token or label",
       .text =
           "prompt and generated look at those tokens alone. phase, request, token (the id) and label part "
           "the "
           "tokens and compare the parts; with label, experts that prefer one label are named, see LABELS in "
           "baleen-route-stats(1).",
       .choices = {"prompt", "generated", "phase", "request", "token", "label"},
       .set =
           [&o](std::string_view value) {
             o.by = parse_choice<By>(value, {{"prompt", By::prompt},
                                             {"generated", By::generated},
                                             {"phase", By::phase},
                                             {"request", By::request},
                                             {"token", By::token},
                                             {"label", By::label}});
           }},
      {.name = "coactivation",
       .group = group,
       .brief = "pairs of experts chosen together above chance",
       .text = "Pairs of experts of a layer that tokens go to together more often than their loads explain.",
       .set = [&o](std::string_view) { o.coactivation = true; }},
      {.name = "stability",
       .group = group,
       .brief = "the log's first half beside its second",
       .text = "How far apart the first and the second half of the tokens are, layer by layer.",
       .set = [&o](std::string_view) { o.stability = true; }},
      {.name = "compare",
       .value = "OTHER",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "how far the loads of another log are from these",
       .text = "Read another log (or loads as JSON) of a model of the same shape, and tell how far its loads "
               "are from "
               "these: the Jensen-Shannon divergence layer by layer beside what chance would show, and the "
               "experts "
               "that differ most.",
       .set = [&o](std::string_view value) { o.compare = parse_path(value); }},
      {.name = "cache-curve",
       .group = group,
       .brief = "what share of expert reads a cache would serve",
       .text = "What share of expert reads a cache of N experts would serve, for every N: with LRU, with "
               "LFU, and the "
               "best possible (Belady); for a cache that all layers share also with baleen's own rule, which "
               "is simulated at ten sizes. And how often a token's experts are those of the token before it.",
       .set = [&o](std::string_view) { o.cache_curve = true; }},
  };
}

Option bytes_option(std::string_view name, std::string_view value, std::string_view brief,
                    std::string_view text, std::optional<std::uint64_t>& target) {
  return {.name = name,
          .value = value,
          .argument = Option::Argument::text,
          .group = "What to look at",
          .brief = brief,
          .text = text,
          .in_brief = false,
          .set = [&target, value](std::string_view given) {
            target = parse_bytes(given);
            if (*target == 0) throw UsageError("expected a " + std::string(value) + " above 0");
          }};
}

Option speed_option(std::string_view name, std::string_view brief, std::string_view text,
                    std::optional<double>& target) {
  return {.name = name,
          .value = "X",
          .argument = Option::Argument::text,
          .group = "What to look at",
          .brief = brief,
          .text = text,
          .in_brief = false,
          .set = [&target](std::string_view value) {
            target = parse_number(value, 0, 1e308);
            if (*target == 0) throw UsageError("expected a number above 0");
          }};
}

std::vector<Option> cache_options(RouteStatsOptions& o) {
  return {
      bytes_option(
          "cache-budget", "SIZE", "what a cache of experts of this size would serve",
          "With --cache-curve: what a cache of experts of SIZE bytes (2G, 500M) would serve, and how "
          "much a token would read. How large an expert is, -m or --expert-bytes tells.",
          o.cache_budget),
      bytes_option("expert-bytes", "SIZE", "bytes of one expert, where no model is at hand",
                   "With --cache-budget: bytes of one expert, all its matrices and scales together. By "
                   "default those of the model of -m.",
                   o.expert_bytes),
      bytes_option(
          "disk", "SPEED", "bytes a second that the disk reads, for tokens a second",
          "With --cache-budget: how many bytes a second the disk reads (3.2G), which bounds the tokens "
          "a second.",
          o.disk),
      speed_option(
          "prefill-tps", "prompt tokens a second with all weights in memory",
          "With --disk: how many prompt tokens a second the machine evaluates when all weights are in "
          "memory, as baleen bench measures it, of the model or of its --shape. Reading and computing "
          "overlap at best, so that the slower of them bounds the tokens a second; what comes out "
          "without any overlap is printed too.",
          o.prefill_speed),
      speed_option("decode-tps", "the same of generated tokens", "With --disk: the same of generated tokens.",
                   o.decode_speed),
  };
}

Option size_option(std::string_view name, std::string_view value, std::string_view brief,
                   std::string_view text, std::optional<std::size_t>& target) {
  return {.name = name,
          .value = value,
          .argument = Option::Argument::text,
          .group = "Placement and balance",
          .brief = brief,
          .text = text,
          .in_brief = false,
          .set = [&target](std::string_view given) { target = parse_positive(given, most); }};
}

std::vector<Option> plan_options(RouteStatsOptions& o) {
  constexpr std::string_view group = "Placement and balance";
  return {
      {.name = "plan",
       .group = group,
       .brief = "print an EPLB placement of the experts on GPUs as JSON",
       .text = "Print as JSON where EPLB, DeepSeek's load balancer, would put the experts on GPUs, and the "
               "load balance "
               "before and after. Needs --replicas and --gpus.",
       .set = [&o](std::string_view) { o.plan = true; }},
      size_option("replicas", "R", "experts of a layer over all GPUs, copies counted",
                  "With --plan: experts of a layer over all GPUs, copies counted.", o.replicas),
      size_option(
          "groups", "G", "groups of the router",
          "With --plan: groups of experts, which stay together on a node where nodes divide them. By default "
          "those of the model's router.",
          o.groups),
      size_option("nodes", "N", "machines", "With --plan: machines. By default 1.", o.nodes),
      size_option("gpus", "P", "GPUs of all machines", "With --plan: GPUs of all machines together.", o.gpus),
      {.name = "suggest-bias",
       .value = "GAMMA",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "print the next correction bias as JSON",
       .text = "Print as JSON, for each layer, the e_score_correction_bias that follows from this load by "
               "DeepSeek-V3's rule: overloaded experts down by GAMMA, underloaded ones up. Needs a log with "
               "--route-log-detail scores, which holds the bias.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.suggest_bias = parse_number(value, 0, 1e6); }},
      {.name = "simulate-bias",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "the balance that other biases would have given",
       .text = "Replay a log with --route-log-detail scores with the biases in FILE, as --suggest-bias "
               "prints them, "
               "and report the loads that they would have given. Exact for each layer's own choice; that "
               "later layers "
               "would have seen other inputs is not in it.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.simulate_bias = parse_path(value); }},
  };
}

std::vector<Option> output_options(RouteStatsOptions& o) {
  using Format = RouteStatsOptions::Format;
  constexpr std::string_view group = "Output";
  return {
      {.name = "json",
       .group = group,
       .brief = "print JSON",
       .text =
           "Print JSON, see OUTPUT in baleen-route-stats(1). It is an input that this command takes, too.",
       .set =
           [&o](std::string_view) {
             o.format = Format::json;
             o.json_given = true;
           }},
      {.name = "csv",
       .group = group,
       .brief = "print a line for each expert of each layer",
       .text = "Print layer, expert, load and utilization, a line for each expert of each layer; with --by "
               "phase, "
               "request, token or label one for each of those too.",
       .set =
           [&o](std::string_view) {
             o.format = Format::csv;
             o.csv_given = true;
           }},
      {.name = "svg",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "write a heat map, or with --layer a histogram",
       .text = "Write a picture: a heat map of layers by experts, or with --layer the histogram of that "
               "layer. The "
               "report is printed as well. - is standard output, where the picture takes the report's place.",
       .set = [&o](std::string_view value) { o.svg = parse_path(value); }},
      {.name = "force",
       .group = group,
       .brief = "write over a picture that is there",
       .text = "Write over a picture that is there already.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.force = true; }},
      {.name = "ascii",
       .group = group,
       .brief = "bars of ASCII characters",
       .text = "Draw bars of ASCII characters, for terminals and fonts without block elements.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.ascii = true; }},
  };
}

}  // namespace

Command route_stats_definition(RouteStatsOptions& target) {
  Command command = {
      .name = "route-stats",
      .summary = "show what the experts are doing",
      .synopsis = "[OPTION]... LOG...",
      .about =
          "Reads route logs, which `baleen run --route-log` writes, and shows how the load is spread over "
          "the "
          "experts of each layer. Several logs of one model are taken together; - is standard input. Loads "
          "as JSON "
          "(what --json prints, or objects with \"layer\" and \"load\") will do, too. With -f the model "
          "reads a text "
          "and no log is needed.",
      .dash_hint = "a file whose name begins with - goes after --",
      .examples =
          {{"Log a run, and look at it:",
            "baleen run --route-log routes.jsonl 'What is 347 + 589?' && baleen route-stats routes.jsonl"},
           {"What a model does with a text, as a picture too:",
            "baleen route-stats -m DIR -f text.txt --svg load.svg"},
           {"Which experts prefer which kind of text:", "baleen route-stats --by label routes.jsonl"},
           {"How fast 8 GiB for experts and a disk of 3 GiB a second could be:",
            "baleen route-stats --cache-curve --cache-budget 8G --disk 3G -m DIR routes.jsonl"}},
      .options = {},
      .operands = [&target](std::vector<std::string> words) { target.logs = std::move(words); },
  };
  for (auto&& group :
       {input_options(target), view_options(target), cache_options(target), plan_options(target),
        output_options(target), machine_options(target), message_options(target)}) {
    command.options.insert(command.options.end(), group.begin(), group.end());
  }
  return command;
}

}  // namespace baleen::cmd
