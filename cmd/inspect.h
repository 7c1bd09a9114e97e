// `baleen run --inspect`: what a model is, and what it needs.
#pragma once

#include <cstddef>
#include <filesystem>

#include "cmd/terminal.h"
#include "model/model.h"

namespace baleen::cmd {

// `context`: the tokens that the memory is reckoned for.
void print_inspection(const Model& model, const std::filesystem::path& folder, std::size_t context,
                      kernels::KvFormat kv_format, bool json, const Style& style);

}  // namespace baleen::cmd
