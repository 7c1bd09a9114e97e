// Time that passes while something is measured.
#pragma once

#include <chrono>

namespace baleen {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace baleen
