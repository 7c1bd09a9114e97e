// An io_uring that reads: requests go in under a number and come out with their result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/files.h"

struct io_uring;

namespace baleen {

// One thread uses it, except for wake(). Nothing may be under way when it ends.
class ReadRing {
 public:
  // For at most `reads` under way. Nothing where the system has no io_uring or forbids it.
  static std::unique_ptr<ReadRing> open(unsigned reads);
  ~ReadRing();
  ReadRing(const ReadRing&) = delete;
  ReadRing& operator=(const ReadRing&) = delete;

  // A read for the next submit().
  void prepare(std::uint32_t number, int fd, std::span<std::byte> memory, std::uint64_t offset);
  // Gives the kernel what was prepared; with `wait`, sleeps until something finished or wake() was called.
  // Returns 0, or the errno with which the kernel refused; then it may have taken some.
  int submit(bool wait);
  // The reads that were prepared and that the kernel has not taken. submit() may not be called after this.
  std::vector<std::uint32_t> take_back();

  struct Finished {
    std::uint32_t number = 0;
    int result = 0;  // bytes, or a negative errno
  };
  // Appends what has finished.
  void reap(std::vector<Finished>&);

  // Ends the submit() that sleeps, or else the next one at once. Any thread.
  void wake();

 private:
  ReadRing();
  void arm_wake();

  std::unique_ptr<io_uring> ring_;
  FileDescriptor wake_;  // an eventfd that the ring polls
  bool armed_ = false;
  std::deque<std::uint64_t> prepared_;  // what the kernel has not taken, oldest first
};

}  // namespace baleen
