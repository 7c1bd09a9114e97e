// Chooses a table: what the program was built with, less what CPU and operating system lack.
#include "kernels/dispatch.h"

#include <algorithm>
#include <vector>

#include "kernels/tables.h"

#if defined(__x86_64__)
#include "kernels/amx.h"
#include "kernels/x86_cpu.h"
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

bool has_avx2() {
  constexpr unsigned fma = 1u << 12;
  constexpr unsigned avx = 1u << 28;
  constexpr unsigned f16c = 1u << 29;
  constexpr unsigned avx2 = 1u << 5;
  return has_all(saved_state(), 0x6) && has_all(cpuid(1).ecx, fma | avx | f16c) &&
         has_all(cpuid(7).ebx, avx2);
}

bool has_avx2_dot() {
  constexpr unsigned avx_vnni = 1u << 4;
  return has_avx2() && has_all(cpuid(7, 1).eax, avx_vnni);
}

bool has_avx512() {
  constexpr unsigned f = 1u << 16;
  constexpr unsigned dq = 1u << 17;
  constexpr unsigned bw = 1u << 30;
  constexpr unsigned vl = 1u << 31;
  return has_avx2() && has_all(saved_state(), 0xe6) && has_all(cpuid(7).ebx, f | dq | bw | vl);
}

bool has_avx512_dot() {
  constexpr unsigned vbmi = 1u << 1;
  constexpr unsigned vnni = 1u << 11;
  return has_avx512() && has_all(cpuid(7).ecx, vbmi | vnni);
}

bool has_amx() {
  constexpr unsigned avx512_bf16 = 1u << 5;
  return has_avx512_dot() && has_all(cpuid(7, 1).eax, avx512_bf16) && has_tiles();
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
bool has_i8mm() {
  return getauxval(AT_HWCAP2) & HWCAP2_I8MM;
}
#else
bool has_dotprod() {
  return false;
}
bool has_bf16() {
  return false;
}
bool has_i8mm() {
  return false;
}
#endif

#endif

// Best first; asked for once.
std::span<const Table> tables() {
  static const Table list[] = {
#if defined(__x86_64__)
    {amx_kernels, "amx", has_amx(),
     "amx_tile amx_bf16 avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 avx512_vbmi"},
    {avx512_dot_kernels, "avx512", has_avx512_dot(),
     "avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_vbmi"},
    {avx512_kernels, "avx512", has_avx512(), "avx512f avx512bw avx512dq avx512vl"},
    {avx2_dot_kernels, "avx2", has_avx2_dot(), "avx2 fma f16c avx_vnni"},
    {avx2_kernels, "avx2", has_avx2(), "avx2 fma f16c"},
#elif defined(__aarch64__)
    {neon_i8mm_kernels, "neon", has_dotprod() && has_bf16() && has_i8mm(), "asimd asimddp bf16 i8mm"},
    {neon_bf16_kernels, "neon", has_dotprod() && has_bf16(), "asimd asimddp bf16"},
    {neon_dotprod_kernels, "neon", has_dotprod(), "asimd asimddp"},
    {neon_kernels, "neon", true, "asimd"},
#endif
    {scalar_kernels, "scalar", true, ""},
  };
  return list;
}

// Floats of the results of 2 x 2 tiles.
constexpr std::size_t tile_block = 32 * 32;
// A tile of AMX, in floats.
constexpr std::size_t tile_floats = 256;

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
  return std::max(widened_scratch(cols), amx_scratch(cols));
}

std::size_t transposed_scratch(std::size_t rows, std::size_t cols) {
  const std::size_t row_tiles = (cols + 31) / 32;
  const std::size_t steps = (rows + 31) / 32;
  const std::size_t on_tiles = std::max(row_tiles * 32, tile_block) +
                               row_tiles * tile_floats * (1 + 2 * steps) + 2 * steps * tile_floats;
  return std::max(matmul_scratch(cols), scratch_align + on_tiles);
}

std::size_t attention_scratch(std::size_t queries, std::size_t k_dim, std::size_t v_dim) {
  const std::size_t by_blocks =
      scratch_align + attention_block * (padded(k_dim) + padded(v_dim) + queries) + queries;
  // On tiles a whole segment is held in bf16: keys, values, and for 32 queries themselves, their scores in
  // float32 and their weights.
  constexpr std::size_t positions = attention_segment + attention_block;
  const std::size_t k_tiles = (k_dim + 31) / 32;
  const std::size_t v_tiles = (v_dim + 31) / 32;
  const std::size_t on_tiles = scratch_align + positions / 16 * (k_tiles + v_tiles) * tile_floats +
                               (2 * k_tiles + v_tiles) * tile_floats + 32 * positions * 3 / 2 +
                               32 * std::max(k_tiles, v_tiles) + tile_block;
  return std::max(by_blocks, on_tiles);
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
