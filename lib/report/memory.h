// How much memory this process can have: what the machine has free, and what its cgroups leave it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace baleen {

struct MemoryState {
  std::uint64_t total = 0;      // of the machine, or of the narrowest cgroup
  std::uint64_t available = 0;  // of it without swapping; page cache counts, it can be dropped
};

// None if the system does not say. `root` is where /proc and /sys are found, for tests.
std::optional<MemoryState> memory_state(const std::filesystem::path& root = "/");

}  // namespace baleen
