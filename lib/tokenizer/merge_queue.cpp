#include "tokenizer/merge_queue.h"

#include <algorithm>
#include <functional>

namespace baleen {

MergeQueue::Bucket& MergeQueue::open(std::uint32_t rank, TokenId id) {
  if (bucket_of_.size() <= rank) bucket_of_.resize(std::size_t{rank} + 1, kNone);
  std::uint32_t& index = bucket_of_[rank];
  if (index != kNone) return buckets_[index];
  if (unused_.empty()) {
    unused_.push_back(static_cast<std::uint32_t>(buckets_.size()));
    buckets_.emplace_back();
  }
  index = unused_.back();
  unused_.pop_back();
  ranks_.push_back(rank);
  std::push_heap(ranks_.begin(), ranks_.end(), std::greater<>());
  buckets_[index].id = id;
  return buckets_[index];
}

void MergeQueue::push(std::uint32_t rank, std::uint32_t position, TokenId id) {
  Bucket& bucket = open(rank, id);
  std::vector<std::uint32_t>& positions = bucket.positions;
  const bool ascending = positions.empty() || positions.back() <= position;
  positions.push_back(position);
  if (bucket.is_heap) {
    std::push_heap(positions.begin(), positions.end(), std::greater<>());
  } else if (!ascending) {
    positions.erase(positions.begin(), positions.begin() + static_cast<std::ptrdiff_t>(bucket.head));
    std::make_heap(positions.begin(), positions.end(), std::greater<>());
    bucket.is_heap = true;
  }
}

// The lowest rank's bucket is empty.
void MergeQueue::close(std::uint32_t rank) {
  Bucket& bucket = buckets_[bucket_of_[rank]];
  bucket.positions.clear();
  bucket.head = 0;
  bucket.is_heap = false;
  unused_.push_back(bucket_of_[rank]);
  bucket_of_[rank] = kNone;
  std::pop_heap(ranks_.begin(), ranks_.end(), std::greater<>());
  ranks_.pop_back();
}

bool MergeQueue::pop(std::uint32_t& position, TokenId& id) {
  if (ranks_.empty()) return false;
  const std::uint32_t rank = ranks_.front();
  Bucket& bucket = buckets_[bucket_of_[rank]];
  std::vector<std::uint32_t>& positions = bucket.positions;
  id = bucket.id;
  if (bucket.is_heap) {
    position = positions.front();
    std::pop_heap(positions.begin(), positions.end(), std::greater<>());
    positions.pop_back();
    if (positions.empty()) close(rank);
  } else {
    position = positions[bucket.head++];
    if (bucket.head == positions.size()) close(rank);
  }
  return true;
}

}  // namespace baleen
