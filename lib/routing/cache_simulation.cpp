#include "routing/cache_simulation.h"

#include <optional>

namespace baleen {

// If all there is waits to be read, the last of them goes: it waits for longest.
void CacheSimulation::make_room() {
  std::optional<ExpertKey> victim = policy_.victim();
  if (!victim) {
    victim = waiting_.front();
    waiting_.erase(waiting_.begin());
    policy_.unpin(*victim);
  }
  policy_.erase(*victim);
}

std::size_t CacheSimulation::read(std::size_t layer, std::span<const ExpertTokens> reads,
                                  std::uint64_t tokens) {
  policy_.access(layer, reads, tokens);
  const auto key_of = [layer](const ExpertTokens& read) {
    return ExpertKey{static_cast<std::uint32_t>(layer), read.expert};
  };
  for (std::size_t i = reads.size(); i-- > 0;) {
    if (!policy_.holds(key_of(reads[i]))) continue;
    policy_.pin(key_of(reads[i]));
    waiting_.push_back(key_of(reads[i]));
  }
  std::size_t hits = 0;
  for (const ExpertTokens& read : reads) {
    const ExpertKey key = key_of(read);
    if (!waiting_.empty() && waiting_.back() == key) {
      ++hits;
      policy_.unpin(key);
      waiting_.pop_back();
      continue;
    }
    if (policy_.full()) make_room();
    policy_.insert(key);
  }
  return hits;
}

}  // namespace baleen
