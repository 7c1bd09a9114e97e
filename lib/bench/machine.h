// What this machine can do at most, measured: how fast its memory is read and how fast it multiplies.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/statistics.h"
#include "kernels/kernels.h"
#include "runtime/huge_memory.h"
#include "runtime/thread_pool.h"

namespace baleen {

// "Intel(R) Xeon(R) Processor"; empty if the system does not say. `root` is where /proc and /sys are found,
// for tests.
std::string processor_name(const std::filesystem::path& root = "/");
// Bytes of the largest cache; 0 if the system does not say.
std::uint64_t last_level_cache_bytes(const std::filesystem::path& root = "/");

// Bytes of the buffer that bandwidth is measured on: 2 GiB or four times the last-level cache, whichever is
// more, so that hardly anything of it is found in a cache; at most a quarter of the memory that is available.
std::uint64_t bandwidth_buffer_bytes(std::uint64_t last_level_cache, std::uint64_t available);

// What is left of the address space: limits on it (ulimit -v) fail an allocation whatever memory there is.
std::uint64_t address_space_left();

// Measures again and again, since the speed of shared and throttled machines wanders; the median counts.
class MachineLimits {
 public:
  // Writes `buffer_bytes` of memory. Refers to pool and kernels. Throws Cancelled soon after `cancel` is set,
  // which may be null.
  MachineLimits(ThreadPool&, const kernels::Kernels&, std::uint64_t buffer_bytes,
                const std::atomic<bool>* cancel);

  // One sample of both, a fraction of a second. Throws Cancelled, and leaves that sample out.
  void measure();

  // Bytes read a second by all threads, floating-point operations a second of all threads.
  Summary bandwidth() const { return summarize(bandwidths_); }
  Summary peak() const { return summarize(peaks_); }
  std::uint64_t buffer_bytes() const { return buffer_.bytes().size(); }

 private:
  double read_once();
  double compute_once();

  ThreadPool& pool_;
  const kernels::Kernels& kernels_;
  const std::atomic<bool>* cancel_;
  HugeMemory buffer_;
  std::size_t rounds_ = 1;  // of the compute loop, for a few milliseconds
  std::vector<double> bandwidths_;
  std::vector<double> peaks_;
};

}  // namespace baleen
