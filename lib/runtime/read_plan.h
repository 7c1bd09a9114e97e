// Which reads bring some ranges of files into memory when the disk wants whole blocks: a pure function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace baleen {

// Bytes of a file, which is named by its number.
struct FileRange {
  std::size_t file = 0;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
};

// Reads of whole blocks into one piece of memory, and where in it each range begins.
struct ReadPlan {
  struct Read {
    std::size_t file = 0;
    std::uint64_t offset = 0;  // a multiple of the alignment
    std::size_t bytes = 0;     // too
    std::size_t wanted = 0;    // those that some range needs; the file may end behind them
    std::size_t at = 0;        // in the memory, a multiple of the alignment
  };
  std::vector<Read> reads;
  std::vector<std::size_t> begins;  // by range, in the order given
  std::size_t room = 0;             // bytes of memory, a multiple of the alignment
};

// Ranges of one file with less than that between them are read at once: reading through 64 KiB takes a disk
// of 1 GB/s no longer than the round trip of one more request.
inline constexpr std::size_t read_through = std::size_t{64} << 10;

// `alignment` is a power of two. An empty range needs no read and begins at 0. Throws std::invalid_argument
// for ranges whose end no file has.
ReadPlan plan_reads(std::span<const FileRange>, std::size_t alignment, std::size_t gap = read_through);

}  // namespace baleen
