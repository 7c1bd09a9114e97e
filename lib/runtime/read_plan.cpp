#include "runtime/read_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <tuple>

namespace baleen {
namespace {

// What off_t holds, less a block for rounding up.
constexpr std::uint64_t last_offset = std::uint64_t{1} << 62;

void check(const FileRange& range, std::size_t alignment) {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0)
    throw std::invalid_argument("plan_reads: an alignment that is no power of two");
  if (range.offset > last_offset || range.bytes > last_offset - range.offset)
    throw std::invalid_argument("plan_reads: a range that ends behind every file");
}

}  // namespace

ReadPlan plan_reads(std::span<const FileRange> ranges, std::size_t alignment, std::size_t gap) {
  const std::uint64_t below = alignment - 1;
  std::vector<std::size_t> order(ranges.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tuple(ranges[a].file, ranges[a].offset, a) < std::tuple(ranges[b].file, ranges[b].offset, b);
  });
  ReadPlan plan;
  plan.begins.assign(ranges.size(), 0);
  for (const std::size_t i : order) {
    const FileRange& range = ranges[i];
    check(range, alignment);
    if (range.bytes == 0) continue;
    const auto* const last = plan.reads.empty() ? nullptr : &plan.reads.back();
    // Blocks that two ranges share are read once in any case.
    if (last == nullptr || last->file != range.file ||
        (range.offset & ~below) > last->offset + last->wanted + gap)
      plan.reads.push_back({.file = range.file, .offset = range.offset & ~below});
    ReadPlan::Read& read = plan.reads.back();
    read.wanted = std::max<std::size_t>(read.wanted, range.offset + range.bytes - read.offset);
    read.bytes = (read.wanted + below) & ~below;
    if (plan.reads.size() > 1) {
      const ReadPlan::Read& before = plan.reads[plan.reads.size() - 2];
      read.at = before.at + before.bytes;
    }
    plan.begins[i] = read.at + (range.offset - read.offset);
    plan.room = read.at + read.bytes;
  }
  return plan;
}

}  // namespace baleen
