// Questions to an x86 processor and to the operating system that it runs.
#pragma once

#include <cpuid.h>

#include <cstdint>

namespace baleen::kernels {

struct CpuidRegisters {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

inline CpuidRegisters cpuid(unsigned leaf, unsigned subleaf = 0) {
  CpuidRegisters r;
  if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
  return r;
}

// The register state that the operating system saves, XCR0: bits 1 and 2 are the SSE and AVX registers, 5 to
// 7 those of AVX-512, 17 and 18 the tiles' configuration and data. A CPU may have instructions whose
// registers a context switch would lose.
inline std::uint64_t saved_state() {
  constexpr unsigned osxsave = 1u << 27;
  if (!(cpuid(1).ecx & osxsave)) return 0;
  unsigned low = 0;
  unsigned high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

constexpr bool has_all(std::uint64_t value, std::uint64_t bits) {
  return (value & bits) == bits;
}

}  // namespace baleen::kernels
