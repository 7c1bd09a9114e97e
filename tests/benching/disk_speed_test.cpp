#include "bench/disk_speed.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "error.h"

using namespace baleen;
namespace fs = std::filesystem;

TEST_CASE("the best of some measurements") {
  CHECK(best_bandwidth({}) == 0);
  const std::vector<SequentialRead> samples = {{.bytes = 100, .seconds = 2}, {.bytes = 90, .seconds = 1}, {}};
  CHECK(best_bandwidth(samples) == 90);
}

TEST_CASE("large files come first, files of one size in their order") {
  const fs::path dir = fs::temp_directory_path() / ("baleen_disk_speed_" + std::to_string(::getpid()));
  fs::create_directories(dir);
  std::vector<fs::path> files;
  for (const std::size_t size : {10, 3000, 10, 200}) {
    files.push_back(dir / std::to_string(files.size()));
    std::ofstream(files.back()) << std::string(size, 'x');
  }
  CHECK(largest_first(files) == std::vector<fs::path>{files[1], files[3], files[0], files[2]});
  fs::remove_all(dir);
  CHECK_THROWS_AS(largest_first(files), fs::filesystem_error);
}

TEST_CASE("a read that fails ends the measurement, and the others do not write to memory that is gone") {
  const fs::path file = fs::temp_directory_path() / ("baleen_disk_speed_" + std::to_string(::getpid()));
  std::ofstream(file) << std::string(std::size_t{1} << 20U, 'x');
  std::atomic<int> reads{0}, gone{0};
  DirectReaderOptions options;
  options.engine = ReadEngine::pread;
  options.piece = 4096;
  options.in_flight = std::size_t{64} << 10U;
  options.spoil = [&](const ReadAttempt& attempt, ssize_t result) -> ssize_t {
    if (reads.fetch_add(1) == 0) return -EIO;
    // As if the system were slow to write.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    unsigned char resident = 0;
    if (::mincore(attempt.memory.data(), 1, &resident) != 0) ++gone;
    return result;
  };
  const std::vector<fs::path> files = {file};
  CHECK_THROWS_WITH_AS(sequential_bandwidth(files, std::size_t{1} << 20U, 60, options),
                       doctest::Contains("Input/output error"), Error);
  CHECK(gone == 0);
  fs::remove(file);
}
