// baleen-quantize.jsonl, in a folder that is not whole yet: what the result is, then a line for every module
// that has reached the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quant/encode.h"

namespace baleen {

inline constexpr std::string_view journal_name = "baleen-quantize.jsonl";

// What is known of a module once it is written.
struct ModuleResult {
  EncodeError error;                     // of a module that was encoded
  std::vector<std::uint64_t> checksums;  // XXH3 of each of its tensors
};

// The first line: what the bytes of a result depend on.
struct JournalHeader {
  std::string settings;      // in the words of the command line
  std::uint64_t source = 0;  // fingerprint of the model that is quantized
  std::uint64_t layout = 0;  // checksum of what becomes of it

  bool operator==(const JournalHeader&) const = default;
};

std::string journal_header(const JournalHeader&);
// Throws Error saying what is wrong with the line.
JournalHeader parse_journal_header(std::string_view line);

// The other lines. `module` is its number in the plan.
struct JournalLine {
  std::size_t module = 0;
  ModuleResult result;
};

std::string journal_line(std::size_t module, const ModuleResult&);
// Throws Error saying what is wrong with the line. Whether the plan has such a module is not asked.
JournalLine parse_journal_line(std::string_view line);

}  // namespace baleen
