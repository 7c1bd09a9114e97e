#include "checkpoint/rope_config.h"

#include <array>
#include <cmath>
#include <string>
#include <utility>

namespace baleen {

namespace {

constexpr std::array<std::pair<std::string_view, RopeType>, 4> rope_types = {{{"default", RopeType::standard},
                                                                              {"linear", RopeType::linear},
                                                                              {"yarn", RopeType::yarn},
                                                                              {"llama3", RopeType::llama3}}};

// YaRN's temperature, "mscale" in DeepSeek's code (yarn_get_mscale): 0.1 * mscale * ln(factor) + 1.
double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// A number that null or 0 leaves at its default, as Python's `x or default` does.
double number_or(const JsonFields& fields, std::string_view key, double fallback) {
  if (!fields.is_set(key)) return fallback;
  const double value = fields.number(key).value_or(fallback);
  return value == 0 ? fallback : value;
}

double required_positive(const JsonFields& fields, std::string_view key) {
  if (!fields.has(key)) fields.expected(key, "a number above 0");
  return fields.positive(key).value_or(1);
}

// "rope_type", once "type".
RopeType read_type(const JsonFields& fields) {
  const std::string_view key = fields.has("rope_type") ? "rope_type" : "type";
  if (!fields.has(key)) return RopeType::standard;
  const std::string name = fields.text(key).value_or("default");
  for (const auto& [known, type] : rope_types)
    if (known == name) return type;
  fields.expected(key, "default, linear, yarn or llama3");
  return RopeType::standard;
}

// The length before the context was extended. transformers lets one outside rope_scaling win.
std::size_t read_original_length(const JsonFields& config, const JsonFields& rope, std::size_t fallback) {
  constexpr std::string_view key = "original_max_position_embeddings";
  const JsonFields& source = config.is_set(key) ? config : rope;
  if (!source.is_set(key)) return fallback;
  constexpr double max_length = 1u << 30;
  const double length = source.positive(key).value_or(1);
  if (length < 1 || length > max_length || length != std::floor(length)) {
    source.expected(key, "a whole number from 1 to 1073741824");
    return 1;
  }
  return static_cast<std::size_t>(length);
}

// The factor on cos and sin (transformers' _compute_yarn_parameters).
double yarn_attention_factor(const JsonFields& fields, double factor) {
  if (fields.is_set("attention_factor")) return fields.positive("attention_factor").value_or(1);
  const double mscale = number_or(fields, "mscale", 0);
  const double mscale_all_dim = number_or(fields, "mscale_all_dim", 0);
  if (mscale != 0 && mscale_all_dim != 0)
    return yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all_dim);
  return yarn_mscale(factor, 1);
}

void read_yarn(const JsonFields& fields, const RopeDefaults& defaults, RopeConfig& rope) {
  // A null factor stands for the ratio of the two lengths.
  rope.factor = fields.is_null("factor") ? static_cast<double>(defaults.max_position_embeddings) /
                                               static_cast<double>(rope.original_max_position_embeddings)
                                         : required_positive(fields, "factor");
  rope.beta_fast = number_or(fields, "beta_fast", 32);
  rope.beta_slow = number_or(fields, "beta_slow", 1);
  if (rope.beta_fast <= 0) fields.expected("beta_fast", "a number above 0");
  if (rope.beta_slow <= 0) fields.expected("beta_slow", "a number above 0");
  rope.truncate = fields.boolean("truncate").value_or(true);
  rope.attention_factor = yarn_attention_factor(fields, rope.factor);
}

void read_llama3(const JsonFields& fields, RopeConfig& rope) {
  rope.factor = required_positive(fields, "factor");
  rope.low_freq_factor = required_positive(fields, "low_freq_factor");
  rope.high_freq_factor = required_positive(fields, "high_freq_factor");
  if (rope.high_freq_factor <= rope.low_freq_factor && fields.has("high_freq_factor"))
    fields.expected("high_freq_factor", "more than low_freq_factor");
}

void read_type_parameters(const JsonFields& fields, const RopeDefaults& defaults, RopeConfig& rope) {
  switch (rope.type) {
    case RopeType::standard:
      break;
    case RopeType::linear:
      rope.factor = required_positive(fields, "factor");
      break;
    case RopeType::yarn:
      read_yarn(fields, defaults, rope);
      break;
    case RopeType::llama3:
      read_llama3(fields, rope);
      break;
  }
}

// DeepSeek's attention multiplies its softmax scale by mscale squared, whatever the (non-default) type.
double softmax_mscale(const JsonFields& fields, const RopeDefaults& defaults, const RopeConfig& rope) {
  const double mscale_all_dim = number_or(fields, "mscale_all_dim", 0);
  if (!defaults.scales_softmax || rope.type == RopeType::standard || mscale_all_dim == 0) return 1;
  const double mscale = yarn_mscale(rope.factor, mscale_all_dim);
  return mscale * mscale;
}

// Rotating a part of each head only, or rotating by layer: known to transformers, not to this program.
void refuse_unsupported(const JsonFields& config, const JsonFields& fields, const nlohmann::json& object) {
  for (const JsonFields* source : {&fields, &config})
    if (source->is_set("partial_rotary_factor") && source->number("partial_rotary_factor").value_or(1) != 1)
      source->expected("partial_rotary_factor", "1: rotating a part of each head is not supported");
  for (const auto& [key, value] : object.items())
    if (value.is_object()) fields.problem(key, "rotary parameters by kind of layer are not supported");
}

}  // namespace

RopeConfig parse_rope(const JsonFields& config, const RopeDefaults& defaults) {
  // The older key wins where it holds anything, as in transformers' convert_rope_params_to_dict.
  const bool older = !config.object("rope_scaling").empty();
  const std::string key = older ? "rope_scaling" : "rope_parameters";
  const nlohmann::json& object = older ? config.object("rope_scaling") : config.object("rope_parameters");
  const JsonFields fields(object, key + ".", config.problems());
  refuse_unsupported(config, fields, object);

  RopeConfig rope;
  rope.layout = defaults.layout;
  rope.type = read_type(fields);
  const JsonFields& theta_source = fields.has("rope_theta") ? fields : config;
  rope.theta = theta_source.positive("rope_theta").value_or(defaults.theta);
  // YaRN divides by its logarithm.
  if (rope.theta <= 1) theta_source.expected("rope_theta", "a number above 1");
  rope.original_max_position_embeddings =
      read_original_length(config, fields, defaults.max_position_embeddings);
  read_type_parameters(fields, defaults, rope);
  rope.softmax_mscale = softmax_mscale(fields, defaults, rope);
  for (const double resolved : {rope.attention_factor, rope.softmax_mscale})
    if (!(resolved > 0) || !std::isfinite(resolved))
      config.problem(key, "factor and mscale give an attention scale of " + std::to_string(resolved) +
                              ", expected a number above 0");
  return rope;
}

}  // namespace baleen
