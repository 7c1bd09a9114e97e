#include "checkpoint/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "checkpoint/files.h"

namespace baleen {
namespace {

// Residency is remembered in pieces of that size: 1.3 million of them for the largest checkpoints.
constexpr std::size_t piece = std::size_t{1} << 20;
constexpr std::size_t pieces_at_once = 256;
// What is brought in and given up at a time. Measured with two threads on a disk of 2 GB/s: 128 KiB, each
// read when it was needed, left the processors idle half of the time.
constexpr std::size_t window = std::size_t{4} << 20;
// A page fault maps what lies in the page cache around it too, 64 KiB as Linux comes: bytes that were given
// up come back with their neighbours, and must be given up with them again.
constexpr std::size_t fault_around = std::size_t{128} << 10;
// A fault of a page maps others in one such piece of the addresses, if they are in the page cache: no others.
constexpr std::size_t around = std::size_t{64} << 10;

std::size_t page_size() {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

// The whole pages that hold the bytes.
std::span<const std::byte> pages_of(std::span<const std::byte> bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) & ~(page_size() - 1);
  const auto end =
      (reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size()) + page_size() - 1) & ~(page_size() - 1);
  return {reinterpret_cast<const std::byte*>(begin), end - begin};
}

std::size_t window_of(const std::byte* address) {
  return reinterpret_cast<std::uintptr_t>(address) / around;
}

void advise(std::span<const std::byte> pages, int advice) {
  (void)::madvise(const_cast<std::byte*>(pages.data()), pages.size(), advice);
}

}  // namespace

struct StreamedReading::File {
  std::filesystem::path path;
  std::span<const std::byte> bytes;
  std::once_flag looked;
  std::vector<bool> resident;  // by piece: some page of it was in the page cache before

  void look() {
    resident.assign((bytes.size() + piece - 1) / piece, false);
    const std::size_t pages_in_piece = piece / page_size();
    std::vector<unsigned char> pages(pieces_at_once * pages_in_piece);
    for (std::size_t first = 0; first < resident.size(); first += pieces_at_once) {
      const std::size_t begin = first * piece;
      const std::size_t size = std::min(bytes.size() - begin, pieces_at_once * piece);
      const std::size_t count = (size + page_size() - 1) / page_size();
      auto* const address = const_cast<std::byte*>(bytes.data() + begin);
      // Where the system does not tell, all pages count as somebody's.
      const bool told = ::mincore(address, size, pages.data()) == 0;
      for (std::size_t i = 0; i < count; ++i)
        if (!told || (pages[i] & 1U) != 0) resident[first + i / pages_in_piece] = true;
    }
  }

  // Drops [begin, end), whole pages, except what was there before.
  void drop(std::size_t begin, std::size_t end) const {
    FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) return;  // it stays in the page cache: nothing is wrong with the result
    while (begin < end) {
      const bool keep = resident[begin / piece];
      std::size_t stop = (begin / piece + 1) * piece;
      while (stop < end && resident[stop / piece] == keep) stop += piece;
      stop = std::min(stop, end);
      if (!keep)
        (void)::posix_fadvise(file.get(), static_cast<off_t>(begin), static_cast<off_t>(stop - begin),
                              POSIX_FADV_DONTNEED);
      begin = stop;
    }
  }
};

StreamedReading::StreamedReading(std::filesystem::path dir, const Checkpoint& checkpoint)
    : dir_(std::move(dir)) {
  for (std::size_t i = 0; i < checkpoint.files(); ++i) {
    const WeightFile weights = checkpoint.file(i);
    if (weights.bytes.empty()) continue;
    files_.push_back(std::make_unique<File>());
    files_.back()->path = dir_ / weights.name;
    files_.back()->bytes = weights.bytes;
  }
  std::sort(files_.begin(), files_.end(),
            [](const auto& a, const auto& b) { return a->bytes.data() < b->bytes.data(); });
}

StreamedReading::~StreamedReading() = default;

StreamedReading::File* StreamedReading::file_of(const std::byte* address) {
  const auto next =
      std::upper_bound(files_.begin(), files_.end(), address,
                       [](const std::byte* a, const auto& file) { return a < file->bytes.data(); });
  if (next == files_.begin()) return nullptr;
  File* const file = std::prev(next)->get();
  return address < file->bytes.data() + file->bytes.size() ? file : nullptr;
}

void StreamedReading::soon(std::span<const std::byte> bytes) {
  bytes = bytes.first(std::min(bytes.size(), 2 * window));
  File* const file = bytes.empty() ? nullptr : file_of(bytes.data());
  if (file == nullptr) return;
  std::call_once(file->looked, [file] { file->look(); });
  advise(pages_of(bytes), MADV_WILLNEED);
}

void StreamedReading::will_read(std::span<const std::byte> bytes) {
  File* const file = bytes.empty() ? nullptr : file_of(bytes.data());
  if (file == nullptr) return;
  std::call_once(file->looked, [file] { file->look(); });
  advise(pages_of(bytes), MADV_POPULATE_READ);
}

void StreamedReading::was_read(std::span<const std::byte> bytes) {
  const File* const file = bytes.empty() ? nullptr : file_of(bytes.data());
  if (file == nullptr) return;
  const auto offset = static_cast<std::size_t>(bytes.data() - file->bytes.data());
  const std::size_t before = std::min(offset, fault_around);
  const std::size_t behind = std::min(file->bytes.size() - offset - bytes.size(), fault_around);
  const std::span<const std::byte> pages = pages_of({bytes.data() - before, before + bytes.size()});
  advise(pages_of({bytes.data() - before, before + bytes.size() + behind}), MADV_DONTNEED);
  // What was read ahead stays in the page cache: it comes next.
  if (file->resident.empty()) return;
  const auto begin = static_cast<std::size_t>(pages.data() - file->bytes.data());
  file->drop(begin, std::min(begin + pages.size(), file->bytes.size()));
}

StreamedRange::StreamedRange(StreamedReading& reading, std::span<const std::byte> bytes)
    : reading_(reading), bytes_(bytes) {}

StreamedRange::~StreamedRange() {
  reading_.was_read(bytes_.subspan(given_up_, there_ - given_up_));
}

std::span<const std::byte> StreamedRange::ready(std::size_t begin, std::size_t end) {
  if (end > there_) {
    const std::size_t next = std::min(bytes_.size(), std::max(end, there_ + window));
    reading_.soon(bytes_.subspan(next, std::min(window, bytes_.size() - next)));
    reading_.will_read(bytes_.subspan(there_, next - there_));
    there_ = next;
  }
  if (begin - given_up_ >= window) {
    reading_.was_read(bytes_.subspan(given_up_, begin - given_up_));
    given_up_ = begin;
  }
  return bytes_.subspan(begin, end - begin);
}

ScatteredReading::ScatteredReading(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {
  for (std::size_t i = 0; i < checkpoint_.files(); ++i) advise(checkpoint_.file(i).bytes, MADV_RANDOM);
}

ScatteredReading::~ScatteredReading() {
  for (std::size_t i = 0; i < checkpoint_.files(); ++i) advise(checkpoint_.file(i).bytes, MADV_NORMAL);
}

void ScatteredReading::soon(std::span<const std::byte> bytes) {
  if (bytes.empty() || checkpoint_.files() == 0) return;
  const std::span<const std::byte> pages = pages_of(bytes);
  // Small tensors lie beside each other: one call for a page of them.
  if (pages.data() == announced_.data() && pages.size() <= announced_.size()) return;
  advise(pages, MADV_WILLNEED);
  announced_ = pages;
}

void drop_pages(const std::filesystem::path& path, std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::span<const std::byte> pages = pages_of(bytes);
  advise(pages, MADV_DONTNEED);  // what is mapped stays in the page cache
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return;  // it stays: nothing is wrong with the result
  const auto before = static_cast<std::uint64_t>(bytes.data() - pages.data());
  (void)::posix_fadvise(file.get(), static_cast<off_t>(offset - before), static_cast<off_t>(pages.size()),
                        POSIX_FADV_DONTNEED);
}

BoundedRows::BoundedRows(std::filesystem::path file, std::uint64_t offset, std::span<const std::byte> rows,
                         std::size_t allowance)
    : file_(std::move(file)),
      offset_(offset),
      rows_(rows),
      allowance_(allowance),
      windows_(window_of(rows.data() + rows.size() - 1) - window_of(rows.data()) + 1) {
  advise(pages_of(rows_), MADV_RANDOM);
}

std::size_t BoundedRows::held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

std::size_t BoundedRows::bytes_of(std::size_t window) const {
  const std::span<const std::byte> pages = pages_of(rows_);
  const auto begin = reinterpret_cast<std::uintptr_t>(pages.data());
  return std::min((window + 1) * around, begin + pages.size()) - std::max(window * around, begin);
}

std::size_t BoundedRows::bring(std::span<const std::span<const std::byte>> rows) {
  const std::size_t first = window_of(rows_.data());
  const std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (; count < rows.size(); ++count) {
    const std::span<const std::byte> row = rows[count];
    const std::size_t begin = window_of(row.data());
    const std::size_t end = window_of(row.data() + row.size() - 1) + 1;
    std::size_t more = 0;
    for (std::size_t w = begin; w < end; ++w)
      if (!windows_[w - first]) more += bytes_of(w);
    if (held_ + more > allowance_ && count > 0) break;
    if (held_ + more > allowance_ && held_ > 0) {
      drop_pages(file_, offset_, rows_);
      windows_.assign(windows_.size(), false);
      held_ = 0;
      for (std::size_t w = begin; w < end; ++w) held_ += bytes_of(w);
    } else {
      held_ += more;
    }
    for (std::size_t w = begin; w < end; ++w) windows_[w - first] = true;
    advise(pages_of(row), MADV_WILLNEED);
  }
  return count;
}

}  // namespace baleen
