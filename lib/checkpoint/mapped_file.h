// A file mapped read-only, and which mapped file an address lies in: what a SIGBUS handler must know.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace baleen {

struct MappedRegion;  // an entry of the list that find_mapped_file searches

// Owns a shared, read-only mapping of a whole file. The file itself is closed again at once: folders may
// hold more shards than a process may hold descriptors.
class MappedFile {
 public:
  // Throws Error for what is no regular file and for what the system refuses. An empty file maps to nothing.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  MappedRegion* region_ = nullptr;
};

// The path of the mapped file that `address` lies in, and the offset in it; path is nullptr if there is none.
// Takes no lock and allocates nothing: it may be called in a signal handler.
struct MappedAddress {
  const char* path = nullptr;
  std::size_t offset = 0;
};
MappedAddress find_mapped_file(const void* address) noexcept;

}  // namespace baleen
