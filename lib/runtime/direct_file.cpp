#include "runtime/direct_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace baleen {
namespace {

// What direct reads of the file must be multiples of; nothing if it knows none. Kernels before 6.1 do not
// tell, and no disk in use has blocks larger than a page of 4096 bytes.
std::optional<std::size_t> direct_alignment(int fd, std::size_t least) {
#ifdef STATX_DIOALIGN
  struct statx status {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && (status.stx_mask & STATX_DIOALIGN)) {
    if (status.stx_dio_offset_align == 0 || status.stx_dio_mem_align == 0) return std::nullopt;
    return std::max<std::size_t>({least, status.stx_dio_offset_align, status.stx_dio_mem_align});
  }
#endif
  return least;
}

}  // namespace

DirectFile::DirectFile(std::filesystem::path path, bool direct) : path_(std::move(path)) {
  file_ = std::move(open_regular_file(path_).fd);
  const std::optional<std::size_t> alignment =
      direct ? direct_alignment(fd(), alignment_) : std::optional<std::size_t>();
  // Both calls also take O_NONBLOCK away, with which io_uring would give EAGAIN instead of waiting.
  if (alignment && ::fcntl(fd(), F_SETFL, O_DIRECT) == 0) {
    direct_ = true;
    alignment_ = *alignment;
    return;
  }
  give_up_direct();
}

void DirectFile::give_up_direct() {
  direct_.store(false, std::memory_order_relaxed);
  (void)::fcntl(fd(), F_SETFL, 0);
  // No reading ahead: it would bring in what nobody asked for and nobody gives up.
  (void)::posix_fadvise(fd(), 0, 0, POSIX_FADV_RANDOM);
}

std::uint64_t DirectFile::size() const {
  struct stat status {};
  return ::fstat(fd(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

void DirectFile::was_read(std::uint64_t offset, std::size_t bytes) const {
  if (direct()) return;
  (void)::posix_fadvise(fd(), static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
}

}  // namespace baleen
