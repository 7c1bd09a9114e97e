// The options of `baleen quantize`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cmd/command.h"
#include "cmd/common_options.h"
#include "quant/encode.h"
#include "quant/target.h"

namespace baleen::cmd {

inline constexpr std::uint64_t default_calibrate_tokens = 65'536;

struct QuantizeOptions : CommonOptions {
  std::optional<std::string> in, out;

  std::optional<Encoding> to;
  std::size_t group = 32;  // or whole_row
  bool group_given = false;
  std::optional<std::string> bits;
  std::vector<std::string> keep, only;  // regular expressions

  std::optional<std::uint64_t> target_size;
  std::optional<std::string> route_log;
  bool per_expert = false;

  ScaleRule scale = ScaleRule::mse;
  bool feedback = false;                 // --method gptq
  std::optional<std::string> calibrate;  // a text
  std::optional<std::uint64_t> calibrate_tokens;

  std::uint64_t shard_size = std::uint64_t{4} << 30;
  bool dry_run = false;
  bool verify = false;
  bool resume = false;
  bool force = false;
  bool json = false;
  std::optional<std::string> check;  // a folder
};

// The definition of `baleen quantize`; its options set the fields of `target`, which must outlive it.
Command quantize_definition(QuantizeOptions& target);

}  // namespace baleen::cmd
