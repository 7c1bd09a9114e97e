// Choosing a table.
#include "kernels/support.h"

namespace baleen::kernels {
namespace {

TEST_CASE("find_kernels: a name gives its own table, auto the best, anything else none") {
  const auto isas = instruction_sets();
  REQUIRE(!isas.empty());
  CHECK(isas.back().name == "scalar");
  CHECK(isas.back().available);
  const Kernels* best = nullptr;
  for (const IsaInfo& isa : isas) {
    const Kernels* kernels = find_kernels(isa.name);
    CHECK((kernels != nullptr) == isa.available);
    if (!kernels) continue;
    CHECK(kernels->name == isa.name);
    CHECK(kernels == find_kernels(isa.name));
    if (!best) best = kernels;
  }
  CHECK(find_kernels("auto") == best);
  for (const char* name : {"", "AVX2", "avx", "avx5120", "neon9", "scalar "})
    CHECK(find_kernels(name) == nullptr);
}

TEST_CASE("a forced table holds its own kernels, and every entry is set") {
  for (const IsaInfo& isa : instruction_sets()) {
    if (!isa.available) continue;
    const Kernels& kernels = *find_kernels(isa.name);
    for (std::size_t f = 0; f < format_count; ++f) {
      const Matrix matrix{.format = static_cast<Format>(f), .rows = 1, .cols = 64};
      for (std::size_t p = 0; p < path_count; ++p) {
        const Matmul& matmul = kernels.matmul(static_cast<Path>(p), matrix);
        CHECK((matmul.multiply != nullptr));
        CHECK(matmul.packing->slot_bytes(64) % pack_align == 0);
        CHECK((kernels.matmul_transposed[p][f] != nullptr));
      }
      CHECK((kernels.widen_row[f] != nullptr));
    }
    CHECK((kernels.rms_norm != nullptr));
    CHECK((kernels.silu_mul != nullptr));
    CHECK((kernels.axpy != nullptr));
    for (std::size_t p = 0; p < path_count; ++p) CHECK((kernels.attention[p] != nullptr));
    CHECK(kernels.attention_floats > 0);
    CHECK((kernels.kv_store != nullptr));
    CHECK((kernels.kv_load != nullptr));
    for (const IsaInfo& other : instruction_sets()) {
      if (!other.available || other.name == isa.name) continue;
      const Kernels& others = *find_kernels(other.name);
      CHECK((kernels.matmul != others.matmul));
    }
  }
}

TEST_CASE("peak: operations in proportion to the rounds") {
  for (const UsableTable& table : usable_tables()) {
    INFO(table.features);
    const double once = table.kernels->peak(1);
    CHECK(once > 0);
    CHECK(table.kernels->peak(7) == 7 * once);
  }
}

TEST_CASE("features are words of the CPU's own list") {
  for (const IsaInfo& isa : instruction_sets()) {
    if (isa.name == "scalar") CHECK(isa.features.empty());
    if (isa.name == "avx2")
      CHECK((isa.features == "avx2 fma f16c" || isa.features == "avx2 fma f16c avx_vnni"));
    const std::string avx512 = "avx512f avx512bw avx512dq avx512vl";
    if (isa.name == "avx512")
      CHECK((isa.features == avx512 || isa.features == avx512 + " avx512_vnni avx512_vbmi"));
    if (isa.name == "amx")
      CHECK(isa.features == "amx_tile amx_bf16 " + avx512 + " avx512_vnni avx512_bf16 avx512_vbmi");
    if (isa.name == "neon") {
      const bool known = isa.features == "asimd" || isa.features == "asimd asimddp" ||
                         isa.features == "asimd asimddp bf16" || isa.features == "asimd asimddp bf16 i8mm";
      CHECK(known);
    }
  }
}

}  // namespace
}  // namespace baleen::kernels
