#include "checkpoint/mapped_file.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "checkpoint/files.h"

namespace baleen {

// Regions form a list that only grows; a closed file's entry is used again. So a signal handler may walk it
// at any moment. `begin` is zero while nothing is mapped.
struct MappedRegion {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::size_t> size{0};
  std::atomic<const char*> path{nullptr};
  std::string path_text;
  MappedRegion* next = nullptr;
};

namespace {

std::atomic<MappedRegion*> regions{nullptr};
std::mutex regions_mutex;  // among writers

MappedRegion* add_region(const std::byte* data, std::size_t size, std::string path) {
  const std::lock_guard lock(regions_mutex);
  MappedRegion* region = regions.load();
  while (region != nullptr && region->begin.load() != 0) region = region->next;
  const bool is_new = region == nullptr;
  if (is_new) region = new MappedRegion;
  region->path_text = std::move(path);
  region->path = region->path_text.c_str();
  region->size = size;
  region->begin = reinterpret_cast<std::uintptr_t>(data);
  if (is_new) {
    region->next = regions.load();
    regions = region;
  }
  return region;
}

void remove_region(MappedRegion* region) {
  const std::lock_guard lock(regions_mutex);
  region->begin = 0;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const OpenFile file = open_regular_file(path);
  if (file.size == 0) return;
  void* address = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.fd.get(), 0);
  if (address == MAP_FAILED) throw_system_error(path, "cannot be mapped", errno);
  data_ = static_cast<const std::byte*>(address);
  size_ = file.size;
  region_ = add_region(data_, size_, path.string());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      region_(std::exchange(other.region_, nullptr)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(region_, other.region_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  remove_region(region_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedAddress find_mapped_file(const void* address) noexcept {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  for (const MappedRegion* region = regions.load(); region != nullptr; region = region->next) {
    const std::uintptr_t begin = region->begin.load();
    // A file's last page is mapped whole, but nothing behind the file's end is ever read.
    if (begin != 0 && wanted >= begin && wanted - begin < region->size.load())
      return {region->path.load(), wanted - begin};
  }
  return {};
}

}  // namespace baleen
