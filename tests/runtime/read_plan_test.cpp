#include "runtime/read_plan.h"

#include <doctest/doctest.h>

#include <random>
#include <stdexcept>
#include <vector>

using namespace baleen;

namespace {

// What every plan must keep: aligned reads that lie in the room one behind the other, and each range inside a
// read of its file.
void check_plan(const ReadPlan& plan, const std::vector<FileRange>& ranges, std::size_t alignment) {
  std::size_t at = 0;
  for (const ReadPlan::Read& read : plan.reads) {
    CHECK(read.offset % alignment == 0);
    CHECK(read.bytes % alignment == 0);
    CHECK(read.at == at);
    CHECK(read.wanted > 0);
    CHECK(read.wanted + alignment > read.bytes);
    CHECK(read.wanted <= read.bytes);
    at += read.bytes;
  }
  CHECK(plan.room == at);
  REQUIRE(plan.begins.size() == ranges.size());
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (ranges[i].bytes == 0) continue;
    bool inside = false;
    for (const ReadPlan::Read& read : plan.reads)
      inside |= read.file == ranges[i].file && read.offset <= ranges[i].offset &&
                ranges[i].offset + ranges[i].bytes <= read.offset + read.wanted &&
                plan.begins[i] == read.at + (ranges[i].offset - read.offset);
    CHECK(inside);
  }
}

}  // namespace

TEST_CASE("a range is read in whole blocks") {
  const FileRange range{2, 5000, 3000};
  const ReadPlan plan = plan_reads({&range, 1}, 4096);
  REQUIRE(plan.reads.size() == 1);
  CHECK(plan.reads[0].file == 2);
  CHECK(plan.reads[0].offset == 4096);
  CHECK(plan.reads[0].bytes == 4096);
  CHECK(plan.reads[0].wanted == 904 + 3000);
  CHECK(plan.begins == std::vector<std::size_t>{904});
  CHECK(plan.room == 4096);
}

TEST_CASE("ranges near one another in a file are one read, in whatever order they are given") {
  const std::vector<FileRange> near{{0, 100'000, 50'000}, {0, 0, 60'000}};
  const ReadPlan one = plan_reads(near, 4096);
  REQUIRE(one.reads.size() == 1);
  CHECK(one.begins == std::vector<std::size_t>{100'000, 0});
  CHECK(plan_reads(near, 4096, 10'000).reads.size() == 2);

  const std::vector<FileRange> other_file{{0, 0, 60'000}, {1, 60'000, 50'000}};
  CHECK(plan_reads(other_file, 4096).reads.size() == 2);

  const std::vector<FileRange> one_block{{0, 0, 10}, {0, 4000, 10}};
  CHECK(plan_reads(one_block, 4096, 0).reads.size() == 1);

  const std::vector<FileRange> within{{0, 0, 60'000}, {0, 10, 20}, {0, 50'000, 30'000}};
  CHECK(plan_reads(within, 4096).reads.size() == 1);
  CHECK(plan_reads(within, 4096).reads[0].wanted == 80'000);
}

TEST_CASE("plans of random ranges hold them all") {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const std::size_t alignment = std::size_t{512} << random() % 8;
    std::vector<FileRange> ranges(random() % 7);
    for (FileRange& range : ranges) range = {random() % 2, random() % 500'000, random() % 100'000};
    check_plan(plan_reads(ranges, alignment, random() % 3 * 30'000), ranges, alignment);
  }
}

TEST_CASE("empty ranges need no read, impossible ones are refused") {
  const FileRange empty{0, 5000, 0};
  CHECK(plan_reads({&empty, 1}, 4096).reads.empty());
  CHECK(plan_reads({&empty, 1}, 4096).room == 0);
  const FileRange huge{0, std::uint64_t{1} << 63, 1};
  CHECK_THROWS_AS(plan_reads({&huge, 1}, 4096), std::invalid_argument);
  const FileRange wraps{0, 5000, ~std::size_t{0}};
  CHECK_THROWS_AS(plan_reads({&wraps, 1}, 4096), std::invalid_argument);
  const FileRange fine{0, 0, 1};
  CHECK_THROWS_AS(plan_reads({&fine, 1}, 1000), std::invalid_argument);
}
