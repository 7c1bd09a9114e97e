#include "quant/config_groups.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/name_pattern.h"
#include "error.h"
#include "quant/bits.h"

namespace baleen {
namespace {

using nlohmann::ordered_json;
using Names = std::vector<std::string_view>;
using Numbers = std::vector<std::size_t>;

// ---- Targets: names and patterns for some modules that are true of no others

// Modules of one stem in some layers: those of these leaves and experts.
struct Block {
  std::set<std::string_view> leaves;
  Names names;
};
using BlockKey = std::pair<Numbers, Numbers>;  // layers and experts, ascending; none: all there are

// What the modules of one stem and leaf are in a layer.
struct Cell {
  Numbers experts;  // of those that are meant
  Names names;      // likewise
  bool others = false;
};

struct Stem {
  bool has_experts = false;
  bool is_parent = false;                 // of another stem
  std::set<std::string_view> all_leaves;  // those that nothing is said about included
  std::map<std::string_view, std::map<std::size_t, Cell>> leaves;
};

enum class Side : std::uint8_t { meant, other, neither };

// Stems of all modules, and the meant ones that stand under none.
struct Stems {
  std::map<std::string_view, Stem> stems;
  Names outside;
};

template <typename SideOf>
Stems stems_of(std::span<const ModuleFormat> modules, SideOf side_of) {
  Stems result;
  for (const ModuleFormat& module : modules) {
    const Side side = side_of(module);
    const std::optional<ModulePlace> place = place_of(module.name);
    if (!place) {
      if (side == Side::meant) result.outside.push_back(module.name);
      continue;
    }
    Stem& stem = result.stems[place->stem];
    stem.has_experts = place->expert.has_value();
    stem.all_leaves.insert(place->leaf);
    if (side == Side::neither) continue;
    Cell& cell = stem.leaves[place->leaf][place->layer];
    cell.others |= side == Side::other;
    if (side == Side::other) continue;
    cell.names.push_back(module.name);
    if (place->expert) cell.experts.push_back(*place->expert);
  }
  for (auto& [name, stem] : result.stems)
    stem.is_parent = std::any_of(result.stems.begin(), result.stems.end(), [&parent = name](auto& other) {
      return other.first != parent && (parent.empty() || other.first.starts_with(std::string(parent) + "."));
    });
  return result;
}

// Whole layers where no module is another's, experts where some are; leaves of which the same is to be said
// come together.
std::map<BlockKey, Block> blocks_of(const Stem& stem) {
  std::map<BlockKey, Block> blocks;
  const auto add = [&](BlockKey key, std::string_view leaf, const Names& names) {
    Block& block = blocks[std::move(key)];
    block.leaves.insert(leaf);
    block.names.insert(block.names.end(), names.begin(), names.end());
  };
  for (const auto& [leaf, layers] : stem.leaves) {
    Numbers whole;
    Names names;
    bool others = false;
    for (const auto& [layer, cell] : layers) {
      others |= cell.others;
      if (cell.names.empty()) continue;
      if (cell.others) {
        add({{layer}, cell.experts}, leaf, cell.names);
      } else {
        whole.push_back(layer);
        names.insert(names.end(), cell.names.begin(), cell.names.end());
      }
    }
    if (!whole.empty()) add({others ? whole : Numbers(), {}}, leaf, names);
  }
  return blocks;
}

// ---- Their text

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!plain) out += '\\';
    out += c;
  }
  return out;
}

std::string text_of(std::size_t number) {
  return std::to_string(number);
}
std::string text_of(std::string_view name) {
  return escaped(name);
}

// "3" or "(3|4|5)".
template <typename List>
std::string alternatives(const List& list) {
  std::string out;
  for (const auto& each : list) out += (out.empty() ? "" : "|") + text_of(each);
  return list.size() == 1 ? out : "(" + out + ")";
}

std::string pattern(std::string_view name, const Stem& stem, const BlockKey& key, const Block& block) {
  const auto& [layers, experts] = key;
  std::string text = "re:.*\\.";
  if (!layers.empty()) text += "layers\\." + alternatives(layers) + "\\.";
  if (!name.empty()) text += escaped(name) + "\\.";
  const bool all =
      block.leaves.size() > 1 && block.leaves.size() == stem.all_leaves.size() && !stem.is_parent;
  if (!experts.empty())
    text += alternatives(experts) + "\\.";
  else if (stem.has_experts && !all)
    text += "\\d+\\.";
  return text + (all ? ".*" : alternatives(block.leaves) + "$");
}

bool holds(const std::vector<std::string>& targets, std::span<const ModuleFormat> modules, auto side_of) {
  try {
    const NameList list(targets);
    return std::all_of(modules.begin(), modules.end(), [&](const ModuleFormat& module) {
      const Side side = side_of(module);
      return side == Side::neither || list.contains(module.name) == (side == Side::meant);
    });
  } catch (const Error&) {  // a pattern that is too long
    return false;
  }
}

template <typename SideOf>
std::vector<std::string> targets_of(std::span<const ModuleFormat> modules, SideOf side_of) {
  const Stems all = stems_of(modules, side_of);
  std::vector<std::string> targets(all.outside.begin(), all.outside.end());
  for (const auto& [name, stem] : all.stems)
    for (const auto& [key, block] : blocks_of(stem))
      targets.push_back(block.names.size() == 1 ? std::string(block.names[0])
                                                : pattern(name, stem, key, block));
  if (holds(targets, modules, side_of)) return targets;
  targets.clear();
  for (const ModuleFormat& module : modules)
    if (side_of(module) == Side::meant) targets.push_back(module.name);
  return targets;
}

// ---- compressed-tensors

std::string_view format_name(const Target& target) {
  return target.encoding == Encoding::mxfp4 ? "mxfp4-pack-quantized" : "pack-quantized";
}

// QuantizationArgs as they are written: keys that say nothing are left out. scale_dtype is that of the preset
// MXFP4A16.
ordered_json weights(const Target& target) {
  const bool channel = target.group == whole_row;
  if (target.encoding == Encoding::mxfp4)
    return {
        {"num_bits", 4},       {"type", "float"},  {"symmetric", true},           {"group_size", mxfp4_group},
        {"strategy", "group"}, {"dynamic", false}, {"scale_dtype", "torch.uint8"}};
  return {{"num_bits", target.encoding == Encoding::int4 ? 4 : 8},
          {"type", "int"},
          {"symmetric", true},
          {"group_size", channel ? ordered_json() : ordered_json(target.group)},
          {"strategy", channel ? "channel" : "group"},
          {"dynamic", false}};
}

ordered_json group(const Target& target, std::vector<std::string> targets) {
  return {{"targets", std::move(targets)},
          {"weights", weights(target)},
          {"input_activations", nullptr},
          {"output_activations", nullptr},
          {"format", format_name(target)}};
}

ordered_json compressed_tensors(std::span<const ModuleFormat> modules, const std::vector<Target>& targets) {
  ordered_json groups = ordered_json::object();
  bool mixed = false;
  for (const Target& target : targets) {
    mixed |= format_name(target) != format_name(targets[0]);
    std::vector<std::string> names = {"Linear"};
    if (targets.size() > 1)
      names = targets_of(modules, [&](const ModuleFormat& module) {
        return !module.target                        ? Side::neither
               : same_format(*module.target, target) ? Side::meant
                                                     : Side::other;
      });
    groups["group_" + std::to_string(groups.size())] = group(target, std::move(names));
  }
  const auto stays = [](const ModuleFormat& module) { return module.target ? Side::other : Side::meant; };
  return {{"config_groups", std::move(groups)},
          {"format", mixed ? std::string_view("mixed-precision") : format_name(targets[0])},
          {"global_compression_ratio", nullptr},
          {"ignore", targets_of(modules, stays)},
          {"kv_cache_scheme", nullptr},
          {"quant_method", "compressed-tensors"},
          {"quantization_status", "compressed"}};
}

// ---- DeepSeek's fp8

// Names alone: what reads this list knows no "re:", but a name there covers all that is below it.
ordered_json deepseek_fp8(std::span<const ModuleFormat> modules) {
  const auto parent = [](const ModuleFormat& module) -> std::string_view {
    const std::optional<ModulePlace> place = place_of(module.name);
    const std::string_view name = module.name;
    return place && place->expert ? name.substr(0, name.find(".experts.") + 8) : name;
  };
  std::set<std::string_view> converted;
  for (const ModuleFormat& module : modules)
    if (module.target) converted.insert(parent(module));
  std::vector<std::string> kept;
  for (const ModuleFormat& module : modules) {
    if (module.target) continue;
    const std::string_view above = parent(module);
    const std::string_view name = converted.contains(above) ? std::string_view(module.name) : above;
    if (kept.empty() || kept.back() != name) kept.emplace_back(name);
  }
  return {{"activation_scheme", "dynamic"},
          {"fmt", "e4m3"},
          {"modules_to_not_convert", std::move(kept)},
          {"quant_method", "fp8"},
          {"weight_block_size", {fp8_block, fp8_block}}};
}

// The distinct targets, the one of most routed experts first, then as they come.
std::vector<Target> distinct_targets(std::span<const ModuleFormat> modules) {
  std::vector<Target> targets;
  std::vector<std::size_t> experts;
  for (const ModuleFormat& module : modules) {
    if (!module.target) continue;
    const auto at = std::find_if(targets.begin(), targets.end(),
                                 [&](const Target& target) { return same_format(target, *module.target); });
    const auto index = static_cast<std::size_t>(at - targets.begin());
    if (at == targets.end()) {
      targets.push_back(*module.target);
      experts.push_back(0);
    }
    const std::optional<ModulePlace> place = place_of(module.name);
    if (place && place->expert) ++experts[index];
  }
  const auto most = std::max_element(experts.begin(), experts.end()) - experts.begin();
  std::rotate(targets.begin(), targets.begin() + most, targets.begin() + most + (targets.empty() ? 0 : 1));
  return targets;
}

}  // namespace

ordered_json quantization_config(std::span<const ModuleFormat> modules) {
  const std::vector<Target> targets = distinct_targets(modules);
  check_together(targets);
  if (targets.empty()) return nullptr;
  return targets[0].encoding == Encoding::fp8 ? deepseek_fp8(modules) : compressed_tensors(modules, targets);
}

}  // namespace baleen
