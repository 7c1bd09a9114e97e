// What `baleen bench` measured, as a table, JSON, CSV or Markdown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/disk_speed.h"
#include "bench/speed.h"
#include "bench/statistics.h"
#include "cmd/terminal.h"
#include "model/memory_plan.h"

namespace baleen::cmd {

using Json = nlohmann::ordered_json;

// A number of tokens, bytes or operations: without a fraction where it has none.
Json whole_if_it_is(double count);

// Where a model is measured by some of its layers.
struct Extrapolation {
  std::size_t measured_dense = 0;
  std::size_t measured_moe = 0;
  std::size_t all_dense = 0;
  std::size_t all_moe = 0;
};

// How --memory was kept to.
struct MemoryReport {
  MemoryPlan plan;
  bool cached = false;               // experts came from a cache
  std::vector<SequentialRead> disk;  // with a cache: before the tests and after them
};

struct SpeedReport {
  std::string command_line;
  std::string processor;
  std::uint64_t memory_bytes = 0;
  std::size_t threads = 0;
  std::string isa;      // "avx512"
  std::string kernels;  // with its features
  std::string model;    // a folder or the name of a shape
  std::string architecture;
  std::string weights;  // "bf16, int4 group 32"
  std::uint64_t parameters = 0;
  std::uint64_t active_parameters = 0;
  std::uint64_t weight_bytes = 0;
  std::size_t routed_experts = 0;
  std::string kv_type;
  bool throughput = false;  // decoded by the kernels for prompts
  std::uint64_t seed = 0;
  std::optional<Extrapolation> extrapolation;
  std::uint64_t warm_up_bytes = 0;
  double warm_up_seconds = 0;
  std::optional<MemoryReport> memory;  // with --memory
  std::uint64_t bandwidth_buffer_bytes = 0;
  Summary bandwidth;  // bytes a second
  Summary peak;       // operations a second
  std::vector<SpeedResult> results;

  Roofline roofline() const { return {.bandwidth = bandwidth.median, .peak = peak.median}; }
  double disk_bandwidth() const { return memory ? best_bandwidth(memory->disk) : 0; }
  bool cached() const { return memory && memory->cached; }
};

// "prefill 512", "decode 32, depth 2048, batch 4"
std::string test_name(const SpeedTest&);

std::string speed_text(const SpeedReport&, const Style&);
std::string speed_markdown(const SpeedReport&);
std::string speed_csv(const SpeedReport&);
Json speed_json(const SpeedReport&);

// Words of a command line as a shell takes them.
std::string quote_words(const std::vector<std::string>& words);

}  // namespace baleen::cmd
