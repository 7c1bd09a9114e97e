#include "runtime/kv_cache.h"

#include <sys/mman.h>

#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "error.h"

namespace baleen {

KvLayout::KvLayout(const Config& config, kernels::KvFormat kv_format) : format(kv_format) {
  if (config.attention == AttentionKind::mla) {
    key_width = config.kv_lora_rank + config.qk_rope_head_dim;
    key_row_bytes = value_row_bytes = kernels::kv_row_bytes(format, key_width);
    position_bytes = key_row_bytes;
    return;
  }
  heads = config.num_key_value_heads;
  key_width = value_width = config.head_dim;
  key_row_bytes = value_row_bytes = kernels::kv_row_bytes(format, key_width);
  position_bytes = heads * (key_row_bytes + value_row_bytes);
}

KvCache::KvCache(const KvLayout& layout, std::size_t layers, std::size_t context)
    : layout_(layout), layers_(layers), context_(context), layer_bytes_(context * layout.position_bytes) {
  const std::size_t most = std::numeric_limits<std::size_t>::max() / 2;
  void* memory = MAP_FAILED;
  if (context <= most / layout.position_bytes && layer_bytes_ <= most / layers)
    memory = mmap(nullptr, layers * layer_bytes_, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw Error("no room for a KV cache of " + std::to_string(context) + " tokens (" +
                std::to_string(layout.position_bytes * layers) + " bytes each); try a smaller --ctx");
  memory_ = static_cast<std::byte*>(memory);
  // A layer of a short context would leave most of a huge page empty.
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  if (layer_bytes_ >= 2 * huge_page) madvise(memory, layers * layer_bytes_, MADV_HUGEPAGE);
}

KvCache::~KvCache() { release(); }

KvCache::KvCache(KvCache&& other) noexcept { *this = std::move(other); }

KvCache& KvCache::operator=(KvCache&& other) noexcept {
  if (this == &other) return *this;
  release();
  layout_ = other.layout_;
  layers_ = other.layers_;
  context_ = other.context_;
  length_ = other.length_;
  layer_bytes_ = other.layer_bytes_;
  memory_ = std::exchange(other.memory_, nullptr);
  return *this;
}

void KvCache::release() {
  if (memory_) munmap(memory_, layers_ * layer_bytes_);
  memory_ = nullptr;
}

std::byte* KvCache::keys(std::size_t layer, std::size_t head) const {
  return memory_ + layer * layer_bytes_ + head * layout_.key_row_bytes;
}

std::byte* KvCache::values(std::size_t layer, std::size_t head) const {
  if (layout_.value_width == 0) return keys(layer, head);
  return memory_ + layer * layer_bytes_ + context_ * key_stride() + head * layout_.value_row_bytes;
}

void KvCache::copy_rows(const KvCache& from, std::size_t layer, std::size_t positions) {
  std::memcpy(keys(layer, 0), from.keys(layer, 0), positions * key_stride());
  if (layout_.value_width > 0)
    std::memcpy(values(layer, 0), from.values(layer, 0), positions * value_stride());
}

}  // namespace baleen
