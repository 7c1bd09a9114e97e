// The options of `baleen bench`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/random_model.h"
#include "cmd/command.h"
#include "cmd/common_options.h"

namespace baleen::cmd {

struct BenchOptions : CommonOptions {
  // Without a list, the default's sizes that fit the model's context.
  std::optional<std::vector<std::uint64_t>> prompts;
  std::optional<std::uint64_t> new_tokens;
  std::optional<std::vector<std::uint64_t>> depths;
  std::vector<std::uint64_t> batches = {1, 4};
  std::size_t repetitions = 5;
  std::uint64_t seed = 0;

  std::optional<std::string> shape;  // a preset or a file
  std::optional<WeightFormat> weights;
  std::optional<std::size_t> layers;

  std::optional<std::string> text;  // to be predicted
  std::optional<std::filesystem::path> reference;
  std::optional<std::size_t> context;

  std::optional<double> cost_per_hour;
  std::optional<double> price_in;
  std::optional<double> price_cached;
  std::optional<double> price_out;
  std::optional<std::string> price_list;
  std::optional<double> prefill_speed;  // tokens a second, instead of measuring
  std::optional<double> decode_speed;
  std::optional<std::uint64_t> tokens_in;
  std::optional<std::uint64_t> tokens_cached;
  std::optional<std::uint64_t> tokens_out;
  std::optional<double> hours;

  enum class Format { table, json, csv, markdown };
  Format format = Format::table;
  std::size_t formats_given = 0;
};

inline const std::vector<std::uint64_t> default_prompts = {1, 8, 32, 128, 512};
inline constexpr std::uint64_t default_new_tokens = 32;
inline const std::vector<std::uint64_t> default_depths = {0, 2048};

// The definition of `baleen bench`; its options set the fields of `target`, which must outlive it.
Command bench_definition(BenchOptions& target);

}  // namespace baleen::cmd
