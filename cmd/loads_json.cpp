#include "cmd/loads_json.h"

#include "report/units.h"
#include "routing/statistics.h"

namespace baleen::cmd {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

Json layer_json(const LayerLoad& layer) {
  const LoadStatistics s = load_statistics(layer.load);
  Json object = {
      {"layer", layer.layer}, {"load", layer.load},   {"tokens", layer.tokens},
      {"top_k", layer.top_k}, {"max_vio", s.max_vio}, {"max_vio_by_chance", max_vio_by_chance(layer)},
      {"cv", s.cv},           {"entropy", s.entropy}, {"gini", s.gini},
      {"dead", s.dead}};
  for (std::size_t i = 0; i < load_quantiles.size(); ++i)
    object["utilization_p" + format_fixed(100 * load_quantiles[i], 0)] = s.quantiles[i];
  return object;
}

std::string loads_json(const LoadSummary& summary, std::span<const LayerLoad> layers) {
  Json head = {{"schema", 1}};
  if (const auto& source = summary.source) {
    head["model"] = source->model;
    head["experts"] = source->experts;
    head["top_k"] = source->top_k;
    head["tokens"] = source->tokens;
    head["prompt_tokens"] = source->prompt_tokens;
    head["generated_tokens"] = source->generated_tokens;
  }
  head["lines_left_out"] = summary.lines_left_out;
  const std::string object = dump(head);
  std::string text = object.substr(1, object.size() - 2) + ",\n\"layers\":[\n";
  for (std::size_t l = 0; l < layers.size(); ++l)
    text += dump(layer_json(layers[l])) + (l + 1 < layers.size() ? ",\n" : "\n");
  return text + "]";
}

}  // namespace baleen::cmd
