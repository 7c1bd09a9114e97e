#include "checkpoint/generation_config.h"

#include <limits>
#include <string>

#include "checkpoint/json_fields.h"
#include "checkpoint/problems.h"

namespace baleen {

namespace {

// A probability or the like: null leaves it unset.
std::optional<double> number_in(const JsonFields& fields, std::string_view key, double min, double max,
                                const char* what) {
  if (!fields.is_set(key)) return std::nullopt;
  const std::optional<double> value = fields.number(key);
  if (value && (*value < min || *value > max)) {
    fields.expected(key, what);
    return std::nullopt;
  }
  return value;
}

}  // namespace

GenerationConfig parse_generation_config(std::string_view json, std::string_view file) {
  const nlohmann::json document = parse_json_object(json, file);
  std::vector<std::string> problems;
  const JsonFields fields(document, "", problems);
  constexpr double large = 1e6;
  constexpr std::size_t max_id = std::numeric_limits<std::int32_t>::max();

  GenerationConfig config;
  if (fields.is_set("do_sample")) config.do_sample = fields.boolean("do_sample");
  config.temperature = number_in(fields, "temperature", 0, large, "a number from 0");
  config.top_p = number_in(fields, "top_p", 0, 1, "a number from 0 to 1");
  config.min_p = number_in(fields, "min_p", 0, 1, "a number from 0 to 1");
  if (fields.is_set("repetition_penalty")) config.repetition_penalty = fields.positive("repetition_penalty");
  if (fields.is_set("top_k"))
    if (const auto top_k = fields.whole("top_k", 0, max_id)) config.top_k = static_cast<int>(*top_k);
  const std::vector<std::int32_t> bos = fields.token_ids("bos_token_id", max_id);
  if (bos.size() > 1) fields.expected("bos_token_id", "one token id");
  if (bos.size() == 1) config.bos_token_id = bos.front();
  config.eos_token_id = fields.token_ids("eos_token_id", max_id);
  throw_problems(file, problems);
  return config;
}

}  // namespace baleen
