#include "routing/cache_stack.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace baleen {
namespace {

constexpr std::uint32_t nowhere = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t block = 64;  // entries; about the root of the experts of a large model

}  // namespace

RecencyStack::RecencyStack(std::size_t keys)
    : tree_(2 * keys + 1, 0), key_at_(2 * keys, nowhere), slot_of_(keys, nowhere) {}

void RecencyStack::mark(std::size_t slot, bool on) {
  for (std::size_t i = slot + 1; i < tree_.size(); i += i & (~i + 1)) tree_[i] += on ? 1u : ~0u;
}

std::size_t RecencyStack::marked_before(std::size_t slot) const {
  std::size_t count = 0;
  for (std::size_t i = slot; i > 0; i &= i - 1) count += tree_[i];
  return count;
}

void RecencyStack::compact() {
  next_ = 0;
  for (std::size_t slot = 0; slot < key_at_.size(); ++slot) {
    const std::uint32_t key = std::exchange(key_at_[slot], nowhere);
    if (key == nowhere) continue;
    slot_of_[key] = static_cast<std::uint32_t>(next_);
    key_at_[next_++] = key;
  }
  std::fill(tree_.begin(), tree_.end(), 0u);
  for (std::size_t slot = 0; slot < next_; ++slot) mark(slot, true);
}

std::size_t RecencyStack::read(std::uint32_t key) {
  std::size_t depth = 0;
  if (const std::size_t slot = slot_of_[key]; slot != nowhere) {
    depth = live_ - marked_before(slot);
    mark(slot, false);
    key_at_[slot] = nowhere;
  } else {
    ++live_;
  }
  slot_of_[key] = nowhere;
  if (next_ == key_at_.size()) compact();
  slot_of_[key] = static_cast<std::uint32_t>(next_);
  key_at_[next_] = key;
  mark(next_++, true);
  return depth;
}

PriorityStack::PriorityStack(std::size_t keys) : position_(keys, nowhere) {
  entries_.reserve(keys);
  least_.reserve(keys / block + 1);
}

void PriorityStack::put(std::size_t at, Entry entry) {
  entries_[at] = entry;
  position_[entry.key] = static_cast<std::uint32_t>(at);
}

std::size_t PriorityStack::read(std::uint32_t key, std::uint64_t priority) {
  const bool seen = position_[key] != nowhere;
  const std::size_t hole = seen ? position_[key] : entries_.size();
  if (!seen) entries_.emplace_back();
  least_.resize((entries_.size() + block - 1) / block, std::numeric_limits<std::uint64_t>::max());

  // The key goes to the top. Whom it pushes from there goes down past those of higher or equal priority,
  // takes the place of the first one that has less, which goes on in the same way, and the last takes the
  // hole.
  Entry falling{priority, key};
  for (std::size_t begin = 0; begin <= hole; begin += block) {
    const std::size_t b = begin / block;
    const std::size_t end = std::min(begin + block, hole);
    if (begin > 0 && end == begin + block && least_[b] >= falling.priority) continue;
    std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
    for (std::size_t i = begin; i < end; ++i) {
      if (i == 0 || entries_[i].priority < falling.priority) {
        const Entry pushed = entries_[i];
        put(i, falling);
        falling = pushed;
      }
      least = std::min(least, entries_[i].priority);
    }
    if (hole < begin + block) {
      put(hole, falling);
      const std::size_t full = std::min(begin + block, entries_.size());
      for (std::size_t i = hole; i < full; ++i) least = std::min(least, entries_[i].priority);
    }
    least_[b] = least;
  }
  return seen ? hole + 1 : 0;
}

}  // namespace baleen
