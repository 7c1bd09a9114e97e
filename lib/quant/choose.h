// Which modules are quantized, and to what.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quant/bits.h"
#include "quant/module_name.h"
#include "quant/plan.h"
#include "quant/source.h"

namespace baleen {

struct ChooseOptions {
  std::optional<Target> to;       // what no rule speaks of; none: it stays
  std::vector<BitsRule> rules;    // of --bits
  std::vector<std::string> keep;  // regular expressions: modules with a match in their name stay
  std::vector<std::string> only;  // likewise: the others stay, if there are any of these
};

// A decision for each of the source's modules. One that stays and is stored in a form that can stand beside
// the others keeps it; else it is widened. Throws UsageError for what cannot be asked of this model, for an
// expression that is found in no name, or if nothing is left to quantize.
std::vector<Decision> choose(const Source&, const ChooseOptions&);

// The linear layers of the result, routers and the output head included, and how each is stored.
std::vector<ModuleFormat> module_formats(const Source&, std::span<const Decision>);

// The config.json of the result: the source's, but for quantization_config.
std::string config_json(const Source&, std::span<const Decision>);

}  // namespace baleen
