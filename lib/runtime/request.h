// What a user asks of one answer, on the command line or in a line of a batch, and how the two and the
// model's own defaults become the options of a sampler. Owns which of them wins; the ranges are checked by
// whoever read the values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/generation_config.h"
#include "runtime/generate.h"
#include "runtime/sampler.h"

namespace baleen {

// Named as the long options of `baleen run`; what was not asked for is unset.
struct RequestOptions {
  std::optional<std::int64_t> n = {};                 // new tokens at most; -1: until something else ends it
  std::optional<std::vector<std::string>> stop = {};  // an empty list: no stop strings
  std::optional<bool> ignore_eos = {};
  std::optional<double> temp = {};  // 0: greedy
  std::optional<std::size_t> top_k = {};
  std::optional<double> top_p = {};
  std::optional<double> min_p = {};
  std::optional<double> repeat_penalty = {};
  std::optional<std::uint64_t> seed = {};
  std::optional<bool> greedy = {};               // false: sample, even where the default is greedy
  std::optional<std::size_t> think_budget = {};  // tokens
  std::optional<std::size_t> logprobs = {};      // how many of the likeliest tokens

  bool operator==(const RequestOptions&) const = default;
};

// Whether one place asks for the likeliest token and for a temperature other than 0.
bool contradicts_itself(const RequestOptions& options);

// What the line asks for and, where it is silent, the base. `temp` and `greedy` are about one choice, so that
// a line that gives one of them settles both: its temp ends the base's greedy, its greedy ends the base's
// temp; greedy false keeps the base's temp unless that is 0, which would be greedy again.
RequestOptions over(const RequestOptions& base, const RequestOptions& line);

// Greedy if asked for, or if the model's authors say "do_sample": false and nothing asks to sample.
// `fresh_seed` is the seed if none is asked for.
SamplingOptions choose_sampling(const RequestOptions& options, const GenerationConfig& defaults,
                                std::uint64_t fresh_seed);

// New tokens at most, if nothing is said about them.
inline constexpr std::int64_t default_new_tokens = 256;

// All that a generation needs to know but what its prompt decides. `end_tokens`: the model's. `fresh_seed` as
// above.
GenerateOptions generate_options(const RequestOptions& options, const GenerationConfig& defaults,
                                 const std::vector<TokenId>& end_tokens, std::uint64_t fresh_seed);

}  // namespace baleen
