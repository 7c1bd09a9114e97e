// A safetensors file from anywhere: read, or refused with an Error, and what is read lies in the file.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "checkpoint/safetensors.h"
#include "error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const std::uint64_t header_bytes = baleen::safetensors_header_size(file, "fuzz");
    const std::span<const std::byte> contents = file.subspan(baleen::safetensors_prefix + header_bytes);
    const baleen::SafetensorsHeader header = baleen::parse_safetensors_header(
        file.subspan(baleen::safetensors_prefix, header_bytes), contents.size(), "fuzz");
    std::uint64_t end = 0;
    for (const baleen::SafetensorsEntry& entry : header.entries) {
      if (entry.begin != end || entry.end < entry.begin || entry.shape.rank > entry.shape.dim.size())
        std::abort();
      end = entry.end;
    }
    if (end != contents.size()) std::abort();
  } catch (const baleen::Error&) {
  }
  return 0;
}
