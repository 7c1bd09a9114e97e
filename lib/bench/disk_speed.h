// What the disk that files lie on can do at best.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "runtime/direct_reader.h"

namespace baleen {

struct SequentialRead {
  std::uint64_t bytes = 0;
  double seconds = 0;  // at least one read was under way
  ReadEngine engine = ReadEngine::automatic;
  bool direct = false;  // past the page cache; else what was in memory already was no read of the disk

  double bytes_per_second() const { return seconds > 0 ? static_cast<double>(bytes) / seconds : 0; }
};

// Reads the files from their beginnings, past the page cache, one piece behind the other and as many under
// way as the options allow, until `bytes` are read, `seconds` are over, or the files end. Throws Error as
// DirectReader does.
SequentialRead sequential_bandwidth(std::span<const std::filesystem::path> files, std::uint64_t bytes,
                                    double seconds, const DirectReaderOptions& options = {});

// The files in the order in which they are best read for that: a long one has little of a beginning and an
// end. Throws std::filesystem::filesystem_error for what is not there.
std::vector<std::filesystem::path> largest_first(std::vector<std::filesystem::path> files);

// Of several measurements, the fastest: others were disturbed by somebody else's reads. 0 of none.
double best_bandwidth(std::span<const SequentialRead> samples);

}  // namespace baleen
