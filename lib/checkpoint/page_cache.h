// Reading far more than memory holds, once, without driving out of the page cache what others keep there.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

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

}  // namespace baleen
