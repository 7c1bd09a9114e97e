// The pairs of a long word that may be merged, lowest rank first and leftmost first within a rank. All pairs
// of a rank become the same token, so positions wait in a bucket for each rank: in a list as long as they
// come in ascending order, as they mostly do, else in a heap. O(n log n) at worst, and for a megabyte of one
// letter a walk through memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tokenizer/tokens.h"

namespace baleen {

class MergeQueue {
 public:
  void push(std::uint32_t rank, std::uint32_t position, TokenId id);

  // False when it is empty. `id` is what was pushed with the rank.
  bool pop(std::uint32_t& position, TokenId& id);

 private:
  struct Bucket {
    std::vector<std::uint32_t> positions;
    std::size_t head = 0;  // of the list; a heap has none
    bool is_heap = false;
    TokenId id = kNoToken;
  };
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  Bucket& open(std::uint32_t rank, TokenId id);
  void close(std::uint32_t rank);

  std::vector<std::uint32_t> bucket_of_;  // by rank; kNone where nothing waits
  std::vector<Bucket> buckets_;
  std::vector<std::uint32_t> unused_;  // buckets to take next
  std::vector<std::uint32_t> ranks_;   // heap of those that have a bucket
};

}  // namespace baleen
