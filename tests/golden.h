// Reading what the reference libraries computed: the folders below tests/golden.
#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/mapped_file.h"
#include "checkpoint/safetensors.h"

namespace baleen::testing {

inline std::filesystem::path golden_dir() { return std::filesystem::path(BALEEN_SOURCE_DIR) / "tests" / "golden"; }

// The folders of tests/golden/COLLECTION that hold an expected.safetensors, sorted.
inline std::vector<std::filesystem::path> golden_cases(std::string_view collection) {
  std::vector<std::filesystem::path> cases;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir() / collection))
    if (std::filesystem::exists(entry.path() / "expected.safetensors")) cases.push_back(entry.path());
  std::sort(cases.begin(), cases.end());
  return cases;
}

// The tensors of an expected.safetensors, copied out.
class Expected {
 public:
  explicit Expected(const std::filesystem::path& dir) : file_(dir / "expected.safetensors") {
    const auto bytes = file_.bytes();
    const auto size = safetensors_header_size(bytes, "expected.safetensors");
    data_ = bytes.subspan(safetensors_prefix + size);
    header_ = parse_safetensors_header(bytes.subspan(safetensors_prefix, size), data_.size(), "expected.safetensors");
  }

  bool has(std::string_view name) const { return find(name) != nullptr; }
  template <typename T>
  std::vector<T> get(std::string_view name) const {
    const SafetensorsEntry* entry = find(name);
    if (!entry) throw std::runtime_error("no tensor " + std::string(name));
    std::vector<T> values((entry->end - entry->begin) / sizeof(T));
    std::memcpy(values.data(), data_.data() + entry->begin, values.size() * sizeof(T));
    return values;
  }

 private:
  const SafetensorsEntry* find(std::string_view name) const {
    const auto at = std::find_if(header_.entries.begin(), header_.entries.end(),
                                 [&](const SafetensorsEntry& e) { return e.name == name; });
    return at == header_.entries.end() ? nullptr : &*at;
  }

  MappedFile file_;
  std::span<const std::byte> data_;
  SafetensorsHeader header_;
};

}  // namespace baleen::testing
