#include "runtime/logprobs.h"

#include <algorithm>
#include <cmath>

#include "runtime/sampler.h"

namespace baleen {

TokenLogprobs token_logprobs(std::span<const float> logits, TokenId id, std::size_t top) {
  const double maximum = logits[static_cast<std::size_t>(likeliest(logits))];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - maximum);
  const double log_sum = maximum + std::log(sum);

  const auto ahead = [&](TokenId a, TokenId b) {
    const float logit_a = logits[static_cast<std::size_t>(a)];
    const float logit_b = logits[static_cast<std::size_t>(b)];
    return logit_a > logit_b || (logit_a == logit_b && a < b);
  };
  std::vector<TokenId> ids(top > 0 ? logits.size() : 0);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i);
  const std::size_t count = std::min(top, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(), ahead);

  TokenLogprobs result{.id = id, .logprob = logits[static_cast<std::size_t>(id)] - log_sum, .top = {}};
  for (std::size_t i = 0; i < count; ++i) {
    result.top.emplace_back(ids[i], logits[static_cast<std::size_t>(ids[i])] - log_sum);
  }
  return result;
}

}  // namespace baleen
