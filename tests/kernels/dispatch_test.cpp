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
      for (std::size_t phase = 0; phase < phase_count; ++phase) CHECK((kernels.matmul[phase][f] != nullptr));
      CHECK((kernels.matmul_transposed[f] != nullptr));
      CHECK((kernels.widen_row[f] != nullptr));
    }
    CHECK((kernels.rms_norm != nullptr));
    CHECK((kernels.silu_mul != nullptr));
    CHECK((kernels.axpy != nullptr));
    CHECK((kernels.attention != nullptr));
    CHECK((kernels.kv_store != nullptr));
    for (const IsaInfo& other : instruction_sets()) {
      if (!other.available || other.name == isa.name) continue;
      const Kernels& others = *find_kernels(other.name);
      for (std::size_t f = 0; f < format_count; ++f) CHECK((kernels.matmul[1][f] != others.matmul[1][f]));
      CHECK((kernels.attention != others.attention));
    }
  }
}

TEST_CASE("features are words of the CPU's own list") {
  for (const IsaInfo& isa : instruction_sets()) {
    if (isa.name == "scalar") CHECK(isa.features.empty());
    if (isa.name == "avx2") CHECK(isa.features == "avx2 fma f16c");
    if (isa.name == "avx512") CHECK(isa.features == "avx512f avx512bw avx512dq avx512vl");
  }
}

}  // namespace
}  // namespace baleen::kernels
