#include "cmd/quantize_options.h"

#include <utility>

#include "cmd/model_folder.h"
#include "error.h"
#include "report/units.h"

namespace baleen::cmd {
namespace {

constexpr std::size_t widest_group = std::size_t{1} << 24;
constexpr std::size_t most_tokens = std::size_t{1} << 30;
constexpr std::uint64_t least_shard = std::uint64_t{1} << 20;

std::vector<Option> format_options(QuantizeOptions& o) {
  constexpr std::string_view group = "Format";
  return {
      {.name = "to",
       .value = "FORMAT",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "int8, int4, fp8 or mxfp4",
       .text = "How weights are stored. int8 and int4: integers with a scale for each group of columns, the "
               "pack-quantized format of compressed-tensors. fp8: e4m3 with a scale for each block of 128 by "
               "128, as DeepSeek publishes. mxfp4: e2m1 with a power of two for each 32 columns, "
               "compressed-tensors' mxfp4-pack-quantized. Attention, experts and dense layers are quantized; "
               "routers, norms, embeddings and the output head stay as they are.",
       .choices = {"int8", "int4", "fp8", "mxfp4"},
       .set =
           [&o](std::string_view value) {
             o.to = parse_choice<Encoding>(value, {{"int8", Encoding::int8},
                                                   {"int4", Encoding::int4},
                                                   {"fp8", Encoding::fp8},
                                                   {"mxfp4", Encoding::mxfp4}});
           }},
      {.name = "group",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "columns that share a scale in int8 and int4, or channel",
       .text = "Columns that share a scale in int8 and int4; channel: all of a row. A matrix whose rows the "
               "group does not divide is not quantized, and is named: it stays as stored, or becomes bf16 "
               "where OUT's form has no room for what it is.",
       .fallback = "32",
       .set =
           [&o](std::string_view value) {
             o.group = value == "channel" ? whole_row : parse_positive(value, widest_group);
             o.group_given = true;
           }},
      {.name = "bits",
       .value = "RULES",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "formats by kind of tensor and layer: experts=int4,attention=int8",
       .text =
           "Formats by kind of tensor and layer: rules KIND=FORMAT or KIND@LAYERS=FORMAT, parted by commas. "
           "KIND is experts, shared, dense, attention or all; LAYERS are numbers and ranges, such as 0-2,5; "
           "FORMAT is int4, int8, fp8, mxfp4 or keep, int4 and int8 also with a group of their own, such as "
           "int4:64 or int8:channel. Of several rules for a tensor the last one holds; what no rule speaks "
           "of is stored as --to says, or stays.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.bits = value; }},
      {.name = "keep",
       .value = "REGEX",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "leave modules as they are in whose name REGEX is found",
       .text = "Leave modules as they are in whose name the regular expression is found, such as "
               "'layers\\.0\\.' or 'kv_b_proj'. One that is found in no name is an error. What is fp8 in IN "
               "becomes bf16 beside other formats.",
       .repeatable = true,
       .in_brief = false,
       .set = [&o](std::string_view value) { o.keep.emplace_back(value); }},
      {.name = "only",
       .value = "REGEX",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "quantize modules alone in whose name REGEX is found",
       .text = "Quantize no modules but those in whose name the regular expression is found.",
       .repeatable = true,
       .in_brief = false,
       .set = [&o](std::string_view value) { o.only.emplace_back(value); }},
  };
}

std::vector<Option> importance_options(QuantizeOptions& o) {
  constexpr std::string_view group = "By importance";
  return {
      {.name = "target-size",
       .value = "SIZE",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "choose int4, int8 or none by layer, to meet a size",
       .text =
           "Choose int4, int8 or the form that is there for each kind of matrix in each layer, so that all "
           "shards together take SIZE at most: bits go where the error, measured on a sample, times the "
           "share of tokens that meet it is largest. In place of --to; what --bits speaks of is stored as it "
           "says.",
       .set = [&o](std::string_view value) { o.target_size = parse_bytes(value); }},
      {.name = "route-log",
       .value = "FILE",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "how much each expert is asked for, for --target-size",
       .text =
           "How much each expert is asked for: a log that baleen run --route-log has written, or what baleen "
           "route-stats --json prints. Without it all experts of a layer count alike.",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.route_log = parse_path(value); }},
      {.name = "per-expert",
       .group = group,
       .brief = "choose for each routed expert, not for a layer's together",
       .text = "Choose for each routed expert by itself, not for a layer's together. Such a folder loads in "
               "baleen, and elsewhere once compressed-tensors has converted it; a warning says so.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.per_expert = true; }},
  };
}

std::vector<Option> quality_options(QuantizeOptions& o) {
  constexpr std::string_view group = "Quality";
  return {
      {.name = "scale",
       .value = "RULE",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "mse: scales of least squared error; minmax: of the largest weight",
       .text =
           "How scales are found. mse tries ratios of the largest weight of a group and takes the one of "
           "least squared error; minmax maps the largest weight to the largest code, as compressed-tensors "
           "does.",
       .fallback = "mse",
       .choices = {"mse", "minmax"},
       .set =
           [&o](std::string_view value) {
             o.scale =
                 parse_choice<ScaleRule>(value, {{"mse", ScaleRule::mse}, {"minmax", ScaleRule::minmax}});
           }},
      {.name = "calibrate",
       .value = "TEXT",
       .argument = Option::Argument::file,
       .group = group,
       .brief = "let the model read a text, and weigh errors by what each matrix reads",
       .text = "Let the model read the text in the file TEXT, and weigh squared errors by the mean square of "
               "what "
               "each matrix reads, routed experts by their own tokens. A matrix that fewer than 16 tokens "
               "reach is "
               "quantized without, and counted.",
       .set = [&o](std::string_view value) { o.calibrate = parse_path(value); }},
      {.name = "method",
       .value = "NAME",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "rtn: round to nearest; gptq: feed errors back, with --calibrate",
       .text =
           "rtn rounds each weight by itself. gptq (Frantar et al., 2022) goes column by column and makes "
           "good "
           "what rounding did to a matrix's outputs with the columns that still come; it needs --calibrate.",
       .fallback = "rtn",
       .choices = {"rtn", "gptq"},
       .set =
           [&o](std::string_view value) {
             o.feedback = parse_choice<bool>(value, {{"rtn", false}, {"gptq", true}});
           }},
      {.name = "calibrate-tokens",
       .value = "N",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "tokens of the text at most",
       .text = "Tokens of the text of --calibrate at most; the more experts a model has, the more it takes "
               "for each "
               "to see some.",
       .fallback = "65536",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.calibrate_tokens = parse_positive(value, most_tokens); }},
      {.name = "memory",
       .value = "SIZE",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "memory that --calibrate may take (default: what the machine can spare)",
       .text = "Memory that --calibrate may take beside the page cache; what does not fit goes to a "
               "temporary file in "
               "OUT.partial. Too little is an error that names the least that works. By default four fifths "
               "of what "
               "the machine can spare, as with auto.",
       .env = "BALEEN_MEMORY",
       .in_brief = false,
       .set = [&o](std::string_view value) { o.memory = parse_memory(value); },
       .set_by_env = [&o] { o.memory->source = "BALEEN_MEMORY"; }},
  };
}

std::vector<Option> output_options(QuantizeOptions& o) {
  constexpr std::string_view group = "Output";
  return {
      {.name = "dry-run",
       .group = group,
       .brief = "print what would become of each kind of tensor, and stop",
       .text =
           "Print what would become of each kind of tensor, the sizes, and the error to expect, measured on "
           "a sample of rows without calibration; write nothing. OUT may be left away.",
       .set = [&o](std::string_view) { o.dry_run = true; }},
      {.name = "verify",
       .group = group,
       .brief = "read the result back and print its error",
       .text =
           "Read the result back before it gets its name, beside what it was made of, and print the relative "
           "RMS error by kind of tensor.",
       .set = [&o](std::string_view) { o.verify = true; }},
      {.name = "resume",
       .group = group,
       .brief = "go on where an interrupted run ended",
       .text = "Go on with OUT.partial where an interrupted run ended, whatever ended it: the result is the "
               "same, "
               "byte for byte. Begins anew if there is none; writes nothing if OUT is done already.",
       .set = [&o](std::string_view) { o.resume = true; }},
      {.name = "force",
       .group = group,
       .brief = "replace OUT, and throw unfinished work away",
       .text = "Replace OUT if it is a model's folder, and throw unfinished work of an earlier run away. OUT "
               "stays as it was until the new one is whole.",
       .set = [&o](std::string_view) { o.force = true; }},
      {.name = "shard-size",
       .value = "SIZE",
       .argument = Option::Argument::text,
       .group = group,
       .brief = "bytes of a file at most",
       .text = "Bytes of a *.safetensors file at most.",
       .fallback = "4G",
       .in_brief = false,
       .set =
           [&o](std::string_view value) {
             o.shard_size = parse_bytes(value);
             if (o.shard_size < least_shard)
               throw UsageError("'" + std::string(value) + "' is too small for a shard: from 1M");
           }},
      {.name = "check",
       .value = "DIR",
       .argument = Option::Argument::folder,
       .group = group,
       .brief = "check a quantized folder: sizes, index, scales, checksums",
       .text = "Read a quantized folder whole: sizes, index, finite scales, and the checksums that "
               "baleen-quantize.json holds. Exit status 1 if anything is wrong.",
       .set = [&o](std::string_view value) { o.check = check_folder(parse_path(value)).string(); }},
      {.name = "json",
       .group = group,
       .brief = "print JSON",
       .text = "Print the report as one JSON object.",
       .in_brief = false,
       .set = [&o](std::string_view) { o.json = true; }},
  };
}

}  // namespace

Command quantize_definition(QuantizeOptions& target) {
  Command command = {
      .name = "quantize",
      .summary = "make a checkpoint smaller",
      .synopsis = "[OPTION]... IN OUT --to FORMAT",
      .about =
          "Reads the model in the folder IN and writes it to the folder OUT with quantized weights, in the "
          "formats that vLLM, transformers and baleen load. Memory stays under 1 GiB whatever the model's "
          "size. Until it is whole, OUT is called OUT.partial.",
      .dash_hint = "a folder whose name begins with - goes after --",
      .examples = {{"Four bits a weight, for baleen, vLLM or transformers:",
                    "baleen quantize Moonlight-16B-A3B moonlight-int4 --to int4"},
                   {"What would it take, and how much would be lost?",
                    "baleen quantize Moonlight-16B-A3B --to int4 --group 64 --dry-run"},
                   {"More bits for what is used most, in 11 GiB:",
                    "baleen quantize Moonlight-16B-A3B OUT --target-size 11G --route-log routes.jsonl"}},
      .options = {},
      .operands =
          [&target](std::vector<std::string> words) {
            if (words.size() > 2) throw UsageError("unexpected argument '" + words[2] + "'");
            if (!words.empty()) target.in = words[0];
            if (words.size() > 1) target.out = words[1];
          },
  };
  for (auto&& group : {format_options(target), importance_options(target), quality_options(target),
                       output_options(target), processor_options(target), message_options(target)}) {
    command.options.insert(command.options.end(), group.begin(), group.end());
  }
  return command;
}

}  // namespace baleen::cmd
