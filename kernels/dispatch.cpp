// Chooses a table: what the program was built with, less what CPU and operating system lack.
#include "kernels/dispatch.h"

#include <vector>

#include "kernels/tables.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace baleen::kernels {
namespace {

// A table and what it needs. Tables of one instruction set stand side by side.
struct Table {
  const Kernels& (*kernels)();
  std::string_view isa;
  bool available;
  std::string_view features;
};

#if defined(__x86_64__)

struct CpuidRegisters {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidRegisters cpuid(unsigned leaf) {
  CpuidRegisters r;
  if (!__get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
  return r;
}

// The register state that the operating system saves, XCR0: bits 1 and 2 are the SSE and AVX registers, 5 to
// 7 those of AVX-512. A CPU may have instructions whose registers a context switch would lose.
std::uint64_t saved_state() {
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

bool has_avx2() {
  constexpr unsigned fma = 1u << 12;
  constexpr unsigned avx = 1u << 28;
  constexpr unsigned f16c = 1u << 29;
  constexpr unsigned avx2 = 1u << 5;
  return has_all(saved_state(), 0x6) && has_all(cpuid(1).ecx, fma | avx | f16c) &&
         has_all(cpuid(7).ebx, avx2);
}

bool has_avx512() {
  constexpr unsigned f = 1u << 16;
  constexpr unsigned dq = 1u << 17;
  constexpr unsigned bw = 1u << 30;
  constexpr unsigned vl = 1u << 31;
  return has_avx2() && has_all(saved_state(), 0xe6) && has_all(cpuid(7).ebx, f | dq | bw | vl);
}

#elif defined(__aarch64__)

// The kernel lists a feature only where it saves the registers; NEON itself is part of every aarch64.
#if defined(__linux__)
bool has_dotprod() {
  return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}
bool has_bf16() {
  return getauxval(AT_HWCAP2) & HWCAP2_BF16;
}
#else
bool has_dotprod() {
  return false;
}
bool has_bf16() {
  return false;
}
#endif

#endif

// Best first; asked for once.
std::span<const Table> tables() {
  static const Table list[] = {
#if defined(__x86_64__)
    {avx512_kernels, "avx512", has_avx512(), "avx512f avx512bw avx512dq avx512vl"},
    {avx2_kernels, "avx2", has_avx2(), "avx2 fma f16c"},
#elif defined(__aarch64__)
    {neon_bf16_kernels, "neon", has_dotprod() && has_bf16(), "asimd asimddp bf16"},
    {neon_dotprod_kernels, "neon", has_dotprod(), "asimd asimddp"},
    {neon_kernels, "neon", true, "asimd"},
#endif
    {scalar_kernels, "scalar", true, ""},
  };
  return list;
}

}  // namespace

std::span<const IsaInfo> instruction_sets() {
  static const auto list = [] {
    std::vector<IsaInfo> infos;
    for (const Table& table : tables()) {
      const bool again = !infos.empty() && infos.back().name == table.isa;
      if (again && (infos.back().available || !table.available)) continue;
      if (again) infos.pop_back();
      infos.push_back({table.isa, table.available, std::string(table.features)});
    }
    return infos;
  }();
  return list;
}

std::span<const UsableTable> usable_tables() {
  static const auto list = [] {
    std::vector<UsableTable> usable;
    for (const Table& table : tables()) {
      if (table.available) usable.push_back({table.isa, std::string(table.features), &table.kernels()});
    }
    return usable;
  }();
  return list;
}

const Kernels* find_kernels(std::string_view name) {
  for (const Table& table : tables()) {
    if (table.available && (name == "auto" || name == table.isa)) return &table.kernels();
  }
  return nullptr;
}

std::size_t matmul_scratch(std::size_t cols) {
  return scratch_align + scratch_rows * padded(cols) + scratch_sums;
}

std::size_t attention_scratch(std::size_t queries, std::size_t k_dim, std::size_t v_dim) {
  return scratch_align + attention_block * (padded(k_dim) + padded(v_dim) + queries) + scratch_sums;
}

std::size_t kv_row_bytes(KvFormat format, std::size_t width) {
  switch (format) {
    case KvFormat::f32:
      return 4 * width;
    case KvFormat::bf16:
      return 2 * width;
    case KvFormat::int8:
      return width + sizeof(float) * ((width + kv_group - 1) / kv_group);
  }
  return 0;
}

}  // namespace baleen::kernels
