// What long work on a checkpoint tells of itself.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

namespace baleen {

// Told the bytes of weights that are done, one call at a time.
using OnBytes = std::function<void(std::uint64_t bytes)>;

// Adds up what all threads have done. Keeps a reference to the callback, which may be empty.
class BytesDone {
 public:
  explicit BytesDone(const OnBytes& on_bytes) : on_bytes_(on_bytes) {}
  void add(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (on_bytes_) on_bytes_(done_);
  }

 private:
  const OnBytes& on_bytes_;
  std::mutex mutex_;
  std::uint64_t done_ = 0;
};

}  // namespace baleen
