#include "quant/choose.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/name_pattern.h"
#include "error.h"
#include "quant/config_groups.h"

namespace baleen {
namespace {

using Json = nlohmann::ordered_json;

// Regular expressions of which one may match anywhere in a name.
class Search {
 public:
  Search(const std::vector<std::string>& expressions, const std::string& option) {
    for (const std::string& expression : expressions) {
      try {
        (void)NamePattern(expression);  // as it stands: its errors tell places, and brackets close in it
        patterns_.emplace_back(".*(?:" + expression + ")");
      } catch (const Error& error) {
        throw UsageError(option + " " + std::string(error.what()).substr(std::string_view("re:").size()));
      }
    }
  }
  bool empty() const { return patterns_.empty(); }
  bool finds(const std::string& name) const {
    return std::any_of(patterns_.begin(), patterns_.end(),
                       [&](const NamePattern& p) { return p.matches(name); });
  }

 private:
  std::vector<NamePattern> patterns_;
};

// An expression that is found nowhere is a mistake: what it was to keep would be lost without a word.
void check_found(const Source& source, const std::vector<std::string>& expressions,
                 const std::string& option) {
  for (const std::string& expression : expressions) {
    const Search search({expression}, option);
    if (std::none_of(source.modules().begin(), source.modules().end(),
                     [&](const SourceModule& m) { return search.finds(m.name); }))
      throw UsageError(option + " " + expression + ": found in the name of no module of " +
                       source.dir().string());
  }
}

// Those of multi-token prediction included.
std::size_t stored_layers(const Source& source) {
  std::size_t layers = source.model().config().num_hidden_layers;
  for (const SourceModule& module : source.modules())
    if (module.layer != no_number) layers = std::max(layers, module.layer + 1);
  return layers;
}

bool is_block_format(const Target& target) {
  return target.encoding == Encoding::fp8;
}

// What stays keeps the form that it is stored in, where one quantization_config can tell of both.
void keep_stored_forms(const Source& source, std::vector<Decision>& decisions) {
  const auto encoded = std::find_if(decisions.begin(), decisions.end(),
                                    [](const Decision& d) { return d.target.has_value(); });
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    if (decisions[i].target) continue;
    const std::optional<Target> stored = stored_target(source.modules()[i]);
    if (stored && is_block_format(*stored) == is_block_format(*encoded->target)) decisions[i].target = stored;
  }
}

// Linear layers alone are spoken of in a quantization_config.
bool is_linear(const SourceModule& module) {
  if (module.part == "embedding") return false;
  if (module.weight) return true;
  const Tensor& tensor = *module.tensors[0];
  return tensor.shape.rank == 2 && tensor.name.ends_with(".weight") &&
         tensor.name.find("embed") == std::string_view::npos;
}

std::string linear_name(const SourceModule& module) {
  constexpr std::string_view suffix = ".weight";
  return module.weight ? module.name : module.name.substr(0, module.name.size() - suffix.size());
}

}  // namespace

std::vector<Decision> choose(const Source& source, const ChooseOptions& options) {
  check_bits(options.rules, stored_layers(source));
  const Search keep(options.keep, "--keep");
  const Search only(options.only, "--only");
  check_found(source, options.keep, "--keep");
  check_found(source, options.only, "--only");
  std::vector<Decision> decisions;
  std::vector<Target> targets;
  for (const SourceModule& module : source.modules()) {
    Decision& decision = decisions.emplace_back();
    if (!module.quantizable) {
      decision.kept = Kept::by_nature;
      continue;
    }
    const BitsRule* const rule = bits_rule(options.rules, module.part, module.layer);
    decision.target = rule ? rule->target : options.to;
    if (keep.finds(module.name) || (!only.empty() && !only.finds(module.name))) decision.target.reset();
    if (!decision.target) {
      decision.kept = Kept::by_request;
    } else if (!fits(*decision.target, module.weight->matrix.cols)) {
      decision.target.reset();
      decision.kept = Kept::by_group;
    } else if (std::find(targets.begin(), targets.end(), *decision.target) == targets.end()) {
      targets.push_back(*decision.target);
    }
  }
  if (targets.empty()) {
    const bool groups = std::any_of(decisions.begin(), decisions.end(),
                                    [](const Decision& d) { return d.kept == Kept::by_group; });
    throw UsageError(
        source.dir().string() + ": nothing to quantize, " +
        (groups ? "the group divides the rows of no matrix that was asked for; --group takes another"
                : "all modules stay by what was asked for"));
  }
  check_together(targets);
  keep_stored_forms(source, decisions);
  return decisions;
}

std::vector<ModuleFormat> module_formats(const Source& source, std::span<const Decision> decisions) {
  std::vector<ModuleFormat> formats;
  for (std::size_t i = 0; i < decisions.size(); ++i)
    if (const SourceModule& module = source.modules()[i]; is_linear(module)) {
      const kernels::Matrix matrix = module.weight ? module.weight->matrix : kernels::Matrix{};
      formats.push_back({linear_name(module), decisions[i].target, matrix.rows, matrix.cols});
    }
  return formats;
}

std::string config_json(const Source& source, std::span<const Decision> decisions) {
  Json config = Json::parse(source.config_json());
  config.erase("compression_config");
  config.erase("quantization_config");
  if (Json quantization = quantization_config(module_formats(source, decisions)); !quantization.is_null())
    config["quantization_config"] = std::move(quantization);
  return config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace baleen
