// How large a cache must be to serve a read, for all sizes at once: stack distances (Mattson, Gecsei, Slutz
// and Traiger, Evaluation techniques for storage hierarchies, IBM Systems Journal 9 (2), 1970). Caches that
// take in every key read, and throw out by an order of the keys that does not depend on the cache's size,
// hold one another, the smaller in the larger. So all of them are one list, of which a cache of n keys holds
// the first n, and a read is served by the caches that reach down to its key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace baleen {

// Throws out the key that was not read for longest (LRU). Time per read O(log keys), memory O(keys).
class RecencyStack {
 public:
  // Keys are 0 .. keys - 1.
  explicit RecencyStack(std::size_t keys);

  // The key's depth before this read, 1 for the one just read, 0 for a key never read.
  std::size_t read(std::uint32_t key);

 private:
  // Reads since the start of the slots, of which only the last of each key is marked; a Fenwick tree counts
  // the marks. When the slots are used up, the marked ones move together to the front.
  void mark(std::size_t slot, bool on);
  std::size_t marked_before(std::size_t slot) const;
  void compact();

  std::vector<std::uint32_t> tree_;
  std::vector<std::uint32_t> key_at_;   // [slots]
  std::vector<std::uint32_t> slot_of_;  // [keys]
  std::size_t next_ = 0;
  std::size_t live_ = 0;
};

// Throws out the key of least priority, where a key's priority changes only as it is read (equal ones: the
// lower in the list). With the time of the next read, the sooner the higher, that is Belady's optimum (A
// study of replacement algorithms for a virtual-storage computer, IBM Systems Journal 5 (2), 1966). Time per
// read is O(depth) at worst; blocks that no key enters or leaves are skipped.
class PriorityStack {
 public:
  explicit PriorityStack(std::size_t keys);

  // Like RecencyStack's; the key has this priority from now on.
  std::size_t read(std::uint32_t key, std::uint64_t priority);

 private:
  struct Entry {
    std::uint64_t priority = 0;
    std::uint32_t key = 0;
  };
  void put(std::size_t at, Entry);

  std::vector<Entry> entries_;
  std::vector<std::uint64_t> least_;     // the least priority in each block of entries
  std::vector<std::uint32_t> position_;  // [keys] index in entries_
};

}  // namespace baleen
