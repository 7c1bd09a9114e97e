// A file whose bytes go from the disk to the caller's memory and do not stay in the page cache.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "checkpoint/files.h"

namespace baleen {

// Past the page cache (O_DIRECT), or through it where the file system refuses that: then what a read left
// there is given up again, also what was there before.
class DirectFile {
 public:
  // Throws Error as open_regular_file does. `direct` = false reads through the page cache in any case.
  explicit DirectFile(std::filesystem::path path, bool direct = true);

  const std::filesystem::path& path() const { return path_; }
  int fd() const { return file_.get(); }
  bool direct() const { return direct_.load(std::memory_order_relaxed); }
  // What offset, length and address of a read are multiples of: at least 4096.
  std::size_t alignment() const { return alignment_; }

  // The size now: another process may have changed it since.
  std::uint64_t size() const;
  // From now on through the page cache. Any thread; reads that are under way are not disturbed.
  void give_up_direct();
  // To be called after a read of these bytes.
  void was_read(std::uint64_t offset, std::size_t bytes) const;

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  std::atomic<bool> direct_{false};
  std::size_t alignment_ = 4096;
};

}  // namespace baleen
