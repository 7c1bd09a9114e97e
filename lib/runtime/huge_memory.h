// Anonymous memory in huge pages where the system has them, taken page by page as it is written.
#pragma once

#include <cstddef>
#include <span>

namespace baleen {

class HugeMemory {
 public:
  // Throws std::bad_alloc. Content is zero.
  explicit HugeMemory(std::size_t bytes);
  ~HugeMemory();
  HugeMemory(const HugeMemory&) = delete;
  HugeMemory& operator=(const HugeMemory&) = delete;

  std::span<std::byte> bytes() const { return {data_, size_}; }
  // Returns the whole pages inside of a part of it to the system: what they held is lost.
  void give_up(std::span<const std::byte> part);

 private:
  std::byte* data_ = nullptr;  // at a huge page
  std::size_t size_ = 0;
};

}  // namespace baleen
