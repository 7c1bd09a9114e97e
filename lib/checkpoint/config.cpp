#include "checkpoint/config.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "checkpoint/architectures.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/problems.h"
#include "checkpoint/rope_config.h"
#include "error.h"

namespace baleen {

namespace {

using nlohmann::json;

// Reads one config by the table of its architecture. Every step puts what is wrong on the list and goes on.
class ConfigReader {
 public:
  ConfigReader(const json& document, const Architecture& architecture, std::vector<std::string>& problems)
      : fields_(document, "", problems), arch_(architecture) {}

  Config read();

 private:
  void read_sizes();
  void read_size(const SizeKey& row);
  std::size_t fallback(const SizeKey& row) const;
  std::string_view spelling(const SizeKey& row) const;
  void read_attention();
  void read_sliding_window();
  void read_router();
  void read_layers();
  void read_tokens();
  void check_allowed() const;
  void check_attention() const;
  void check_router() const;

  JsonFields fields_;
  const Architecture& arch_;
  Config config_;
};

Config ConfigReader::read() {
  config_.model_type = arch_.model_type;
  check_allowed();
  read_sizes();
  config_.rms_norm_eps = fields_.positive("rms_norm_eps").value_or(arch_.rms_norm_eps);
  config_.tie_word_embeddings = fields_.boolean("tie_word_embeddings").value_or(false);
  read_attention();
  read_sliding_window();
  read_router();
  read_layers();
  read_tokens();
  // What was not read is 0, and its checks would only repeat the problem.
  if (!fields_.problems().empty()) return config_;
  check_attention();
  check_router();
  return config_;
}

// Of a key and its other name: the one that is there.
std::string_view ConfigReader::spelling(const SizeKey& row) const {
  if (row.alias.empty() || !fields_.has(row.alias)) return row.key;
  if (fields_.has(row.key) && *fields_.find(row.key) != *fields_.find(row.alias))
    fields_.problem(row.alias, shown(*fields_.find(row.alias)) + ", but " + std::string(row.key) + " is " +
                                   shown(*fields_.find(row.key)));
  return fields_.has(row.key) ? row.key : row.alias;
}

std::size_t ConfigReader::fallback(const SizeKey& row) const {
  if (row.fallback == as_num_attention_heads) return config_.num_attention_heads;
  if (row.fallback != hidden_over_heads) return row.fallback;
  const std::size_t heads = std::max<std::size_t>(config_.num_attention_heads, 1);
  if (config_.hidden_size % heads != 0)
    fields_.problem("hidden_size", std::to_string(config_.hidden_size) +
                                       ", expected a multiple of num_attention_heads " +
                                       std::to_string(heads) + ", as no head_dim is given");
  return config_.hidden_size / heads;
}

void ConfigReader::read_size(const SizeKey& row) {
  const std::string_view key = spelling(row);
  std::size_t& value = config_.*row.field;
  if (fields_.is_null(key) && row.if_null != IfNull::error) {
    value = 0;
    if (row.if_null == IfNull::fallback) value = fallback(row);
    if (row.if_null == IfNull::num_attention_heads) value = config_.num_attention_heads;
    return;
  }
  if (!fields_.has(key)) {
    if (row.fallback == required)
      fields_.expected(key, "a whole number from " + std::to_string(row.limits.min));
    else
      value = fallback(row);
    return;
  }
  value = fields_.whole(key, row.limits.min, row.limits.max).value_or(0);
}

void ConfigReader::read_sizes() {
  for (const SizeKey& row : arch_.sizes) read_size(row);
}

// Keys of which only some values are supported.
void ConfigReader::check_allowed() const {
  for (const AllowedValues& row : arch_.allowed) {
    const json* value = fields_.find(row.key);
    if (value == nullptr) continue;
    std::string list;
    bool found = false;
    for (const std::string_view text : row.values) {
      if (text.empty()) continue;
      found = found || *value == json::parse(text);
      list.append(list.empty() ? "" : " or ").append(text);
    }
    if (!found) fields_.expected(row.key, list);
  }
}

void ConfigReader::read_attention() {
  config_.attention = arch_.attention;
  config_.qk_norm = arch_.qk_norm;
  if (arch_.reads_attention_bias) config_.attention_bias = fields_.boolean("attention_bias").value_or(false);
  if (arch_.reads_clip_qkv && fields_.is_set("clip_qkv"))
    config_.clip_qkv = fields_.positive("clip_qkv").value_or(0);
  RopeLayout layout = arch_.rope_layout;
  if (arch_.reads_rope_interleave && !fields_.boolean("rope_interleave").value_or(true))
    layout = RopeLayout::half_split;
  config_.rope = parse_rope(fields_, {.layout = layout,
                                      .theta = arch_.rope_theta,
                                      .max_position_embeddings = config_.max_position_embeddings,
                                      .scales_softmax = arch_.attention == AttentionKind::mla});
}

// transformers gives every layer the same window: max_window_layers and layer_types have no effect on it.
void ConfigReader::read_sliding_window() {
  bool used = arch_.sliding_window != SlidingWindow::none;
  if (arch_.sliding_window == SlidingWindow::if_used)
    used = fields_.boolean("use_sliding_window").value_or(false);
  std::size_t window = 0;
  if (used && !fields_.is_null("sliding_window"))
    window = fields_.whole("sliding_window", 1, std::numeric_limits<std::uint32_t>::max())
                 .value_or(arch_.sliding_window_size);
  config_.sliding_window.assign(config_.num_hidden_layers, window);
}

void ConfigReader::read_router() {
  config_.scoring_func = arch_.scoring_func;
  config_.topk_method = arch_.topk_methods.front().method;
  const json* method = fields_.find("topk_method");
  for (const TopkMethodName& row : arch_.topk_methods)
    if (method != nullptr && *method == row.name) config_.topk_method = row.method;
  // Groups mean nothing to the greedy choice.
  if (config_.topk_method == TopkMethod::greedy) config_.n_group = config_.topk_group = 1;
  config_.norm_topk_prob = arch_.norm_topk_prob;
  if (arch_.reads_norm_topk_prob)
    config_.norm_topk_prob = fields_.boolean("norm_topk_prob").value_or(arch_.norm_topk_prob);
  config_.topk_norm_eps = arch_.topk_norm_eps;
  if (arch_.routed_scaling_factor)
    config_.routed_scaling_factor =
        fields_.positive("routed_scaling_factor").value_or(*arch_.routed_scaling_factor);
}

void ConfigReader::read_layers() {
  const std::size_t layers = config_.num_hidden_layers;
  config_.is_moe_layer.assign(layers, true);
  if (arch_.moe_layers == MoeLayers::behind_first_k_dense) {
    const std::size_t dense =
        fields_.whole("first_k_dense_replace", 0, max_layers).value_or(arch_.first_k_dense_replace);
    for (std::size_t i = 0; i < std::min(dense, layers); ++i) config_.is_moe_layer[i] = false;
  }
  if (arch_.moe_layers != MoeLayers::by_sparse_step) return;
  const std::size_t step = fields_.whole("decoder_sparse_step", 1, max_layers).value_or(1);
  for (std::size_t i = 0; i < layers; ++i) config_.is_moe_layer[i] = (i + 1) % step == 0;
  const json* dense = fields_.is_set("mlp_only_layers") ? fields_.find("mlp_only_layers") : nullptr;
  if (dense == nullptr) return;
  if (!dense->is_array() || !std::all_of(dense->begin(), dense->end(),
                                         [](const json& layer) { return layer.is_number_unsigned(); }))
    return fields_.expected("mlp_only_layers", "a list of layer numbers");
  for (const json& layer : *dense)
    if (const auto i = layer.get<std::size_t>(); i < layers) config_.is_moe_layer[i] = false;
}

void ConfigReader::read_tokens() {
  // A wrong vocab_size is reported already.
  const std::size_t vocab = config_.vocab_size > 0 ? config_.vocab_size : max_width;
  const auto in_range = [&](std::int32_t id) { return id >= 0 && static_cast<std::size_t>(id) < vocab; };
  if (in_range(arch_.bos_token_id)) config_.bos_token_id = arch_.bos_token_id;
  if (fields_.has("bos_token_id")) {
    const std::vector<std::int32_t> bos = fields_.token_ids("bos_token_id", vocab);
    config_.bos_token_id = bos.size() == 1 ? bos.front() : -1;
    if (bos.size() > 1) fields_.expected("bos_token_id", "one token id");
  }
  if (in_range(arch_.eos_token_id)) config_.eos_token_id = {arch_.eos_token_id};
  if (fields_.has("eos_token_id")) config_.eos_token_id = fields_.token_ids("eos_token_id", vocab);
}

void ConfigReader::check_attention() const {
  const Config& c = config_;
  const auto text = [](std::size_t n) { return std::to_string(n); };
  const bool is_mla = c.attention == AttentionKind::mla;
  if (is_mla && c.num_key_value_heads != c.num_attention_heads)
    fields_.problem("num_key_value_heads", text(c.num_key_value_heads) + ", expected num_attention_heads " +
                                               text(c.num_attention_heads) +
                                               ": every MLA head has its own key");
  if (!is_mla && c.num_attention_heads % c.num_key_value_heads != 0)
    fields_.problem("num_key_value_heads", text(c.num_key_value_heads) + ", expected a divisor of " +
                                               "num_attention_heads " + text(c.num_attention_heads));
  if (c.qk_norm == QkNorm::full_width && c.num_attention_heads * c.head_dim != c.hidden_size)
    fields_.problem("head_dim", text(c.head_dim) + ", expected hidden_size " + text(c.hidden_size) +
                                    " / num_attention_heads " + text(c.num_attention_heads));
  if ((is_mla ? c.qk_rope_head_dim : c.head_dim) % 2 != 0)
    fields_.problem(
        is_mla ? "qk_rope_head_dim" : "head_dim",
        text(is_mla ? c.qk_rope_head_dim : c.head_dim) + ", expected an even number: it is rotated in pairs");
}

void ConfigReader::check_router() const {
  const Config& c = config_;
  const auto text = [](std::size_t n) { return std::to_string(n); };
  const std::string experts = "n_routed_experts " + text(c.n_routed_experts);
  if (c.num_experts_per_tok > c.n_routed_experts)
    fields_.problem("num_experts_per_tok", text(c.num_experts_per_tok) + ", expected at most " + experts);
  if (c.topk_method == TopkMethod::greedy) return;
  if (c.n_group == 0) return fields_.expected("n_group", "a whole number from 1");
  if (c.topk_group == 0) return fields_.expected("topk_group", "a whole number from 1");
  if (c.n_routed_experts % c.n_group != 0)
    return fields_.problem("n_group", text(c.n_group) + ", expected a divisor of " + experts);
  if (c.topk_group > c.n_group)
    fields_.problem("topk_group", text(c.topk_group) + ", expected at most n_group " + text(c.n_group));
  const std::size_t group_size = c.n_routed_experts / c.n_group;
  // DeepSeek-V3 ranks a group by its two best experts.
  if (c.topk_method == TopkMethod::noaux_tc && group_size < 2)
    return fields_.problem("n_group",
                           text(c.n_group) + ", expected groups of two experts at least, with " + experts);
  if (c.num_experts_per_tok <= c.n_routed_experts && c.num_experts_per_tok > c.topk_group * group_size)
    fields_.problem("num_experts_per_tok", text(c.num_experts_per_tok) + ", expected at most the " +
                                               text(c.topk_group * group_size) + " experts of topk_group " +
                                               text(c.topk_group) + " groups");
}

std::string quoted_list(std::span<const std::string_view> names) {
  std::string list;
  for (const std::string_view name : names) list.append(list.empty() ? "" : ", ").append(name);
  return list;
}

const Architecture& find_architecture(const JsonFields& fields, std::string_view file) {
  const std::string supported = quoted_list(supported_model_types());
  const std::optional<std::string> type = fields.text("model_type");
  if (!type) throw FormatError(file, "no model_type, supported are " + supported);
  for (const Architecture& architecture : architectures())
    if (architecture.model_type == *type) return architecture;
  std::string what = "model_type " + shown(*fields.find("model_type")) + ", supported are " + supported;
  if (const json* inner = fields.find("text_config"); inner != nullptr && inner->is_object())
    what +=
        "; this is a multimodal model around a language model (text_config), only plain language models run";
  throw FormatError(file, what);
}

}  // namespace

std::vector<std::string_view> supported_model_types() {
  std::vector<std::string_view> names;
  for (const Architecture& architecture : architectures()) names.push_back(architecture.model_type);
  return names;
}

Config parse_config(std::string_view json_text, std::string_view file) {
  const json document = parse_json_object(json_text, file);
  std::vector<std::string> problems;
  const Architecture& architecture = find_architecture(JsonFields(document, "", problems), file);
  Config config = ConfigReader(document, architecture, problems).read();
  throw_problems(file, problems);
  return config;
}

}  // namespace baleen
