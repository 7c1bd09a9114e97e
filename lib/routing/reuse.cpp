#include "routing/reuse.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "error.h"

namespace baleen {
namespace {

constexpr std::size_t most_requests = 1024;  // followed at once

// A read as it stands in the spool: the key below, above it the distance to the key's next read. Distances
// beyond 32 bits (tens of millions of tokens later) count as never.
constexpr std::uint32_t never = std::numeric_limits<std::uint32_t>::max();
std::uint32_t key_of(std::uint64_t read) {
  return static_cast<std::uint32_t>(read);
}
std::uint64_t distance_of(std::uint64_t read) {
  return read >> 32;
}

// The three policies over one set of keys.
class Caches {
 public:
  explicit Caches(std::size_t keys)
      : recency_(keys), frequency_(keys), future_(keys), count_(keys, 0), curve_(keys) {}

  void read(std::uint32_t key, std::uint64_t now, std::uint64_t distance) {
    ++curve_.reads;
    ++curve_.lru[recency_.read(key)];
    // Count first, then time: 28 bits hold the reads of one expert in any log of up to 268 million tokens.
    ++count_[key];
    ++curve_.lfu[frequency_.read(key, std::min<std::uint64_t>(count_[key], (1u << 28) - 1) << 36 | now)];
    const std::uint64_t sooner = distance == never ? 0 : ~(now + distance);
    ++curve_.belady[future_.read(key, sooner)];
  }

  // A read at depth d is served by caches of d and more; depth 0 is a first read, served by none.
  CacheCurve finish() {
    for (auto* hits : {&curve_.lru, &curve_.lfu, &curve_.belady}) {
      (*hits)[0] = 0;
      std::partial_sum(hits->begin(), hits->end(), hits->begin());
    }
    return std::move(curve_);
  }

 private:
  RecencyStack recency_;
  PriorityStack frequency_, future_;
  std::vector<std::uint32_t> count_;
  CacheCurve curve_;  // counted by depth until the end
};

// How many of the elements of two ascending sequences are in both.
std::size_t common(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  std::size_t count = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    count += a[i] == b[j];
    const bool next_a = a[i] <= b[j], next_b = b[j] <= a[i];
    i += next_a;
    j += next_b;
  }
  return count;
}

}  // namespace

CacheCurve::CacheCurve(std::size_t experts)
    : lru(experts + 1, 0), lfu(experts + 1, 0), belady(experts + 1, 0) {}

double CacheCurve::share(const std::vector<std::uint64_t>& hits, std::size_t n) const {
  return reads ? static_cast<double>(hits.at(n)) / static_cast<double>(reads) : 0;
}

void CacheCurve::add(const CacheCurve& other) {
  reads += other.reads;
  const auto sum = [](std::vector<std::uint64_t>& to, const std::vector<std::uint64_t>& from) {
    std::transform(to.begin(), to.end(), from.begin(), to.begin(), std::plus<>());
  };
  sum(lru, other.lru);
  sum(lfu, other.lfu);
  sum(belady, other.belady);
}

DiskForecast disk_forecast(const PassReads& passes, std::uint64_t hits, std::uint64_t expert_bytes,
                           double bytes_per_second, double in_memory) {
  if (passes.tokens == 0) return {};
  const double misses = static_cast<double>(passes.reads - hits) / static_cast<double>(passes.tokens);
  const double bytes = misses * static_cast<double>(expert_bytes);
  const double hit_share = passes.reads ? static_cast<double>(hits) / static_cast<double>(passes.reads) : 0;
  DiskForecast forecast{.hit_share = hit_share, .bytes_per_token = bytes};
  if (bytes > 0 && bytes_per_second <= 0) return forecast;
  const double reading = bytes > 0 ? bytes / bytes_per_second : 0;  // seconds a token
  const double computing = in_memory > 0 ? 1 / in_memory : 0;
  const double most = std::max(reading, computing);
  if (most > 0) forecast.tokens_per_second = 1 / most;
  if (computing > 0) forecast.without_overlap = 1 / (reading + computing);
  return forecast;
}

ReuseMeter::ReuseMeter(std::size_t layers, std::size_t experts, std::span<const std::size_t> policy_slots,
                       std::size_t block)
    : experts_(experts), step_layers_(layers), repetition_(layers), reads_(block) {
  for (LayerRepetition& r : repetition_) r.load.assign(experts, 0);
  for (StepLayer& layer : step_layers_) layer.tokens.assign(experts, 0);
  for (const std::size_t slots : policy_slots) {
    caches_.emplace_back(layers, experts, slots);
    found_.policy.push_back({.slots = slots});
  }
}

void ReuseMeter::add(const ExpertReads& reads) {
  if (reads.layer >= step_layers_.size())
    throw Error("layer number " + std::to_string(reads.layer) + " of a token, expected below " +
                std::to_string(step_layers_.size()));
  for (const std::uint32_t e : reads.experts)
    if (e >= experts_)
      throw Error("expert " + std::to_string(e) + ", expected below " + std::to_string(experts_));
  if (reads.step != step_) end_step();
  step_ = reads.step;
  step_generates_ = step_generates_ && reads.generated;
  StepLayer& layer = step_layers_[reads.layer];
  ++layer.all_tokens;
  for (const std::uint32_t e : reads.experts)
    if (layer.tokens[e]++ == 0) layer.experts.push_back(e);
  repeat(reads);
}

void ReuseMeter::repeat(const ExpertReads& reads) {
  if (!requests_.contains(reads.request) && requests_.size() == most_requests)
    requests_.erase(std::min_element(requests_.begin(), requests_.end(), [](const auto& a, const auto& b) {
      return a.second.last_seen < b.second.last_seen;
    }));
  Request& request = requests_[reads.request];
  request.last_seen = ++clock_;
  request.experts.resize(repetition_.size());
  std::vector<std::uint32_t>& previous = request.experts[reads.layer];

  std::vector<std::uint32_t> now(reads.experts.begin(), reads.experts.end());
  std::sort(now.begin(), now.end());
  LayerRepetition& layer = repetition_[reads.layer];
  if (!previous.empty() && !now.empty()) {
    ++layer.with_previous;
    layer.shares += static_cast<double>(common(now, previous)) / static_cast<double>(now.size());
  }
  ++layer.tokens;
  for (const std::uint32_t e : now) ++layer.load[e];
  previous = std::move(now);
}

void ReuseMeter::end_layer(std::size_t l) {
  StepLayer& layer = step_layers_[l];
  std::sort(layer.experts.begin(), layer.experts.end());
  std::vector<ExpertTokens> reads;
  for (const std::uint32_t e : layer.experts) {
    reads_.append(l * experts_ + e);
    reads.push_back({e, std::min(std::exchange(layer.tokens[e], 0), layer.all_tokens)});
  }
  for (std::size_t i = 0; i < caches_.size(); ++i) {
    const std::size_t hits = caches_[i].read(l, reads, layer.all_tokens);
    (step_generates_ ? found_.policy[i].generated : found_.policy[i].prompt) += hits;
  }
  PassReads& phase = step_generates_ ? found_.generated : found_.prompt;
  phase.reads += reads.size();
  if (l == 0) phase.tokens += layer.all_tokens;
  layer.experts.clear();
  layer.all_tokens = 0;
}

void ReuseMeter::end_step() {
  for (std::size_t l = 0; l < step_layers_.size(); ++l)
    if (step_layers_[l].all_tokens > 0) end_layer(l);
  step_generates_ = true;
}

// From the end to the beginning, since the next read of an expert lies ahead.
void ReuseMeter::find_next_reads() {
  std::vector<std::uint64_t> last(step_layers_.size() * experts_,
                                  0);  // counted from the end, 1 is the last read
  std::uint64_t now = 0;
  reads_.backward([&](std::span<std::uint64_t> reads) {
    for (std::size_t i = reads.size(); i-- > 0;) {
      const std::uint64_t seen = std::exchange(last[reads[i]], ++now);
      const std::uint64_t distance = seen ? std::min<std::uint64_t>(now - seen, never) : never;
      reads[i] |= distance << 32;
    }
  });
}

void ReuseMeter::run_caches(Reuse& reuse) {
  const std::size_t layers = step_layers_.size();
  Caches shared(layers * experts_);
  std::vector<Caches> own(layers, Caches(experts_));
  std::uint64_t now = 0;
  reads_.forward([&](std::span<const std::uint64_t> reads) {
    for (const std::uint64_t read : reads) {
      const std::uint32_t key = key_of(read);
      ++now;
      shared.read(key, now, distance_of(read));
      own[key / experts_].read(static_cast<std::uint32_t>(key % experts_), now, distance_of(read));
    }
  });
  reuse.shared = shared.finish();
  reuse.each_layer = CacheCurve(experts_);
  for (std::size_t l = 0; l < layers; ++l) {
    reuse.layers[l].cache = own[l].finish();
    reuse.each_layer.add(reuse.layers[l].cache);
  }
}

Reuse ReuseMeter::finish() {
  end_step();
  Reuse reuse = std::move(found_);
  reuse.layers.resize(step_layers_.size());
  reuse.spooled_bytes = reads_.file_bytes();
  find_next_reads();
  run_caches(reuse);
  for (std::size_t l = 0; l < repetition_.size(); ++l) {
    const LayerRepetition& counted = repetition_[l];
    Repetition& r = reuse.layers[l].repetition;
    r.tokens = counted.with_previous;
    if (r.tokens) r.share = counted.shares / static_cast<double>(r.tokens);
    // Independent tokens that have expert e with probability p_e: one has sum p_e experts, and sum p_e^2 of
    // them in common with another.
    double experts = 0, in_common = 0;
    for (const std::uint64_t load : counted.load) {
      const double p = counted.tokens ? static_cast<double>(load) / static_cast<double>(counted.tokens) : 0;
      experts += p;
      in_common += p * p;
    }
    if (experts > 0) r.chance = in_common / experts;
  }
  return reuse;
}

}  // namespace baleen
