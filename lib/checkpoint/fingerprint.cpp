#include "checkpoint/fingerprint.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <span>
#include <vector>

#include "checkpoint/checksum.h"
#include "checkpoint/files.h"
#include "checkpoint/safetensors.h"

namespace baleen {
namespace {

constexpr std::size_t max_config_bytes = std::size_t{16} << 20;
constexpr std::size_t block_bytes = 4096;
constexpr std::size_t blocks = 16;

using Bytes = std::span<const std::byte>;

Bytes header_of(const WeightFile& file) {
  return file.bytes.first(safetensors_prefix + safetensors_header_size(file.bytes, file.name));
}

// The blocks of a file's data that count.
std::vector<Bytes> samples(Bytes data) {
  if (data.size() <= blocks * block_bytes) return {data};
  std::vector<Bytes> list;
  const std::size_t last = data.size() - block_bytes;
  for (std::size_t i = 0; i < blocks; ++i) list.push_back(data.subspan(i * last / (blocks - 1), block_bytes));
  return list;
}

// Has the system begin to read, so that what is not in memory comes from disk all at once: one block after
// the other took eight seconds longer for 163 files of DeepSeek-V3's shape.
void read_ahead(Bytes bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t start = begin / page * page;
  ::madvise(reinterpret_cast<void*>(start), begin + bytes.size() - start, MADV_WILLNEED);
}

}  // namespace

std::uint64_t model_fingerprint(const std::filesystem::path& dir, const Checkpoint& checkpoint) {
  std::vector<WeightFile> files;
  std::vector<std::vector<Bytes>> data;  // of each file
  for (std::size_t i = 0; i < checkpoint.files(); ++i) {
    files.push_back(checkpoint.file(i));
    data.push_back(samples(files[i].bytes.subspan(header_of(files[i]).size())));
    for (const Bytes block : data[i]) read_ahead(block);
  }
  Checksum checksum;
  checksum.add_text(read_small_file(dir / "config.json", max_config_bytes));
  for (std::size_t i = 0; i < files.size(); ++i) {
    checksum.add_text(files[i].name).add_number(files[i].bytes.size()).add(header_of(files[i]));
    for (const Bytes block : data[i]) checksum.add(block);
  }
  return checksum.value();
}

}  // namespace baleen
