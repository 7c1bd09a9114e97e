// baleen-quantize.json: what a quantized folder was made of, and the checksums by which it is known to be
// whole.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace baleen {

inline constexpr std::string_view manifest_name = "baleen-quantize.json";

struct Manifest {
  std::string identity;                          // Output's: what the bytes depend on
  std::map<std::string, std::uint64_t> tensors;  // XXH3 of each, by name
  std::map<std::string, std::uint64_t> files;    // XXH3 of each file beside the shards, by name
};

std::string manifest_json(const Manifest&);

// Throws FormatError naming `file`.
Manifest parse_manifest(std::string_view json, std::string_view file);

}  // namespace baleen
