// Which other programs load a checkpoint whose modules are stored in several ways.
#pragma once

#include <span>
#include <string>

#include "quant/module_name.h"

namespace baleen {

// Why a program does not load such a checkpoint, or loads it wrongly: the rule, and two modules that break
// it. Empty where nothing is known that would keep it from it.
struct Loaders {
  std::string transformers;  // 5.23 converts all routed experts of a model by the scheme of one config group
  // Where 5.23 widens fp8, for want of a GPU that computes in it: a block's size is the matrix's over the
  // number of scales (integrations/finegrained_fp8.py, Fp8Dequantize), so the last of several must be whole.
  std::string transformers_widening;
  std::string vllm;  // one scheme for a layer's experts, and for the parts of what it fuses
};

// `modules` are all linear layers; those that are not quantized count as one way of storing.
Loaders loaders_of(std::span<const ModuleFormat> modules);

}  // namespace baleen
