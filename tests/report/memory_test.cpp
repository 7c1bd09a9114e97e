#include "report/memory.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <string>

using namespace baleen;

namespace {

// A folder that stands for /, taken away at the end.
class Root {
 public:
  Root() : path_(std::filesystem::temp_directory_path() / ("baleen-memory-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
    write("proc/meminfo", "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n");
  }
  ~Root() { std::filesystem::remove_all(path_); }

  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((path_ / file).parent_path());
    std::ofstream(path_ / file) << text;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

TEST_CASE("the machine's memory") {
  const Root root;
  const auto state = memory_state(root.path());
  REQUIRE(state);
  CHECK(state->total == 16000 * 1024);
  CHECK(state->available == 8000 * 1024);
  CHECK_FALSE(memory_state(root.path() / "nowhere"));
}

TEST_CASE("the narrowest cgroup counts, its page cache does not") {
  const Root root;
  root.write("proc/self/cgroup", "0::/a/b\n");
  root.write("sys/fs/cgroup/a/memory.max", "4096000\n");
  root.write("sys/fs/cgroup/a/memory.current", "3000000\n");
  root.write("sys/fs/cgroup/a/memory.stat", "anon 1000000\nfile 2000000\n");
  root.write("sys/fs/cgroup/a/b/memory.max", "max\n");
  const auto state = memory_state(root.path());
  REQUIRE(state);
  CHECK(state->total == 4096000);
  CHECK(state->available == 3096000);
}

TEST_CASE("cgroup version 1") {
  const Root root;
  root.write("proc/self/cgroup", "5:cpu:/\n4:memory:/x\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "2048000\n");
  root.write("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "2048000\n");
  root.write("sys/fs/cgroup/memory/x/memory.stat", "cache 0\ntotal_cache 1024000\n");
  const auto state = memory_state(root.path());
  REQUIRE(state);
  CHECK(state->total == 2048000);
  CHECK(state->available == 1024000);
}
