// The keys and values of one sequence, every layer. Memory is reserved for the whole context at once and
// taken from the system page by page as positions are written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "checkpoint/config.h"
#include "kernels/kernels.h"

namespace baleen {

// What one position of one layer stores. MLA: one row of kv_lora_rank + qk_rope_head_dim numbers, which is
// key and, by its first kv_lora_rank, value. Grouped queries: a key and a value row for each key head.
struct KvLayout {
  kernels::KvFormat format = kernels::KvFormat::f32;
  std::size_t heads = 1;
  std::size_t key_width = 0;
  std::size_t value_width = 0;        // 0: values lie inside the key rows
  std::size_t key_row_bytes = 0;      // of one head
  std::size_t value_row_bytes = 0;    // of one head; the key's if values lie inside
  std::size_t position_bytes = 0;     // of all heads, keys and values

  KvLayout() = default;
  KvLayout(const Config&, kernels::KvFormat);
};

class KvCache {
 public:
  // Throws Error if the address space for `context` positions cannot be had.
  KvCache(const KvLayout&, std::size_t layers, std::size_t context);
  ~KvCache();
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;

  const KvLayout& layout() const { return layout_; }
  std::size_t context() const { return context_; }
  std::size_t length() const { return length_; }  // positions written in every layer
  void set_length(std::size_t length) { length_ = length; }
  // Takes the first `positions` rows of one layer from a cache of the same layout; lengths stay as they are.
  void copy_rows(const KvCache& from, std::size_t layer, std::size_t positions);

  // Rows of position 0; a position's rows follow each other at key_stride() and value_stride() bytes.
  std::byte* keys(std::size_t layer, std::size_t head) const;
  std::byte* values(std::size_t layer, std::size_t head) const;
  std::size_t key_stride() const { return layout_.heads * layout_.key_row_bytes; }
  std::size_t value_stride() const {
    return layout_.value_width ? layout_.heads * layout_.value_row_bytes : key_stride();
  }

 private:
  void release();

  KvLayout layout_;
  std::size_t layers_ = 0;
  std::size_t context_ = 0;
  std::size_t length_ = 0;
  std::size_t layer_bytes_ = 0;
  std::byte* memory_ = nullptr;
};

}  // namespace baleen
