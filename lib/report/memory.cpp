#include "report/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

namespace baleen {
namespace {

// The number behind `key` in a file of lines "key number ..." or "key: number ...".
std::optional<std::uint64_t> read_field(const std::filesystem::path& file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string word; stream >> word;) {
    std::uint64_t value = 0;
    if ((word == key || word == key + ":") && stream >> value) return value;
    stream.clear();
    std::getline(stream, word);
  }
  return {};
}

// A file that holds one number; none for "max".
std::optional<std::uint64_t> read_number(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::uint64_t value = 0;
  if (stream >> value) return value;
  return {};
}

void narrow(MemoryState& state, std::uint64_t limit, std::uint64_t used, std::uint64_t cache) {
  if (limit >= state.total) return;  // cgroup v1 writes "no limit" as a number near 2^63
  state.total = limit;
  const std::uint64_t held = used - std::min(used, cache);
  state.available = std::min(state.available, limit - std::min(limit, held));
}

void apply_cgroup(MemoryState& state, const std::filesystem::path& dir) {
  const auto limit = read_number(dir / "memory.max");
  if (!limit) return;
  const auto file_cache = read_field(dir / "memory.stat", "file").value_or(0);
  narrow(state, *limit, read_number(dir / "memory.current").value_or(0), file_cache);
}

void apply_cgroup_v1(MemoryState& state, const std::filesystem::path& dir) {
  const auto limit = read_number(dir / "memory.limit_in_bytes");
  if (!limit) return;
  const auto file_cache = read_field(dir / "memory.stat", "total_cache").value_or(0);
  narrow(state, *limit, read_number(dir / "memory.usage_in_bytes").value_or(0), file_cache);
}

// This process's cgroup and all above it: the narrowest counts.
void apply_cgroups(MemoryState& state, const std::filesystem::path& root) {
  std::ifstream stream(root / "proc/self/cgroup");
  for (std::string line; std::getline(stream, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
    const std::filesystem::path mount = root / (unified ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    std::filesystem::path group = std::filesystem::path(line.substr(second + 1)).relative_path();
    while (true) {
      unified ? apply_cgroup(state, mount / group) : apply_cgroup_v1(state, mount / group);
      if (group.empty()) break;
      group = group.parent_path();
    }
  }
}

}  // namespace

std::optional<MemoryState> memory_state(const std::filesystem::path& root) {
  const auto total = read_field(root / "proc/meminfo", "MemTotal");
  const auto available = read_field(root / "proc/meminfo", "MemAvailable");
  if (!total || !available) return {};
  MemoryState state{.total = *total * 1024, .available = *available * 1024};
  apply_cgroups(state, root);
  return state;
}

}  // namespace baleen
