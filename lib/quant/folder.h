// A quantized folder beyond its shards: what completes it, and what proves it whole.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "quant/bytes_done.h"
#include "quant/encode.h"
#include "quant/output.h"
#include "quant/plan.h"
#include "quant/source.h"
#include "runtime/thread_pool.h"

namespace baleen {

// About how many bytes complete_folder will write. Throws Error for a file of the source that cannot be read.
std::uint64_t bytes_beside(const Source&, const Plan&);

// Writes all that belongs beside the shards, when every module is finished: index, config.json, the source's
// tokenizer and other small files, and the manifest. Returns the names of files too large to be copied.
std::vector<std::string> complete_folder(const Source&, const Plan&, Output&, std::string_view config_json);

// Whether `out` is what an output with this identity ends in.
bool is_complete(const std::filesystem::path& out, std::string_view identity);

struct CheckResult {
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;     // of tensors
  bool has_checksums = false;  // without a manifest sizes, names and scales are all that can be checked
  std::vector<std::string> problems;  // each names a file, and a tensor if it is about one
};
// Reads a folder whole: every tensor as config.json asks for it, every scale finite, every checksum right.
// Throws Error where the folder cannot be opened at all, and Cancelled.
CheckResult check_folder(const std::filesystem::path& dir, const kernels::Kernels&, ThreadPool&,
                         const std::atomic<bool>* cancel, const OnBytes&);

// Reads back what was written beside what it was made of: the plain squared error of each module, zero where
// nothing was encoded. Throws Cancelled.
std::vector<EncodeError> read_back(const Source&, const Plan&, const Source& result, const kernels::Kernels&,
                                   ThreadPool&, const std::atomic<bool>* cancel, const OnBytes&);

}  // namespace baleen
