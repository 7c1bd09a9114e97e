// A prompt cache from anywhere: read, or refused with an Error, and what is read lies in the file. The
// checksum that no mutation gets right is made right, so that what lies behind it is tried as well.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "checkpoint/checksum.h"
#include "error.h"
#include "runtime/prompt_cache.h"

namespace {

void read(std::span<const std::byte> file) {
  const std::span<const std::byte> json = baleen::prompt_cache_header(file, "fuzz");
  const std::span<const std::byte> data = file.subspan(baleen::prompt_cache_prefix + json.size());
  const baleen::PromptCacheHeader header = baleen::parse_prompt_cache_header(json, data.size(), "fuzz");
  const baleen::KvOrigin& o = header.origin;
  const std::uint64_t rows = header.tokens * o.layers * o.heads * (o.key_row_bytes + o.value_row_bytes);
  if (data.size() != header.tokens * sizeof(baleen::TokenId) + rows) std::abort();
  if (header.layer_checksums.size() != o.layers) std::abort();
  if (baleen::parse_prompt_cache_ids(header, data, "fuzz").size() != header.tokens) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> file(bytes, bytes + size);
  try {
    read(file);
  } catch (const baleen::Error&) {
  }
  constexpr std::size_t size_at = 12;
  constexpr std::size_t checksum_at = 16;
  if (size < baleen::prompt_cache_prefix) return 0;
  std::uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data() + size_at, sizeof header_bytes);
  if (header_bytes > size - baleen::prompt_cache_prefix) return 0;
  const auto header = std::span(file).subspan(baleen::prompt_cache_prefix, header_bytes);
  const std::uint64_t checksum = baleen::Checksum().add(header).value();
  std::memcpy(file.data() + checksum_at, &checksum, sizeof checksum);
  try {
    read(file);
  } catch (const baleen::Error&) {
  }
  return 0;
}
