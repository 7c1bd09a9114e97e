// Chooses a table: what the program was built with, less what CPU and operating system lack.
#include "kernels/dispatch.h"

#include <vector>

#include "kernels/tables.h"

namespace baleen::kernels {
namespace {

struct Isa {
  const Kernels& (*table)();
  IsaInfo info;
};

// Best first; asked for once.
std::span<const Isa> isas() {
  static const Isa list[] = {
      {scalar_kernels, {"scalar", true, ""}},
  };
  return list;
}

}  // namespace

std::span<const IsaInfo> instruction_sets() {
  static const auto list = [] {
    std::vector<IsaInfo> infos;
    for (const Isa& isa : isas()) infos.push_back(isa.info);
    return infos;
  }();
  return list;
}

const Kernels* find_kernels(std::string_view name) {
  for (const Isa& isa : isas()) {
    if (isa.info.available && (name == "auto" || name == isa.info.name)) return &isa.table();
  }
  return nullptr;
}

std::size_t matmul_scratch(std::size_t cols) {
  return scratch_align + scratch_rows * padded(cols) + scratch_rows * scratch_tokens * scratch_align;
}

std::size_t attention_scratch(std::size_t queries, std::size_t k_dim, std::size_t v_dim) {
  return scratch_align + attention_block * (padded(k_dim) + padded(v_dim) + queries);
}

std::size_t kv_row_bytes(KvFormat format, std::size_t width) {
  switch (format) {
    case KvFormat::f32: return 4 * width;
    case KvFormat::bf16: return 2 * width;
    case KvFormat::int8: return width + sizeof(float) * ((width + kv_group - 1) / kv_group);
  }
  return 0;
}

}  // namespace baleen::kernels
