#include <algorithm>
#include <mutex>
#include <optional>
#include <set>
#include <span>

#include "checkpoint/architectures.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/problems.h"
#include "checkpoint/quantization_rules.h"
#include "error.h"

namespace baleen {

namespace {

using nlohmann::json;

// Labels are few and live for ever, so that a Weight may be copied about.
std::string_view intern(const std::string& label) {
  static std::mutex mutex;
  static std::set<std::string> labels;
  const std::lock_guard lock(mutex);
  return *labels.insert(label).first;
}

// A key that must be absent or null, because what it asks for would change results. An empty object asks for
// compressed-tensors' defaults.
void refuse(const JsonFields& fields, std::string_view key, const std::string& what) {
  const json* value = fields.find(key);
  if (value == nullptr || value->is_null()) return;
  fields.problem(key, shown(*value) + ", expected null: " + what);
}

void expect_text(const JsonFields& fields, std::string_view key,
                 std::initializer_list<std::string_view> supported) {
  if (!fields.is_set(key)) return;
  const std::string text = fields.text(key).value_or("");
  if (std::find(supported.begin(), supported.end(), text) != supported.end()) return;
  std::string list;
  for (const std::string_view name : supported) list.append(list.empty() ? "" : " or ").append(name);
  if (fields.find(key)->is_string()) fields.expected(key, list);
}

NameList read_names(const JsonFields& fields, std::string_view key) {
  try {
    return NameList(fields.texts(key));
  } catch (const Error& error) {
    fields.problem(key, error.what());
    return {};
  }
}

// DeepSeek's block format (transformers' FineGrainedFP8Config). scale_fmt is not asked: DeepSeek-V3.1 says
// ue8m0 of scales that lie in the file as F32, so the tensor's own type decides.
void read_fp8(const JsonFields& fields, Quantization::Rules& rules) {
  rules.method = QuantMethod::fp8;
  expect_text(fields, "fmt", {"e4m3"});
  expect_text(fields, "activation_scheme", {"dynamic"});
  expect_text(fields, "expert_dtype", {"fp8"});
  rules.ignore = read_names(
      fields, fields.is_set("modules_to_not_convert") ? "modules_to_not_convert" : "ignored_layers");
  if (fields.is_null("weight_block_size")) {
    rules.block_rows = rules.block_cols = 0;
    rules.fp8_label = intern("fp8 per tensor");
    return;
  }
  if (const json* size = fields.find("weight_block_size")) {
    const auto good = [](const json& n) {
      return n.is_number_unsigned() && n.get<std::uint64_t>() > 0 && n.get<std::uint64_t>() <= max_width;
    };
    if (!size->is_array() || size->size() != 2 || !good((*size)[0]) || !good((*size)[1]))
      return fields.expected("weight_block_size", "two numbers above 0, or null");
    rules.block_rows = (*size)[0].get<std::size_t>();
    rules.block_cols = (*size)[1].get<std::size_t>();
  }
  rules.fp8_label =
      intern("fp8 " + std::to_string(rules.block_rows) + "x" + std::to_string(rules.block_cols));
}

// The strategy may be left to group_size (compressed_tensors' QuantizationArgs.validate_model_after).
void read_strategy(const JsonFields& fields, PackedScheme& scheme) {
  const json* size = fields.is_set("group_size") ? fields.find("group_size") : nullptr;
  const bool is_channel = size != nullptr && *size == -1;
  if (size != nullptr && !is_channel)
    scheme.group_size = fields.whole("group_size", 1, max_width).value_or(0);
  if (!fields.is_set("strategy")) {
    scheme.strategy = size == nullptr ? Strategy::tensor : is_channel ? Strategy::channel : Strategy::group;
    return;
  }
  expect_text(fields, "strategy", {"group", "channel", "tensor"});
  const std::string name = fields.text("strategy").value_or("group");
  scheme.strategy = name == "channel"  ? Strategy::channel
                    : name == "tensor" ? Strategy::tensor
                                       : Strategy::group;
  if (scheme.strategy == Strategy::group && (size == nullptr || is_channel))
    fields.expected("group_size", "a number above 0 with strategy group");
}

// actorder "group" (and its old spellings) lets columns belong to groups out of order; "weight" and "static"
// leave no trace in the file.
void read_actorder(const JsonFields& fields, PackedScheme& scheme) {
  const json* value = fields.is_set("actorder") ? fields.find("actorder") : nullptr;
  if (value == nullptr || *value == false) return;
  if (!value->is_boolean()) expect_text(fields, "actorder", {"group", "dynamic", "weight", "static"});
  if (!value->is_boolean() && !value->is_string())
    fields.expected("actorder", "null, group, dynamic, weight or static");
  scheme.has_group_index = *value == true || *value == "group" || *value == "dynamic";
}

constexpr std::string_view integer_format = "pack-quantized";
constexpr std::string_view mxfp4_format = "mxfp4-pack-quantized";

std::string_view packed_label(const PackedScheme& scheme) {
  if (scheme.is_mxfp4) return "mxfp4";
  std::string label = "int" + std::to_string(scheme.bits);
  switch (scheme.strategy) {
    case Strategy::tensor:
      label += " tensor";
      break;
    case Strategy::channel:
      label += " channel";
      break;
    case Strategy::group:
      label += " group " + std::to_string(scheme.group_size);
      break;
  }
  if (!scheme.symmetric) label += " asymmetric";
  return intern(label);
}

// compressed-tensors' MXFP4PackedCompressor, which has the OCP Microscaling format alone: e2m1 in groups of
// 32.
void expect_mxfp4(const JsonFields& fields, const PackedScheme& scheme) {
  if (fields.text("type").value_or("") != "float") fields.expected("type", "float");
  if (scheme.bits != 4) fields.expected("num_bits", "4");
  if (scheme.strategy != Strategy::group) fields.expected("strategy", "group");
  if (scheme.strategy == Strategy::group && scheme.group_size != 32) fields.expected("group_size", "32");
  if (!scheme.symmetric) fields.expected("symmetric", "true");
  if (scheme.has_group_index) fields.expected("actorder", "null, weight or static");
  expect_text(fields, "scale_dtype", {"torch.uint8"});
}

PackedScheme read_weights(const JsonFields& fields, bool is_mxfp4) {
  PackedScheme scheme;
  scheme.is_mxfp4 = is_mxfp4;
  const std::size_t bits = fields.has("num_bits") ? fields.whole("num_bits", 1, 8).value_or(4) : 8;
  if (bits != 4 && bits != 8) fields.expected("num_bits", "4 or 8");
  scheme.bits = static_cast<unsigned>(bits);
  if (!is_mxfp4) expect_text(fields, "type", {"int"});
  scheme.symmetric = fields.boolean("symmetric").value_or(true);
  if (fields.is_set("dynamic") && *fields.find("dynamic") != false) fields.expected("dynamic", "false");
  refuse(fields, "block_structure", "scales of blocks are supported in fp8 only");
  read_strategy(fields, scheme);
  read_actorder(fields, scheme);
  if (scheme.has_group_index && scheme.strategy != Strategy::group)
    fields.expected("actorder", "null: it needs strategy group");
  // compressed-tensors stores this one zero point unpacked, unlike all others.
  if (scheme.strategy == Strategy::tensor && !scheme.symmetric)
    fields.expected("symmetric", "true with strategy tensor");
  if (is_mxfp4) expect_mxfp4(fields, scheme);
  scheme.label = packed_label(scheme);
  return scheme;
}

void read_config_group(const JsonFields& group, std::string_view default_format, Quantization::Rules& rules) {
  const bool has_format = group.is_set("format");
  const std::string format = has_format ? group.text("format").value_or("") : std::string(default_format);
  if (has_format)
    expect_text(group, "format", {integer_format, mxfp4_format});
  else if (format != integer_format && format != mxfp4_format)
    group.problem("format", "not given, expected pack-quantized or mxfp4-pack-quantized");
  refuse(group, "input_activations", "quantized activations are not supported");
  refuse(group, "output_activations", "quantized activations are not supported");
  if (!group.is_set("weights")) return group.expected("weights", "an object");
  const JsonFields weights(group.object("weights"), group.path() + "weights.", group.problems());
  PackedScheme scheme = read_weights(weights, format == mxfp4_format);
  try {
    for (const std::string& target : group.texts("targets")) rules.add_target(target, rules.schemes.size());
  } catch (const Error& error) {
    group.problem("targets", error.what());
  }
  rules.schemes.push_back(std::move(scheme));
}

// compressed-tensors' QuantizationConfig. `group_names` are the keys of config_groups.
void read_compressed_tensors(const JsonFields& fields, std::span<const std::string> group_names,
                             Quantization::Rules& rules) {
  rules.method = QuantMethod::pack_quantized;
  const std::string format = fields.is_set("format") ? fields.text("format").value_or("") : "";
  // "mixed-precision" leaves the format to each group.
  expect_text(fields, "format", {integer_format, mxfp4_format, "mixed-precision"});
  refuse(fields, "kv_cache_scheme", "a quantized KV cache is not supported");
  if (!fields.object("transform_config").empty())
    refuse(fields, "transform_config", "transformed weights are not supported");
  const json& sparsity = fields.object("sparsity_config");
  if (sparsity.contains("format") && sparsity["format"] != "dense")
    fields.problem("sparsity_config.format", shown(sparsity["format"]) + ", expected dense");
  rules.ignore = read_names(fields, "ignore");
  // With a wrong format the groups' details would only repeat it.
  if (!fields.problems().empty()) return;
  const json& groups = fields.object("config_groups");
  if (groups.empty()) fields.expected("config_groups", "an object with at least one group");
  for (const std::string& name : group_names) {
    const json& group = groups.at(name);
    const std::string path = fields.path() + "config_groups." + name + ".";
    if (!group.is_object()) {
      fields.problem("config_groups." + name, shown(group) + ", expected an object");
      continue;
    }
    read_config_group(JsonFields(group, path, fields.problems()), format, rules);
  }
}

void read_method(const JsonFields& fields, std::span<const std::string> group_names,
                 Quantization::Rules& rules) {
  constexpr const char* supported = "fp8 or compressed-tensors";
  if (!fields.is_set("quant_method")) return fields.expected("quant_method", supported);
  const std::string method = fields.text("quant_method").value_or("");
  if (method == "fp8")
    read_fp8(fields, rules);
  else if (method == "compressed-tensors")
    read_compressed_tensors(fields, group_names, rules);
  else if (fields.find("quant_method")->is_string())
    fields.expected("quant_method", supported);
}

}  // namespace

void Quantization::Rules::add_target(const std::string& text, std::size_t scheme) {
  std::optional<NamePattern> pattern;
  if (text.starts_with(pattern_mark)) pattern.emplace(std::string_view(text).substr(pattern_mark.size()));
  targets.insert_or_assign(text, Target{scheme, std::move(pattern)});
}

const PackedScheme* Quantization::Rules::scheme_of(std::string_view module) const {
  const auto named = [&](std::string_view name) {
    const auto at = targets.find(name);
    return at == targets.end() ? nullptr : &schemes[at->second.scheme];
  };
  if (const PackedScheme* scheme = named(module)) return scheme;
  for (auto at = targets.lower_bound(pattern_mark); at != targets.end() && at->second.pattern; ++at)
    if (at->second.pattern->matches(module)) return &schemes[at->second.scheme];
  return named("Linear");
}

Quantization::Quantization() : rules_(std::make_shared<const Rules>()) {}
Quantization::Quantization(std::shared_ptr<const Rules> rules) : rules_(std::move(rules)) {}

std::string Quantization::description() const {
  std::string text(rules_->fp8_label);
  for (const PackedScheme& scheme : rules_->schemes)
    text.append(text.empty() ? "" : ", ").append(scheme.label);
  return text;
}

Quantization parse_quantization(std::string_view config_json, std::string_view file) {
  const json document = parse_json_object(config_json, file);
  std::vector<std::string> problems;
  const JsonFields config(document, "", problems);
  // compressed-tensors' older name for it.
  const std::string key = config.is_set("quantization_config") ? "quantization_config" : "compression_config";
  auto rules = std::make_shared<Quantization::Rules>();
  rules->file = file;
  if (config.is_set(key))
    read_method(JsonFields(config.object(key), key + ".", problems),
                keys_in_order(config_json, {key, "config_groups"}), *rules);
  throw_problems(file, problems);
  return Quantization(std::move(rules));
}

}  // namespace baleen
