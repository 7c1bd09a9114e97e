// Many reads under way at once, from files straight into memory that the caller owns: what fills the expert
// cache at the disk's own speed. Says nothing of what the bytes mean or of what is worth reading.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.h"
#include "runtime/read_plan.h"

namespace baleen {

// Needed: somebody waits for it. Ahead: a guess, which gives way to every needed batch.
enum class Urgency { needed, ahead };

// How reads reach the kernel: through io_uring, or by threads that call pread.
enum class ReadEngine { automatic, io_uring, pread };

std::string_view to_string(ReadEngine);

// Bytes that could not be read: "FILE: offset N: why".
class ReadError : public Error {
 public:
  ReadError(const std::filesystem::path& path, std::size_t file, std::uint64_t offset, std::string reason)
      : Error(path.string() + ": offset " + std::to_string(offset) + ": " + reason),
        file_(file),
        offset_(offset),
        reason_(std::move(reason)) {}

  std::size_t file() const { return file_; }  // its number
  std::uint64_t offset() const { return offset_; }
  const std::string& reason() const { return reason_; }

 private:
  std::size_t file_;
  std::uint64_t offset_;
  std::string reason_;
};

// What a batch has come to. Memory belongs to the reads while it is pending, and to the caller after that.
enum class ReadStatus : std::uint32_t { pending, ready, failed, cancelled };

// One attempt of the system to read, for tests that spoil it.
struct ReadAttempt {
  std::size_t file = 0;
  std::uint64_t offset = 0;
  std::span<std::byte> memory;
};

struct DirectReaderOptions {
  // automatic: io_uring where the system allows it.
  ReadEngine engine = ReadEngine::automatic;
  bool direct = true;  // false: through the page cache even where the file system could do without
  // Longer reads are split into pieces of that size, a multiple of every alignment.
  std::size_t piece = std::size_t{1} << 20;
  // What the kernel is given at most at once; more waits here, where a needed read can overtake it. Batches
  // read ahead get less of it, so that a needed read finds the disk's queue short. One piece always goes.
  std::size_t in_flight = std::size_t{16} << 20;
  std::size_t ahead_in_flight = std::size_t{4} << 20;
  unsigned queue = 64;   // pieces in the ring at most
  unsigned threads = 8;  // of the pread engine

  // For tests. Called after each read, from any thread: gets its result (bytes, or a negative errno) and
  // returns the one to go on with.
  std::function<ssize_t(const ReadAttempt&, ssize_t)> spoil;
  // For tests. Called before the ring is given reads: an errno other than 0 is taken for the kernel's answer.
  std::function<int()> refuse;
};

// Some reads that belong together, such as the matrices of one expert. Copies stand for the same reads.
class ReadBatch {
 public:
  ReadBatch() = default;
  explicit operator bool() const { return state_ != nullptr; }
  // Takes no lock. What was written to the memory is seen once it says ready.
  ReadStatus status() const;

 private:
  friend class DirectReader;
  struct State;
  std::shared_ptr<State> state_;
};

// Any thread may call any function at any time. The threads that hand reads to the kernel and take them back
// are the reader's own: the disk stays busy while the caller's threads compute.
class DirectReader {
 public:
  // Opens the files, which reads name by their place in the list. Throws Error for what is no regular file,
  // for what cannot be opened, and for an engine that was asked for and that the system does not allow.
  explicit DirectReader(std::span<const std::filesystem::path> files, DirectReaderOptions options = {});
  // Cancels what is queued and waits for what is under way.
  ~DirectReader();
  DirectReader(const DirectReader&) = delete;
  DirectReader& operator=(const DirectReader&) = delete;

  std::size_t alignment() const;  // of addresses, and of the reads of a plan
  ReadEngine engine() const;      // never automatic
  bool direct() const;            // whether every file is read past the page cache

  // The reads that bring these ranges into memory.
  ReadPlan plan(std::span<const FileRange>) const;

  // Starts the reads of a plan into `memory`, plan.room bytes at a multiple of alignment(), and returns at
  // once. The memory must stay until the batch is no longer pending. Throws std::invalid_argument for memory
  // that does not fit.
  ReadBatch submit(const ReadPlan&, std::span<std::byte> memory, Urgency);

  // A batch that was read ahead counts as needed from now on.
  void promote(const ReadBatch&);

  // Takes back what the kernel has not been given yet. Returns whether the batch is no longer pending; if it
  // is, settle() waits for the rest.
  bool cancel(const ReadBatch&);

  // Waits for all bytes of the batch, which is promoted. Throws ReadError where the system could not read
  // or the file ended, at every call, and Error for a cancelled batch.
  void wait(const ReadBatch&);

  // Waits until the batch is no longer pending, and neither promotes it nor throws.
  ReadStatus settle(const ReadBatch&);

  // Waits until at least one of the batches is no longer pending and returns the first such one's place. They
  // are promoted. There must be one.
  std::size_t wait_any(std::span<const ReadBatch>);

  // What was read since the reader began: bytes that came from files, those wasted by short reads included,
  // and for how long at least one read was under way.
  struct Totals {
    std::uint64_t bytes = 0;
    double seconds = 0;
  };
  Totals totals() const;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace baleen
