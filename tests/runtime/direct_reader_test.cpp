#include "runtime/direct_reader.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/disk_speed.h"
#include "checkpoint/files.h"
#include "checkpoint/fixture.h"
#include "checkpoint/mapped_file.h"
#include "error.h"

using namespace baleen;
using namespace baleen::test;

namespace {

constexpr std::size_t block = 4096;
constexpr std::size_t piece = 4 * block;

std::string random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(count, '\0');
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<char>(random()); });
  return bytes;
}

// Memory at a multiple of every alignment, with bytes in it that say that nothing was read there.
class Memory {
 public:
  explicit Memory(std::size_t bytes = 0)
      : data_(static_cast<std::byte*>(std::aligned_alloc(size, (bytes / size + 1) * size))), bytes_(bytes) {
    std::memset(data_.get(), 0xa5, bytes);
  }
  std::span<std::byte> bytes() const { return {data_.get(), bytes_}; }

 private:
  static constexpr std::size_t size = std::size_t{1} << 16;
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t bytes_;
};

// The ways of reading that this system allows.
std::vector<DirectReaderOptions> ways() {
  std::vector<DirectReaderOptions> all;
  const TempDir dir;
  const std::filesystem::path file = dir.write("file", "x");
  for (const ReadEngine engine : {ReadEngine::io_uring, ReadEngine::pread}) {
    DirectReaderOptions options;
    options.engine = engine;
    options.piece = piece;
    options.threads = 3;
    const std::string error = error_of([&] { DirectReader reader({&file, 1}, options); });
    if (!error.empty()) {
      CHECK(contains(error, "io_uring"));
      MESSAGE(error);
      continue;
    }
    all.push_back(options);
    options.direct = false;
    all.push_back(options);
  }
  return all;
}

std::string name_of(const DirectReaderOptions& options) {
  return std::string(to_string(options.engine)) + (options.direct ? " direct" : " buffered");
}

// One file with known bytes.
struct File {
  explicit File(std::size_t size, unsigned seed = 1)
      : bytes(random_bytes(size, seed)), path(dir.write("model.safetensors", bytes)) {}

  DirectReader reader(const DirectReaderOptions& options) const { return DirectReader({&path, 1}, options); }

  // Whether the memory that the plan was read into holds the range.
  bool holds(const FileRange& range, const ReadPlan& plan, const Memory& memory) const {
    return std::memcmp(memory.bytes().data() + plan.begins[0], bytes.data() + range.offset, range.bytes) == 0;
  }

  TempDir dir;
  std::string bytes;
  std::filesystem::path path;
};

// A read of a range and where it goes.
struct Reading {
  Reading(DirectReader& reader, FileRange wanted, Urgency urgency = Urgency::needed)
      : range(wanted), plan(reader.plan({&range, 1})), memory(plan.room) {
    batch = reader.submit(plan, memory.bytes(), urgency);
  }

  FileRange range;
  ReadPlan plan;
  Memory memory;
  ReadBatch batch;
};

// An error in place of what was read: nothing of it was written.
ssize_t refuse(const ReadAttempt& attempt, int error) {
  std::memset(attempt.memory.data(), 0x5a, attempt.memory.size());
  return -error;
}

// A short read: the rest of the memory was not written.
ssize_t cut(const ReadAttempt& attempt, ssize_t result, std::size_t length) {
  if (result < 0 || length >= static_cast<std::size_t>(result)) return result;
  std::memset(attempt.memory.data() + length, 0x5a, attempt.memory.size() - length);
  return static_cast<ssize_t>(length);
}

// Holds back the first read until it is opened, and notes in which order the others come.
class Gate {
 public:
  ssize_t operator()(const ReadAttempt& attempt, ssize_t result) {
    {
      const std::lock_guard lock(mutex_);
      order_.push_back(attempt.offset);
    }
    if (!entered_.exchange(true)) {
      arrived_.set_value();
      opened_.get_future().wait();
    }
    return result;
  }
  void wait_for_first() { arrived_.get_future().wait(); }
  void open() { opened_.set_value(); }
  std::vector<std::uint64_t> order() {
    const std::lock_guard lock(mutex_);
    return order_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::uint64_t> order_;
  std::atomic<bool> entered_{false};
  std::promise<void> arrived_;
  std::promise<void> opened_;
};

// A reader with one piece under way at a time.
DirectReaderOptions one_at_a_time(DirectReaderOptions options, Gate& gate) {
  options.in_flight = options.ahead_in_flight = piece;
  options.threads = 1;
  options.spoil = std::ref(gate);
  return options;
}

}  // namespace

TEST_CASE("DirectReader brings the bytes of random ranges of several files") {
  const TempDir dir;
  std::vector<std::string> contents;
  std::vector<std::filesystem::path> paths;
  for (const std::size_t size : {300'001U, 65'536U, 1'000'000U}) {
    contents.push_back(random_bytes(size, static_cast<unsigned>(size)));
    paths.push_back(dir.write(std::to_string(size), contents.back()));
  }
  for (DirectReaderOptions options : ways()) {
    CAPTURE(name_of(options));
    for (const unsigned queue : {1U, 2U, 64U}) {
      options.queue = queue;
      options.in_flight = queue * piece;
      options.ahead_in_flight = std::max<std::size_t>(1, queue / 2) * piece;
      DirectReader reader(paths, options);
      std::mt19937 random(queue);
      struct Expert {
        std::vector<FileRange> ranges;
        ReadPlan plan;
        Memory memory;
        ReadBatch batch;
      };
      std::vector<Expert> experts(40);
      std::uint64_t bytes = 0;
      for (Expert& expert : experts) {
        for (int i = 0; i < 6; ++i) {
          const std::size_t file = random() % contents.size();
          const std::size_t offset = random() % contents[file].size();
          const std::size_t most = std::min<std::size_t>(contents[file].size() - offset, 100'000);
          expert.ranges.push_back({file, offset, 1 + random() % most});
        }
        expert.plan = reader.plan(expert.ranges);
        expert.memory = Memory(expert.plan.room + block);
        expert.batch = reader.submit(expert.plan, expert.memory.bytes(),
                                     random() % 2 ? Urgency::needed : Urgency::ahead);
        for (const ReadPlan::Read& read : expert.plan.reads) bytes += read.wanted;
      }
      std::atomic<std::size_t> wrong{0};
      const auto check = [&](std::size_t begin) {
        for (std::size_t i = begin; i < experts.size(); i += 2) {
          const Expert& expert = experts[i];
          reader.wait(expert.batch);
          for (std::size_t r = 0; r < expert.ranges.size(); ++r) {
            const FileRange& range = expert.ranges[r];
            wrong += std::memcmp(expert.memory.bytes().data() + expert.plan.begins[r],
                                 contents[range.file].data() + range.offset, range.bytes) != 0;
          }
          for (const std::byte behind : expert.memory.bytes().subspan(expert.plan.room))
            wrong += behind != std::byte{0xa5};
        }
      };
      std::thread other(check, 1);
      check(0);
      other.join();
      CHECK(wrong == 0);
      CHECK(reader.totals().bytes >= bytes);
      CHECK(reader.totals().seconds > 0);
    }
  }
}

TEST_CASE("short reads go on where they stopped, at whatever length") {
  const std::size_t size = 2 * piece + 777;  // the last block is not whole
  const File file(size);
  std::set<std::size_t> lengths{piece - 1};
  for (std::size_t length = 1; length < piece; length += 257) lengths.insert(length);
  for (std::size_t edge = block; edge < piece; edge += block) lengths.insert({edge - 1, edge, edge + 1});
  for (DirectReaderOptions options : ways()) {
    CAPTURE(name_of(options));
    std::size_t length = 0;
    std::mutex mutex;
    std::set<std::uint64_t> cut_already;
    options.spoil = [&](const ReadAttempt& attempt, ssize_t result) {
      const std::lock_guard lock(mutex);
      return cut_already.insert(attempt.offset).second ? cut(attempt, result, length) : result;
    };
    DirectReader reader = file.reader(options);
    for (const std::size_t next : lengths) {
      length = next;
      cut_already.clear();
      const Reading reading(reader, {0, 5, size - 5});
      reader.wait(reading.batch);
      CHECK_MESSAGE(file.holds(reading.range, reading.plan, reading.memory), "cut to ", length);
    }
  }
}

TEST_CASE("reads that are short again and again end, with all bytes or with an error") {
  const File file(2 * piece);
  for (DirectReaderOptions options : ways()) {
    CAPTURE(name_of(options));
    std::atomic<std::size_t> length{block + 1};
    options.spoil = [&](const ReadAttempt& attempt, ssize_t result) { return cut(attempt, result, length); };
    DirectReader reader = file.reader(options);
    const Reading blocks(reader, {0, 0, 2 * piece});
    reader.wait(blocks.batch);
    CHECK(file.holds(blocks.range, blocks.plan, blocks.memory));
    length = block / 4;
    const Reading crumbs(reader, {0, 0, 2 * piece});
    if (reader.direct()) {
      CHECK(contains(error_of([&] { reader.wait(crumbs.batch); }), "reads stop here, expected"));
    } else {
      reader.wait(crumbs.batch);
      CHECK(file.holds(crumbs.range, crumbs.plan, crumbs.memory));
    }
  }
}

TEST_CASE("an error of the disk names file and offset and concerns its batch alone") {
  const std::size_t pieces = 6;
  const File file(pieces * piece);
  for (DirectReaderOptions options : ways()) {
    CAPTURE(name_of(options));
    std::atomic<std::uint64_t> bad{0};
    options.spoil = [&](const ReadAttempt& attempt, ssize_t result) {
      return attempt.offset == bad ? refuse(attempt, EIO) : result;
    };
    DirectReader reader = file.reader(options);
    for (std::size_t i = 0; i < pieces; ++i) {
      bad = i * piece;
      const Reading all(reader, {0, 0, pieces * piece});
      const std::size_t next = (i + 1) % pieces;
      const Reading other(reader, {0, next * piece, piece});
      const std::string error =
          file.path.string() + ": offset " + std::to_string(bad) + ": Input/output error";
      CHECK(error_of([&] { reader.wait(all.batch); }) == error);
      CHECK(error_of([&] { reader.wait(all.batch); }) == error);
      CHECK(all.batch.status() == ReadStatus::failed);
      reader.wait(other.batch);
      CHECK(file.holds(other.range, other.plan, other.memory));
    }
  }
}

TEST_CASE("interrupted reads are begun again, but not for ever") {
  const File file(3 * piece);
  for (const int error : {EINTR, EAGAIN}) {
    for (DirectReaderOptions options : ways()) {
      CAPTURE(name_of(options));
      std::atomic<int> interruptions{20};
      options.spoil = [&](const ReadAttempt& attempt, ssize_t result) {
        return interruptions.fetch_sub(1) > 0 ? refuse(attempt, error) : result;
      };
      DirectReader reader = file.reader(options);
      const Reading reading(reader, {0, 1, 3 * piece - 1});
      reader.wait(reading.batch);
      CHECK(file.holds(reading.range, reading.plan, reading.memory));
      interruptions = 1'000'000;
      const Reading hopeless(reader, {0, 1, 3 * piece - 1});
      CHECK_THROWS_AS(reader.wait(hopeless.batch), Error);
    }
  }
}

TEST_CASE("a file system that refuses direct reads late is read through the page cache") {
  const File file(5 * piece + 100);
  for (DirectReaderOptions options : ways()) {
    CAPTURE(name_of(options));
    // Reads that began before any was refused are refused too.
    std::mutex mutex;
    std::set<std::uint64_t> refused;
    options.spoil = [&](const ReadAttempt& attempt, ssize_t result) {
      const std::lock_guard lock(mutex);
      return refused.insert(attempt.offset).second ? refuse(attempt, EINVAL) : result;
    };
    DirectReader reader = file.reader(options);
    const Reading reading(reader, {0, 3, 5 * piece + 97});
    reader.wait(reading.batch);
    CHECK(file.holds(reading.range, reading.plan, reading.memory));
    CHECK_FALSE(reader.direct());
  }
}

TEST_CASE("a file that ends too early says where, and how much is missing") {
  for (const DirectReaderOptions& options : ways()) {
    CAPTURE(name_of(options));
    for (const std::size_t left : {std::size_t{0}, std::size_t{100}, block, piece + 1, 2 * piece - 1}) {
      const File file(2 * piece);
      DirectReader reader = file.reader(options);
      REQUIRE(::truncate(file.path.c_str(), static_cast<off_t>(left)) == 0);
      const Reading reading(reader, {0, 0, 2 * piece});
      const std::string error = error_of([&] { reader.wait(reading.batch); });
      CHECK(reading.batch.status() == ReadStatus::failed);
      // Any of the pieces that lack bytes may be the first to tell.
      std::set<std::string> expected;
      for (std::size_t begin = 0; begin < 2 * piece; begin += piece) {
        const std::size_t end = begin + piece;
        if (left < end)
          expected.insert(file.path.string() + ": offset " + std::to_string(std::max(begin, left)) +
                          ": the file ends, expected " + std::to_string(end - std::max(begin, left)) +
                          " more bytes");
      }
      CHECK_MESSAGE(expected.contains(error), error);
    }
  }
}

TEST_CASE("a queue that takes nothing for a while, or ever, loses no read") {
  const File file(9 * piece);
  for (DirectReaderOptions options : ways()) {
    if (options.engine != ReadEngine::io_uring) continue;
    CAPTURE(name_of(options));
    for (const int error : {EAGAIN, EBUSY, ENOMEM}) {
      for (const int first : {0, 3}) {
        // Some calls get through, then some do not; those with ENOMEM count as the ring's end.
        std::atomic<int> calls{0};
        options.refuse = [&] {
          const int call = calls++;
          return call >= first && call < first + 10 ? error : 0;
        };
        DirectReader reader = file.reader(options);
        for (int round = 0; round < 4; ++round) {
          const Reading one(reader, {0, 0, 5 * piece});
          const Reading other(reader, {0, 4 * piece, 5 * piece}, Urgency::ahead);
          reader.wait(one.batch);
          reader.wait(other.batch);
          CHECK(file.holds(one.range, one.plan, one.memory));
          CHECK(file.holds(other.range, other.plan, other.memory));
        }
      }
    }
  }
}

TEST_CASE("needed reads overtake those ahead, also when they become needed later") {
  const File file(10 * piece);
  for (const DirectReaderOptions& way : ways()) {
    CAPTURE(name_of(way));
    Gate gate;
    DirectReader reader = file.reader(one_at_a_time(way, gate));
    const Reading first(reader, {0, 0, 2 * piece}, Urgency::ahead);
    gate.wait_for_first();
    const Reading second(reader, {0, 2 * piece, piece}, Urgency::ahead);
    const Reading third(reader, {0, 3 * piece, 2 * piece}, Urgency::ahead);
    const Reading needed(reader, {0, 5 * piece, 2 * piece});
    reader.promote(third.batch);
    gate.open();
    for (const Reading* reading : {&first, &second, &third, &needed}) {
      CHECK(reader.settle(reading->batch) == ReadStatus::ready);
      CHECK(file.holds(reading->range, reading->plan, reading->memory));
    }
    CHECK(gate.order() ==
          std::vector<std::uint64_t>{0, 5 * piece, 6 * piece, 3 * piece, 4 * piece, piece, 2 * piece});
  }
}

TEST_CASE("a cancelled batch reads no more than the kernel has been given") {
  const File file(6 * piece);
  for (const DirectReaderOptions& way : ways()) {
    CAPTURE(name_of(way));
    Gate gate;
    DirectReader reader = file.reader(one_at_a_time(way, gate));
    const Reading begun(reader, {0, 0, 2 * piece});
    gate.wait_for_first();
    const Reading queued(reader, {0, 2 * piece, 2 * piece}, Urgency::ahead);
    const Reading other(reader, {0, 4 * piece, piece});
    CHECK(reader.cancel(queued.batch));
    CHECK(queued.batch.status() == ReadStatus::cancelled);
    CHECK_FALSE(reader.cancel(begun.batch));
    CHECK(begun.batch.status() == ReadStatus::pending);
    gate.open();
    CHECK(reader.settle(begun.batch) == ReadStatus::cancelled);
    CHECK_THROWS_AS(reader.wait(begun.batch), Error);
    reader.wait(other.batch);
    CHECK(reader.cancel(other.batch));
    CHECK(other.batch.status() == ReadStatus::ready);
    CHECK(gate.order() == std::vector<std::uint64_t>{0, 4 * piece});
  }
}

TEST_CASE("a reader that ends leaves no batch pending") {
  const File file(6 * piece);
  for (DirectReaderOptions options : ways()) {
    CAPTURE(name_of(options));
    for (const bool spoiled : {false, true}) {
      options.in_flight = 2 * piece;
      if (spoiled)
        options.spoil = [](const ReadAttempt& attempt, ssize_t result) {
          return cut(attempt, result, block);
        };
      std::vector<Reading> readings;
      {
        DirectReader reader = file.reader(options);
        for (std::size_t i = 0; i < 30; ++i) readings.emplace_back(reader, FileRange{0, 0, 6 * piece});
        reader.wait(readings[1].batch);
      }
      for (const Reading& reading : readings) {
        CHECK(reading.batch.status() != ReadStatus::pending);
        if (reading.batch.status() == ReadStatus::ready)
          CHECK(file.holds(reading.range, reading.plan, reading.memory));
      }
      CHECK(readings[1].batch.status() == ReadStatus::ready);
    }
  }
}

TEST_CASE("wait_any returns a batch that is done while others are not") {
  const File file(6 * piece);
  for (DirectReaderOptions options : ways()) {
    CAPTURE(name_of(options));
    if (options.engine == ReadEngine::io_uring) continue;  // one thread: the gate would hold all of them
    Gate gate;
    options.spoil = std::ref(gate);
    DirectReader reader = file.reader(options);
    const Reading held(reader, {0, 0, piece});
    gate.wait_for_first();
    const Reading free(reader, {0, piece, piece});
    const ReadBatch batches[] = {held.batch, free.batch};
    CHECK(reader.wait_any(batches) == 1);
    gate.open();
    CHECK(reader.settle(held.batch) == ReadStatus::ready);
    CHECK(reader.wait_any(batches) == 0);
  }
}

TEST_CASE("what is no file, no room or no plan of these files is refused") {
  const File file(3 * piece);
  const std::filesystem::path missing = file.dir.path() / "none";
  const std::filesystem::path pipe = file.dir.path() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  for (const std::filesystem::path& path : {missing, pipe, file.dir.path()})
    CHECK(contains(error_of([&] { DirectReader reader({&path, 1}); }), path.string()));

  DirectReader reader = file.reader({});
  const FileRange range{0, 0, 2 * piece};
  ReadPlan plan = reader.plan({&range, 1});
  const Memory memory(plan.room + block);
  CHECK_THROWS_AS(reader.submit(plan, memory.bytes().first(plan.room - 1), Urgency::needed),
                  std::invalid_argument);
  CHECK_THROWS_AS(reader.submit(plan, memory.bytes().subspan(1), Urgency::needed), std::invalid_argument);
  plan.reads[0].file = 1;
  CHECK_THROWS_AS(reader.submit(plan, memory.bytes(), Urgency::needed), std::invalid_argument);
  reader.wait(reader.submit({}, {}, Urgency::needed));
}

TEST_CASE("reads through the page cache leave nothing there") {
  const File file(64 * piece);
  const FileDescriptor fd(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(::fsync(fd.get()) == 0);
  const MappedFile mapped(file.path);
  const auto resident = [&] {
    std::vector<unsigned char> pages(mapped.bytes().size() /
                                     static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
    REQUIRE(::mincore(const_cast<std::byte*>(mapped.bytes().data()), mapped.bytes().size(), pages.data()) ==
            0);
    return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
  };
  (void)::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  if (resident() > 0) {
    MESSAGE("the file system keeps its files in memory");
    return;
  }
  for (const DirectReaderOptions& options : ways()) {
    CAPTURE(name_of(options));
    DirectReader reader = file.reader(options);
    const Reading reading(reader, {0, 1000, 40 * piece});
    reader.wait(reading.batch);
    CHECK(file.holds(reading.range, reading.plan, reading.memory));
    CHECK(resident() == 0);
  }
}

TEST_CASE("sequential_bandwidth reads files to their ends or as far as asked") {
  const TempDir dir;
  const std::vector<std::filesystem::path> files{dir.write("a", random_bytes(700'001, 1)),
                                                 dir.write("b", random_bytes(300'000, 2))};
  for (DirectReaderOptions options : ways()) {
    CAPTURE(name_of(options));
    options.in_flight = 8 * piece;
    const SequentialRead all = sequential_bandwidth(files, 1'000'000'000, 100, options);
    CHECK(all.bytes == 1'000'001);
    CHECK(all.seconds > 0);
    const SequentialRead some = sequential_bandwidth(files, 10, 100, options);
    CHECK(some.bytes == 8 * piece);
  }
}
