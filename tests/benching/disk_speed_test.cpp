#include "bench/disk_speed.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

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
