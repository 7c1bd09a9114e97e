#include "bench/disk_speed.h"

#include <algorithm>
#include <array>
#include <vector>

#include "runtime/huge_memory.h"
#include "clock.h"

namespace baleen {

DirectReader::Totals sequential_bandwidth(std::span<const std::filesystem::path> files, std::uint64_t bytes,
                                          double seconds, const DirectReaderOptions& options) {
  DirectReader reader(files, options);
  // Each window holds all that may be under way: while one is waited for, the other's reads are queued.
  const std::size_t alignment = reader.alignment();
  const std::size_t window =
      (std::max(options.in_flight, options.piece) + alignment - 1) / alignment * alignment;
  const HugeMemory memory(2 * window);
  std::array<ReadBatch, 2> batches;
  std::size_t turn = 0;
  std::uint64_t begun = 0;
  const auto start = Clock::now();
  for (std::size_t file = 0; file < files.size(); ++file) {
    const std::uint64_t size = std::filesystem::file_size(files[file]);
    for (std::uint64_t offset = 0; offset < size && begun < bytes && seconds_since(start) < seconds;
         offset += window, turn ^= 1) {
      if (batches[turn]) reader.wait(batches[turn]);
      const FileRange range{file, offset,
                            static_cast<std::size_t>(std::min<std::uint64_t>(window, size - offset))};
      batches[turn] = reader.submit(reader.plan({&range, 1}), memory.bytes().subspan(turn * window, window),
                                    Urgency::needed);
      begun += range.bytes;
    }
  }
  for (const ReadBatch& batch : batches)
    if (batch) reader.wait(batch);
  return reader.totals();
}

}  // namespace baleen
