#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "error.h"

namespace baleen {
namespace {

// Below exp(-50) even 2^18 tokens together weigh less than a double's last digit.
constexpr double negligible = -50;

}  // namespace

double uniform(std::uint64_t seed, std::uint64_t n) {
  std::uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

TokenId likeliest(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) best = i;
    // False for NaN too.
    if (!(logits[i] < std::numeric_limits<float>::infinity())) {
      throw Error("the model's logits hold " + std::string(std::isnan(logits[i]) ? "NaN" : "infinity") +
                  " (first at token " + std::to_string(i) + "): its weights, or their scales, are damaged");
    }
  }
  if (logits.empty() || std::isinf(logits[best]))
    throw Error("the model's logits are all minus infinity: no token can follow");
  return static_cast<TokenId>(best);
}

Sampler::Sampler(const SamplingOptions& options, std::size_t vocab_size)
    : options_(options), seen_(vocab_size, false) {}

void Sampler::accept(TokenId id) {
  const auto index = static_cast<std::size_t>(id);
  if (id < 0 || index >= seen_.size() || seen_[index]) return;
  seen_[index] = true;
  seen_ids_.push_back(id);
}

TokenId Sampler::sample(std::span<const float> raw) {
  const std::span<const float> logits = penalized(raw);
  const TokenId best = likeliest(logits);
  if (options_.temperature == 0) return best;
  collect(logits, logits[static_cast<std::size_t>(best)]);
  if (options_.top_p < 1) keep_top_p();
  if (options_.min_p > 0) {  // weights are relative to the likeliest token's, 1
    std::erase_if(candidates_, [&](const Candidate& c) { return c.score < options_.min_p; });
  }
  return draw();
}

// transformers' RepetitionPenaltyLogitsProcessor: each token seen once, however often it occurred.
std::span<const float> Sampler::penalized(std::span<const float> logits) {
  if (options_.repetition_penalty == 1) return logits;
  penalized_.assign(logits.begin(), logits.end());
  const auto penalty = static_cast<float>(options_.repetition_penalty);
  for (const TokenId id : seen_ids_) {
    if (static_cast<std::size_t>(id) >= penalized_.size()) continue;
    float& logit = penalized_[static_cast<std::size_t>(id)];
    logit = logit < 0 ? logit * penalty : logit / penalty;
  }
  return penalized_;
}

// The tokens that top-k leaves, each with the weight exp((logit - maximum) / temperature).
void Sampler::collect(std::span<const float> logits, float maximum) {
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double score = (static_cast<double>(logits[i]) - maximum) / options_.temperature;
    if (score > negligible) candidates_.push_back({score, static_cast<TokenId>(i)});
  }
  if (options_.top_k > 0 && options_.top_k < candidates_.size()) {
    const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(options_.top_k);
    std::nth_element(candidates_.begin(), last, candidates_.end(), ahead);
    candidates_.erase(last, candidates_.end());
    sort_by_id();
  }
  for (Candidate& candidate : candidates_) candidate.score = std::exp(candidate.score);
}

// The likeliest tokens until their probabilities reach top_p; one at least. A heap, because a few tokens of
// a vocabulary of 163,840 usually do.
void Sampler::keep_top_p() {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.score;
  const auto behind = [](const Candidate& a, const Candidate& b) { return ahead(b, a); };
  std::make_heap(candidates_.begin(), candidates_.end(), behind);
  auto heap_end = candidates_.end();
  double kept = 0;
  do {
    std::pop_heap(candidates_.begin(), heap_end, behind);
    --heap_end;
    kept += heap_end->score;
  } while (heap_end != candidates_.begin() && kept < options_.top_p * total);
  candidates_.erase(candidates_.begin(), heap_end);
  sort_by_id();
}

// Weights are always summed in the order of ids, so that a draw depends on the kept set alone.
void Sampler::sort_by_id() {
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

TokenId Sampler::draw() {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.score;
  const double target = uniform(options_.seed, drawn_++) * total;
  double sum = 0;
  for (const Candidate& candidate : candidates_) {
    sum += candidate.score;
    if (target < sum) return candidate.id;
  }
  return candidates_.back().id;
}

}  // namespace baleen
