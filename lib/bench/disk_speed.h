// What the disk that files lie on can do at best.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "runtime/direct_reader.h"

namespace baleen {

// Reads the files from their beginnings, past the page cache, one piece behind the other and as many under
// way as the options allow, until `bytes` are read, `seconds` are over, or the files end. Throws Error as
// DirectReader does.
DirectReader::Totals sequential_bandwidth(std::span<const std::filesystem::path> files, std::uint64_t bytes,
                                          double seconds, const DirectReaderOptions& options = {});

}  // namespace baleen
