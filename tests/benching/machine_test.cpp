#include "bench/machine.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "kernels/dispatch.h"
#include "model/forward.h"

using namespace baleen;
namespace fs = std::filesystem;

namespace {

struct FakeRoot {
  fs::path path = fs::temp_directory_path() / "baleen_machine_test";
  FakeRoot() { fs::remove_all(path); }
  ~FakeRoot() { fs::remove_all(path); }
  void write(const fs::path& file, const std::string& text) const {
    fs::create_directories((path / file).parent_path());
    std::ofstream(path / file) << text;
  }
};

}  // namespace

TEST_CASE("what the system says of the processor") {
  const FakeRoot root;
  CHECK(processor_name(root.path) == "");
  CHECK(last_level_cache_bytes(root.path) == 0);
  root.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: A Processor @ 2 GHz\nflags\t: fpu\n");
  root.write("sys/devices/system/cpu/cpu0/cache/index0/size", "48K\n");
  root.write("sys/devices/system/cpu/cpu0/cache/index3/size", "107520K\n");
  CHECK(processor_name(root.path) == "A Processor @ 2 GHz");
  CHECK(last_level_cache_bytes(root.path) == std::uint64_t{105} << 20);
}

TEST_CASE("the buffer that bandwidth is measured on") {
  constexpr std::uint64_t gibibyte = std::uint64_t{1} << 30;
  CHECK(bandwidth_buffer_bytes(gibibyte / 10, 100 * gibibyte) == 2 * gibibyte);
  CHECK(bandwidth_buffer_bytes(gibibyte, 100 * gibibyte) == 4 * gibibyte);
  CHECK(bandwidth_buffer_bytes(gibibyte, 2 * gibibyte) == gibibyte / 2);
  CHECK(bandwidth_buffer_bytes(gibibyte, 0) > 0);
}

TEST_CASE("a limit on the address space") {
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  constexpr rlim_t all = rlim_t{1} << 47;  // more than sanitizers map
  if (before.rlim_cur < all) return;       // somebody else's limit holds
  rlimit limited = before;
  limited.rlim_cur = all;
  REQUIRE(setrlimit(RLIMIT_AS, &limited) == 0);
  const std::uint64_t left = address_space_left();
  const HugeMemory more(std::size_t{1} << 30);
  const std::uint64_t less = address_space_left();
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(left < all);
  CHECK(less + (std::uint64_t{1} << 29) <= left);
}

TEST_CASE("both limits are measured, for every instruction set") {
  ThreadPool pool(2);
  for (const kernels::UsableTable& table : kernels::usable_tables()) {
    CAPTURE(table.isa);
    CHECK(table.kernels->peak(1) > 0);
    CHECK(table.kernels->peak(1000) == 1000 * table.kernels->peak(1));
    MachineLimits limits(pool, *table.kernels, std::uint64_t{32} << 20, nullptr);
    limits.measure();
    CHECK(limits.bandwidth().median > 0);
    CHECK(limits.peak().median > 0);
  }
}

TEST_CASE("measuring the machine stops when it is told to") {
  ThreadPool pool(2);
  const kernels::Kernels& kernels = *kernels::usable_tables().front().kernels;
  constexpr std::uint64_t bytes = std::uint64_t{32} << 20;
  std::atomic<bool> cancel{true};
  CHECK_THROWS_AS(MachineLimits(pool, kernels, bytes, &cancel), Cancelled);
  cancel = false;
  MachineLimits limits(pool, kernels, bytes, &cancel);
  limits.measure();
  const double bandwidth = limits.bandwidth().median;
  const double peak = limits.peak().median;
  cancel = true;
  CHECK_THROWS_AS(limits.measure(), Cancelled);
  CHECK(limits.bandwidth().median == bandwidth);
  CHECK(limits.peak().median == peak);
}
