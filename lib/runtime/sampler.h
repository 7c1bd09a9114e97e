// Chooses the next token from its logits. The steps and their order are those of transformers' logits
// processors, so that the numbers mean what they mean there: repetition penalty over the prompt and what was
// generated, temperature, top-k, top-p, min-p, then one draw.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tokenizer/token_id.h"

namespace baleen {

struct SamplingOptions {
  double temperature = 0.7;       // 0: greedy, the likeliest token
  std::size_t top_k = 0;          // 0: off
  double top_p = 1;               // 1: off
  double min_p = 0;               // 0: off
  double repetition_penalty = 1;  // 1: off
  std::uint64_t seed = 0;
};

// The random numbers: SplitMix64 (Steele, Lea and Flood 2014) counted by tokens, so that the n-th number
// depends on the seed and n alone, on every machine. Uniform in [0, 1), a multiple of 2^-53.
double uniform(std::uint64_t seed, std::uint64_t n);

class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::size_t vocab_size);

  // A token that the repetition penalty concerns from now on: of the prompt, or chosen. Tokens outside the
  // vocabulary are ignored.
  void accept(TokenId id);

  // The next token. Takes one random number, none if greedy. Equal logits rank by ascending id. Throws Error
  // if the logits hold NaN or plus infinity, or nothing above minus infinity.
  TokenId sample(std::span<const float> logits);

 private:
  struct Candidate {
    double score;  // the logit after penalty and temperature; then its weight
    TokenId id;
  };
  // The likelier first; equal ones by ascending id.
  static bool ahead(const Candidate& a, const Candidate& b) {
    return a.score > b.score || (a.score == b.score && a.id < b.id);
  }

  std::span<const float> penalized(std::span<const float> logits);
  void collect(std::span<const float> logits, float maximum);
  void keep_top_p();
  void sort_by_id();
  TokenId draw();

  SamplingOptions options_;
  std::uint64_t drawn_ = 0;
  std::vector<bool> seen_;  // [vocab_size]
  std::vector<TokenId> seen_ids_;
  std::vector<float> penalized_;  // [vocab_size], used when there is a penalty
  std::vector<Candidate> candidates_;
};

// The largest logit; its first place. Throws as Sampler::sample does.
TokenId likeliest(std::span<const float> logits);

}  // namespace baleen
