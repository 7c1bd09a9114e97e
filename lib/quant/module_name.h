// The names of linear layers, taken apart: which layer, which expert, which kind of module.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "quant/target.h"

namespace baleen {

// A linear layer of a checkpoint, and what becomes of it.
struct ModuleFormat {
  std::string name;                // without ".weight"
  std::optional<Target> target;    // none: it stays as it is
  std::size_t rows = 0, cols = 0;  // of what has a target
};

// "model.layers.3.mlp.experts.17.up_proj": layer 3, stem "mlp.experts", expert 17, leaf "up_proj".
// "model.layers.3.self_attn.q_proj": layer 3, stem "self_attn", no expert, leaf "q_proj".
struct ModulePlace {
  std::size_t layer = 0;
  std::string_view stem;  // part of the name; empty for a module right below the layer
  std::optional<std::size_t> expert;
  std::string_view leaf;  // part of the name
};

// None for a module outside the layers ("lm_head").
std::optional<ModulePlace> place_of(std::string_view name);

}  // namespace baleen
