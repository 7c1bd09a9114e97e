// Tells one model from another without reading it.
#pragma once

#include <cstdint>
#include <filesystem>

#include "checkpoint/checkpoint.h"

namespace baleen {

// XXH3 over config.json in `dir`, and of each safetensors file its name, its size, its header and sixteen
// blocks of 4 KiB evenly spread over its data: some 10 MB of DeepSeek-V3's 700 GB. The same wherever the
// folder lies and whenever it was written. Models that differ in a few tensors alone may escape it. Throws
// Error if config.json cannot be read.
std::uint64_t model_fingerprint(const std::filesystem::path& dir, const Checkpoint& checkpoint);

}  // namespace baleen
