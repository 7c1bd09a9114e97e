// Waiting for another thread: looking for a while, then sleeping.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace baleen {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` is no longer `old`; sleeps after `spin`. Who changes it must notify.
inline void wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old,
                            std::chrono::microseconds spin) {
  const auto end = std::chrono::steady_clock::now() + spin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  value.wait(old, std::memory_order_acquire);
}

}  // namespace baleen
