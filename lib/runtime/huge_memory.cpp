#include "runtime/huge_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

namespace baleen {

namespace {
constexpr std::size_t huge_page = std::size_t{2} << 20;
}

HugeMemory::HugeMemory(std::size_t bytes) : size_(bytes) {
  const std::size_t whole = (bytes + huge_page - 1) / huge_page * huge_page;
  // Room for the alignment; what is not written takes no memory.
  void* memory = mmap(nullptr, whole + huge_page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* const start = static_cast<std::byte*>(memory);
  const std::size_t front = (huge_page - reinterpret_cast<std::uintptr_t>(start) % huge_page) % huge_page;
  if (front > 0) munmap(start, front);
  if (front < huge_page) munmap(start + front + whole, huge_page - front);
  data_ = start + front;
  // The last page only if it is needed whole: a budget counts bytes.
  madvise(data_, bytes / huge_page * huge_page, MADV_HUGEPAGE);
}

void HugeMemory::give_up(std::span<const std::byte> part) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<std::size_t>(part.data() - data_);
  const std::size_t begin = (offset + page - 1) / page * page;
  const std::size_t end = (offset + part.size()) / page * page;
  if (begin < end) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

HugeMemory::~HugeMemory() {
  munmap(data_, (size_ + huge_page - 1) / huge_page * huge_page);
}

}  // namespace baleen
