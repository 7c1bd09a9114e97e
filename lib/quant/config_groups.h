// The quantization_config of a checkpoint that is being written: which linear layers are stored how, said in
// as few words as hold.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "quant/module_name.h"

namespace baleen {

// As compressed-tensors' QuantizationConfig writes it: one config group for each distinct target, and the
// modules that stay on the ignore list; or as DeepSeek writes fp8. `modules` are all linear layers, routers
// and lm_head included. null if all of them stay. Throws UsageError for targets that cannot stand together.
//
// A single group's targets are ["Linear"]. Several groups are told apart by regular expressions of a kind of
// module, its layers, and its experts where a layer's differ; a group for which those would say something
// wrong of any module lists the names. No module is spoken of by two groups, since compressed-tensors tries
// patterns in the order of the alphabet, vLLM in that of the groups. The group with most routed experts comes
// first: transformers takes the first one with a pattern that has "experts" in it for all of them.
nlohmann::ordered_json quantization_config(std::span<const ModuleFormat> modules);

}  // namespace baleen
