#include "bench/disk_speed.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "clock.h"
#include "runtime/huge_memory.h"

namespace baleen {

SequentialRead sequential_bandwidth(std::span<const std::filesystem::path> files, std::uint64_t bytes,
                                    double seconds, const DirectReaderOptions& options) {
  std::unique_ptr<HugeMemory> memory;  // outlives the reader, which writes to it until it ends
  DirectReader reader(files, options);
  // Each window holds all that may be under way: while one is waited for, the other's reads are queued.
  const std::size_t alignment = reader.alignment();
  const std::size_t window =
      (std::max(options.in_flight, options.piece) + alignment - 1) / alignment * alignment;
  memory = std::make_unique<HugeMemory>(2 * window);
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
      batches[turn] = reader.submit(reader.plan({&range, 1}), memory->bytes().subspan(turn * window, window),
                                    Urgency::needed);
      begun += range.bytes;
    }
  }
  for (const ReadBatch& batch : batches)
    if (batch) reader.wait(batch);
  const DirectReader::Totals totals = reader.totals();
  return {
      .bytes = totals.bytes, .seconds = totals.seconds, .engine = reader.engine(), .direct = reader.direct()};
}

std::vector<std::filesystem::path> largest_first(std::vector<std::filesystem::path> files) {
  std::vector<std::pair<std::uintmax_t, std::filesystem::path>> sized;
  for (std::filesystem::path& file : files) {
    const std::uintmax_t size = std::filesystem::file_size(file);
    sized.emplace_back(size, std::move(file));
  }
  std::stable_sort(sized.begin(), sized.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  files.clear();
  for (auto& [size, file] : sized) files.push_back(std::move(file));
  return files;
}

double best_bandwidth(std::span<const SequentialRead> samples) {
  double best = 0;
  for (const SequentialRead& sample : samples) best = std::max(best, sample.bytes_per_second());
  return best;
}

}  // namespace baleen
