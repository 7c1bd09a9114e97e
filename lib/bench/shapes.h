// Configurations of published models, for benchmarks of shapes that nobody has downloaded.
#pragma once

#include <span>
#include <string_view>

namespace baleen {

struct ShapePreset {
  std::string_view name;         // "deepseek-v3"
  std::string_view config_json;  // what the published config.json says of shapes and routing
};

std::span<const ShapePreset> shape_presets();

}  // namespace baleen
