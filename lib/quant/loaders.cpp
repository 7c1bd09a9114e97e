#include "quant/loaders.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

namespace baleen {
namespace {

// Projections that vLLM makes one matrix of, where they stand under the same stem.
constexpr std::array<std::array<std::string_view, 3>, 3> fused = {
    {{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj", ""}, {"q_a_proj", "kv_a_proj_with_mqa", ""}}};

// What must be stored as the module is, for vLLM; empty if it is alone.
std::string vllm_unit(const ModuleFormat& module, const ModulePlace& place) {
  if (place.expert) return "experts of layer " + std::to_string(place.layer);
  for (const auto& leaves : fused)
    if (std::find(leaves.begin(), leaves.end(), place.leaf) != leaves.end())
      return module.name.substr(0, module.name.size() - place.leaf.size()) + std::string(leaves[0]);
  return "";
}

bool same(const ModuleFormat& a, const ModuleFormat& b) {
  return a.target.has_value() == b.target.has_value() && (!a.target || same_format(*a.target, *b.target));
}

std::string format_of(const ModuleFormat& module) {
  return module.name + (module.target ? " is " + target_name(*module.target) : " is not quantized");
}

bool has_partial_blocks(const ModuleFormat& module) {
  const auto partial = [](std::size_t size) { return size > fp8_block && size % fp8_block != 0; };
  return module.target && module.target->encoding == Encoding::fp8 &&
         (partial(module.rows) || partial(module.cols));
}

// The first of those whose last blocks are partial, and how many more there are.
std::string partial_blocks(std::span<const ModuleFormat> modules) {
  const auto count = std::count_if(modules.begin(), modules.end(), has_partial_blocks);
  if (count == 0) return "";
  const ModuleFormat& first = *std::find_if(modules.begin(), modules.end(), has_partial_blocks);
  const std::string others = count == 1 ? "" : " and " + std::to_string(count - 1) + " more";
  return "it takes all blocks of a matrix for equally large; those of " + first.name + " " +
         to_string(Shape{{first.rows, first.cols}, 2}) + others + " are not, as in DeepSeek's own files";
}

// Modules that must be alike, by unit: remembers the first one of each, and the first that differs from it.
class Alike {
 public:
  explicit Alike(std::string rule) : rule_(std::move(rule)) {}
  void add(const std::string& unit, const ModuleFormat& module) {
    const ModuleFormat* first = firsts_.try_emplace(unit, &module).first->second;
    if (broken_.empty() && !same(*first, module))
      broken_ = rule_ + ": " + format_of(*first) + ", " + format_of(module);
  }
  const std::string& broken() const { return broken_; }

 private:
  std::string rule_;
  std::map<std::string, const ModuleFormat*> firsts_;
  std::string broken_;
};

}  // namespace

Loaders loaders_of(std::span<const ModuleFormat> modules) {
  Alike transformers("transformers reads all routed experts of a model in one format");
  Alike vllm("vLLM reads the experts of a layer, and projections that it makes one of, in one format");
  for (const ModuleFormat& module : modules) {
    const std::optional<ModulePlace> place = place_of(module.name);
    if (!place) continue;
    if (place->expert) transformers.add("", module);
    if (const std::string unit = vllm_unit(module, *place); !unit.empty()) vllm.add(unit, module);
  }
  return {transformers.broken(), partial_blocks(modules), vllm.broken()};
}

}  // namespace baleen
