// Reading far more than memory holds without driving out of the page cache what others keep there: files from
// front to back, single rows of a matrix, single small tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace baleen {

// Walks through a checkpoint's mapped files. Pages that were not in the page cache when their file was first
// touched leave it again after they were read; the others stay. Any thread may call it.
class StreamedReading {
 public:
  // `dir` is where the checkpoint's files lie. Keeps a reference.
  StreamedReading(std::filesystem::path dir, const Checkpoint&);
  ~StreamedReading();

  // Starts to bring in bytes that will be read soon, without waiting for them.
  void soon(std::span<const std::byte> bytes);
  // Brings in bytes of a tensor, many pages at a time.
  void will_read(std::span<const std::byte> bytes);
  // Gives them up: they no longer count as this process's memory. What was never announced by will_read stays
  // in the page cache.
  void was_read(std::span<const std::byte> bytes);

 private:
  struct File;
  File* file_of(const std::byte* address);

  std::filesystem::path dir_;
  std::vector<std::unique_ptr<File>> files_;  // ascending addresses
};

// Bytes that are read from front to back: some megabytes are there, as many are on their way, and those
// behind are given up.
class StreamedRange {
 public:
  StreamedRange(StreamedReading&, std::span<const std::byte> bytes);
  ~StreamedRange();
  StreamedRange(const StreamedRange&) = delete;
  StreamedRange& operator=(const StreamedRange&) = delete;

  // Makes bytes [begin, end) ready; what lies before is no longer needed. Neither ever goes back.
  std::span<const std::byte> ready(std::size_t begin, std::size_t end);

 private:
  StreamedReading& reading_;
  std::span<const std::byte> bytes_;
  std::size_t given_up_ = 0;
  std::size_t there_ = 0;
};

// While it lives, a page of the checkpoint's files that is touched comes alone, without the megabytes behind
// it that the system would read ahead. `soon`: bytes that will be touched; they come side by side.
class ScatteredReading {
 public:
  explicit ScatteredReading(const Checkpoint&);
  ~ScatteredReading();
  ScatteredReading(const ScatteredReading&) = delete;
  ScatteredReading& operator=(const ScatteredReading&) = delete;

  void soon(std::span<const std::byte> bytes);

 private:
  const Checkpoint& checkpoint_;
  std::span<const std::byte> announced_;  // pages of the last call
};

// Gives up the pages that hold `bytes`, which are mapped from `offset` of a file on: for this process, and in
// the page cache if no other has them mapped. They come again when they are touched.
void drop_pages(const std::filesystem::path& file, std::uint64_t offset, std::span<const std::byte> bytes);

// Rows of a mapped matrix, read here and there, of which a few megabytes stay in memory. Any thread may call
// it; what one thread gives up while another reads it comes again.
class BoundedRows {
 public:
  // `rows` are mapped from `offset` of the file on.
  BoundedRows(std::filesystem::path file, std::uint64_t offset, std::span<const std::byte> rows,
              std::size_t allowance);

  // Starts to bring in the first of the rows, side by side: as many as there is room for beside those of
  // earlier calls, and returns how many. If there is room for none, all that came before is given up; one
  // row comes in any case. Counted are all pages that a fault may map.
  std::size_t bring(std::span<const std::span<const std::byte>> rows);

  std::size_t allowance() const { return allowance_; }
  // What may be in memory now.
  std::size_t held() const;

 private:
  std::size_t bytes_of(std::size_t window) const;

  const std::filesystem::path file_;
  const std::uint64_t offset_;
  const std::span<const std::byte> rows_;
  const std::size_t allowance_;

  mutable std::mutex mutex_;
  std::vector<bool> windows_;  // that a row was read in
  std::size_t held_ = 0;       // their bytes
};

}  // namespace baleen
