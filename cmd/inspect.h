// `baleen run --inspect`: what a model is, and what it needs.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "cmd/terminal.h"
#include "model/memory_plan.h"
#include "model/model.h"

namespace baleen::cmd {

// What the memory is reckoned for.
struct InspectedNeed {
  std::size_t context;  // tokens in the KV cache
  kernels::KvFormat kv_format;
  std::optional<MemoryPlan> plan;  // of --memory
};

std::string inspection(const Model& model, const std::filesystem::path& folder, const InspectedNeed& need,
                       bool json, const Style& style);

}  // namespace baleen::cmd
