#include "model/resident.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "clock.h"
#include "model/forward.h"
#include "model/memory_plan.h"

namespace baleen {
namespace {

using kernels::Matrix;

// What is waited for at once: some milliseconds of a fast disk. A multiple of every alignment.
constexpr std::size_t batch_bytes = std::size_t{32} << 20;

// The plan's reads, in parts that progress can be told after.
std::vector<ReadPlan> in_parts(const ReadPlan& plan) {
  std::vector<ReadPlan> parts;
  std::size_t bytes = batch_bytes;
  for (const ReadPlan::Read& read : plan.reads) {
    for (std::size_t begin = 0; begin < read.bytes; begin += batch_bytes) {
      ReadPlan::Read part = read;
      part.offset += begin;
      part.at += begin;
      part.bytes = std::min(batch_bytes, read.bytes - begin);
      part.wanted = std::min(part.bytes, read.wanted - begin);
      if (bytes + part.bytes > batch_bytes) {
        parts.emplace_back();
        bytes = 0;
      }
      parts.back().reads.push_back(part);
      parts.back().room = part.at + part.bytes;
      bytes += part.bytes;
    }
  }
  return parts;
}

void read_parts(DirectReader& reader, const ReadPlan& plan, std::span<std::byte> memory,
                const ResidentOptions& options) {
  std::vector<ReadBatch> batches;
  std::vector<std::uint64_t> bytes;
  std::uint64_t total = 0;
  for (const ReadPlan& part : in_parts(plan)) {
    batches.push_back(reader.submit(part, memory, Urgency::needed));
    bytes.push_back(part.reads.back().at + part.reads.back().wanted - part.reads.front().at);
    total += bytes.back();
  }
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    check_cancelled(options.cancel);
    reader.wait(batches[i]);
    done += bytes[i];
    if (options.progress) options.progress(done, total);
  }
}

std::unique_ptr<BoundedRows> bounded_embedding(const Model& model, const WeightFiles& files) {
  if (embedding_is_resident(model, files)) return nullptr;
  std::vector<FileRange> ranges;
  files.add_ranges(model.global()[Role::embed_tokens], ranges);
  const FileRange& range = ranges.front();
  return std::make_unique<BoundedRows>(
      files.paths()[range.file], range.offset,
      model.checkpoint().file(range.file).bytes.subspan(range.offset, range.bytes),
      static_cast<std::size_t>(embedding_allowance(model, files)));
}

// All pages of the checkpoint that the page cache has and that nobody else maps.
void drop_pages_of(const Model& model, const WeightFiles& files) {
  for (std::size_t i = 0; i < files.paths().size(); ++i)
    drop_pages(files.paths()[i], 0, model.checkpoint().file(i).bytes);
}

}  // namespace

ResidentWeights hold_resident(Model& model, const WeightFiles& files, const ResidentOptions& options) {
  if (files.paths().empty()) throw std::invalid_argument("hold_resident: weights that lie in no file");
  const Clock::time_point start = Clock::now();
  // A head that was rounded, say, would lie there beside the copies for as long as these take.
  drop_pages_of(model, files);
  std::vector<FileRange> ranges;
  for_each_resident(model, files, [&](const Matrix& matrix) { files.add_ranges(matrix, ranges); });
  std::unique_ptr<HugeMemory> memory;
  ResidentWeights loaded;
  ReadPlan plan;
  {
    DirectReader reader(files.paths(), options.reader);
    plan = reader.plan(ranges);
    memory = std::make_unique<HugeMemory>(plan.room);
    loaded = {plan.room, 0, reader.engine(), reader.direct()};
    try {
      read_parts(reader, plan, memory->bytes(), options);
    } catch (const ReadError& error) {
      throw files.explained(error);
    }
  }
  const std::byte* const begin = memory->bytes().data();
  std::unique_ptr<BoundedRows> embedding_rows = bounded_embedding(model, files);
  model.hold(std::move(memory), std::move(embedding_rows));
  std::span<const std::size_t> begins = plan.begins;
  for_each_resident(model, files, [&](Matrix& matrix) { matrix = files.moved(matrix, begins, begin); });
  drop_pages_of(model, files);
  loaded.seconds = seconds_since(start);
  return loaded;
}

}  // namespace baleen
