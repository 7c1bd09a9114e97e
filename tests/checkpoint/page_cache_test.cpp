#include "checkpoint/page_cache.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "checkpoint/files.h"
#include "checkpoint/fixture.h"

using namespace baleen;
using namespace baleen::test;

namespace {

constexpr std::size_t piece = std::size_t{1} << 20;
constexpr std::size_t size = 16 * piece;

// Pages of a mapping that the system holds.
std::size_t pages_held(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size());
  std::vector<unsigned char> held((end - begin + page - 1) / page);
  REQUIRE(::mincore(reinterpret_cast<void*>(begin), end - begin, held.data()) == 0);
  return static_cast<std::size_t>(
      std::count_if(held.begin(), held.end(), [](unsigned char p) { return p & 1; }));
}

void drop(const std::filesystem::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY));
  REQUIRE(::fdatasync(file.get()) == 0);
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
}

// Drops a whole file. Pages that are on their way, read ahead when it was opened, would arrive later.
bool can_be_dropped(const std::filesystem::path& path, std::span<const std::byte> file) {
  ::madvise(const_cast<std::byte*>(file.data()), file.size(), MADV_POPULATE_READ);
  drop_pages(path, 0, file);
  return pages_held(file) == 0;
}

}  // namespace

TEST_CASE("what was read leaves the page cache, what was there before stays") {
  const TempDir dir;
  const auto path =
      dir.write("model.safetensors",
                safetensors({{"a", "U8", {size}, std::string(size, 'a')}, {"b", "U8", {3}, "abc"}}));
  drop(path);
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  const Tensor& tensor = *checkpoint.find("a");
  const std::span<const std::byte> all(tensor.data, size);
  const auto part = [&](std::size_t first, std::size_t pieces) {
    return all.subspan(first * piece, pieces * piece);
  };
  if (pages_held(part(8, 8)) > 0) {
    MESSAGE("this file system does not let go of pages: nothing to see");
    return;
  }
  // Somebody uses a part of it: the system reads a little further than that.
  ::madvise(const_cast<std::byte*>(checkpoint.file(0).bytes.data()), 4 * piece, MADV_POPULATE_READ);
  const std::size_t before = pages_held(part(0, 3));
  CHECK(before > 700);  // of 768, or of fewer but larger pages
  StreamedReading reading(dir.path(), checkpoint);
  unsigned sum = 0;
  for (std::size_t at = 0; at < size; at += 3 * piece) {
    const auto bytes = all.subspan(at, std::min(3 * piece, size - at));
    reading.will_read(bytes);
    CHECK(pages_held(bytes) >= bytes.size() / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
    for (std::size_t i = 0; i < bytes.size(); i += 4096) sum += static_cast<unsigned>(bytes[i]);
    reading.was_read(bytes);
  }
  CHECK(sum == size / 4096 * 'a');
  CHECK(pages_held(part(0, 3)) == before);
  CHECK(pages_held(part(10, 5)) == 0);
}

TEST_CASE("single tensors come without what lies behind them, and pages are dropped for good") {
  const TempDir dir;
  const auto path =
      dir.write("model.safetensors", safetensors({{"a", "U8", {size}, std::string(size, 'a')}}));
  drop(path);
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  const std::span<const std::byte> file = checkpoint.file(0).bytes;
  if (!can_be_dropped(path, file)) {
    MESSAGE("this file system does not let go of pages: nothing to see");
    return;
  }
  {
    ScatteredReading reading(checkpoint);
    unsigned sum = 0;
    for (std::size_t at = piece; at < size; at += 2 * piece) {
      reading.soon(file.subspan(at, 16));
      sum += static_cast<unsigned>(file[at]);
    }
    CHECK(sum == 8 * 'a');
    CHECK(pages_held(file) <= 8 * 16);  // a page each, or one of a few that are larger
    CHECK(pages_held(file) >= 8);
  }
  // A part that begins and ends in the middle of a page takes both pages with it.
  const std::size_t before = pages_held(file);
  drop_pages(path, piece + 8, file.subspan(piece + 8, 2 * piece));
  CHECK(pages_held(file.subspan(piece, 2 * piece + 8)) == 0);
  CHECK(pages_held(file) < before);
  drop_pages(path, 0, file);
  CHECK(pages_held(file) == 0);
}

TEST_CASE("rows of a matrix: no more than allowed are held, and one comes in any case") {
  const TempDir dir;
  const auto path =
      dir.write("model.safetensors", safetensors({{"a", "U8", {size}, std::string(size, 'a')}}));
  drop(path);
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  const std::span<const std::byte> file = checkpoint.file(0).bytes;
  const bool seen = can_be_dropped(path, file);
  constexpr std::size_t around = std::size_t{64} << 10;
  constexpr std::size_t row_bytes = 10'000;
  const std::span<const std::byte> matrix = file.last(size);
  const auto row = [&](std::size_t i) { return matrix.subspan(i * row_bytes, row_bytes); };
  BoundedRows rows(path, file.size() - size, matrix, 10 * around);
  std::vector<std::span<const std::byte>> wanted;
  for (std::size_t i = 0; i < 300; ++i) wanted.push_back(row(i * 617 % 1600));
  std::size_t groups = 0;
  for (std::size_t begin = 0; begin < wanted.size(); ++groups) {
    const std::size_t count = rows.bring(std::span(wanted).subspan(begin));
    REQUIRE(count > 0);
    for (std::size_t i = begin; i < begin + count; ++i) CHECK(wanted[i].front() == std::byte{'a'});
    begin += count;
    CHECK(rows.held() <= rows.allowance());
    if (seen)
      CHECK(pages_held(matrix) <= rows.allowance() / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  }
  CHECK(groups >= 300 / 10);
  CHECK(groups < 300);
  // What is there costs nothing.
  const std::size_t held = rows.held();
  const std::span<const std::byte> last = wanted.back();
  CHECK(rows.bring({&last, 1}) == 1);
  CHECK(rows.held() == held);
  CHECK(rows.bring({}) == 0);
  BoundedRows none(path, file.size() - size, matrix, 0);
  CHECK(none.bring(wanted) == 1);
  CHECK(none.held() > 0);
}

TEST_CASE("bytes that lie in no file are nobody's") {
  const TempDir dir;
  dir.write("model.safetensors", safetensors({{"a", "U8", {3}, "abc"}}));
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  StreamedReading reading(dir.path(), checkpoint);
  const std::string elsewhere(100'000, 'x');
  reading.will_read(as_bytes(elsewhere));
  reading.was_read(as_bytes(elsewhere));
  reading.will_read({});
  reading.was_read({});
  const Tensor& tensor = *checkpoint.find("a");
  reading.was_read({tensor.data, 3});  // without will_read
  reading.will_read({tensor.data, 3});
  reading.was_read({tensor.data, 3});
  CHECK(std::string(reinterpret_cast<const char*>(tensor.data), 3) == "abc");
  CHECK(elsewhere == std::string(100'000, 'x'));
}
