#include "bench/machine.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>

#include "clock.h"
#include "model/forward.h"

namespace baleen {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t mebibyte = std::size_t{1} << 20;
constexpr std::size_t passes = 3;  // of a sample; their median counts
// What a thread reads at a time, as four streams side by side, each prefetched 1 KiB ahead: measured to be
// the fastest of one to sixteen streams and of 0 to 4 KiB; wider loads than SSE2's were no faster.
constexpr std::size_t block_bytes = 8 * mebibyte;
constexpr std::size_t streams = 4;
constexpr std::size_t prefetch_distance = 1024;

// The exclusive or of all words: whoever wants it has read every byte.
std::uint64_t read_block(const std::byte* block) {
  using Line = std::uint64_t __attribute__((vector_size(64)));
  constexpr std::size_t stream_bytes = block_bytes / streams;
  Line sums[streams] = {};
  for (std::size_t i = 0; i < stream_bytes; i += sizeof(Line)) {
    for (std::size_t s = 0; s < streams; ++s) {
      const std::byte* const line = block + s * stream_bytes + i;
      __builtin_prefetch(line + prefetch_distance);
      Line words;
      std::memcpy(&words, line, sizeof words);
      sums[s] ^= words;
    }
  }
  const Line sum = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < sizeof(Line) / sizeof word; ++i) word ^= sum[i];
  return word;
}

template <typename Measure>
double median_of_passes(const Measure& measure) {
  std::vector<double> rates;
  for (std::size_t i = 0; i < passes; ++i) rates.push_back(measure());
  return summarize(rates).median;
}

}  // namespace

std::string processor_name(const fs::path& root) {
  std::ifstream file(root / "proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    if (begin != std::string::npos) return line.substr(begin);
  }
  return {};
}

std::uint64_t last_level_cache_bytes(const fs::path& root) {
  std::uint64_t most = 0;
  for (int index = 0; index < 8; ++index) {
    std::ifstream file(root / "sys/devices/system/cpu/cpu0/cache" / ("index" + std::to_string(index)) /
                       "size");
    std::uint64_t size = 0;
    char unit = 0;  // the kernel writes "107520K"
    if (!(file >> size >> unit)) continue;
    most = std::max(most, size << (unit == 'M' ? 20 : 10));
  }
  return most;
}

std::uint64_t bandwidth_buffer_bytes(std::uint64_t last_level_cache, std::uint64_t available) {
  const std::uint64_t wanted = std::max<std::uint64_t>(2048 * mebibyte, 4 * last_level_cache);
  const std::uint64_t most = std::min(wanted, available / 4);
  return std::max<std::uint64_t>(1, most / block_bytes) * block_bytes;
}

std::uint64_t address_space_left() {
  constexpr std::uint64_t unlimited = std::uint64_t{0} - 1;
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return unlimited;
  std::uint64_t pages = 0;  // the first number of statm: all that is mapped
  if (!(std::ifstream("/proc/self/statm") >> pages)) return unlimited;
  return limit.rlim_cur -
         std::min<std::uint64_t>(limit.rlim_cur, pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
}

MachineLimits::MachineLimits(ThreadPool& pool, const kernels::Kernels& kernels, std::uint64_t buffer_bytes,
                             const std::atomic<bool>* cancel)
    : pool_(pool), kernels_(kernels), cancel_(cancel), buffer_(buffer_bytes) {
  pool_.parallel_for(buffer_.bytes().size() / block_bytes, [&](std::size_t block, std::size_t) {
    check_cancelled(cancel_);
    std::memset(buffer_.bytes().data() + block * block_bytes, static_cast<int>(block % 251 + 1), block_bytes);
  });
  constexpr double shortest = 0.004;  // seconds: long beside a thread's waking up
  while (true) {
    const auto start = Clock::now();
    kernels_.peak(rounds_);
    if (seconds_since(start) >= shortest) break;
    rounds_ *= 2;
  }
}

void MachineLimits::measure() {
  const double bandwidth = median_of_passes([&] { return read_once(); });
  const double peak = median_of_passes([&] { return compute_once(); });
  bandwidths_.push_back(bandwidth);
  peaks_.push_back(peak);
}

double MachineLimits::read_once() {
  std::atomic<std::uint64_t> sum{0};
  const std::size_t blocks = buffer_.bytes().size() / block_bytes;
  const auto start = Clock::now();
  pool_.parallel_for(blocks, [&](std::size_t block, std::size_t) {
    check_cancelled(cancel_);
    sum.fetch_xor(read_block(buffer_.bytes().data() + block * block_bytes), std::memory_order_relaxed);
  });
  return static_cast<double>(blocks * block_bytes) / seconds_since(start);
}

double MachineLimits::compute_once() {
  constexpr std::size_t shares = 4;  // a thread: one that is held up leaves its work to the others
  std::atomic<double> operations{0};
  const auto start = Clock::now();
  pool_.parallel_for(shares * pool_.size(), [&](std::size_t, std::size_t) {
    check_cancelled(cancel_);
    operations.fetch_add(kernels_.peak(rounds_), std::memory_order_relaxed);
  });
  return operations / seconds_since(start);
}

}  // namespace baleen
