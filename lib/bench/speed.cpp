#include "bench/speed.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "bench/statistics.h"
#include "model/expansion.h"
#include "runtime/sampler.h"

namespace baleen {
namespace {

using Clock = std::chrono::steady_clock;
using kernels::Path;

std::size_t most_sequences(std::span<const SpeedTest> tests) {
  std::size_t most = 0;
  for (const SpeedTest& test : tests) most = std::max(most, test.batch);
  return most;
}

std::size_t longest_sequence(std::span<const SpeedTest> tests) {
  std::size_t most = 1;
  for (const SpeedTest& test : tests) most = std::max(most, test.depth + test.tokens);
  return most;
}

}  // namespace

std::vector<SpeedTest> speed_tests(std::span<const std::uint64_t> prompts, std::uint64_t new_tokens,
                                   std::span<const std::uint64_t> depths,
                                   std::span<const std::uint64_t> batches) {
  std::vector<SpeedTest> tests;
  for (const std::size_t prompt : prompts)
    if (prompt > 0) tests.push_back({.kind = SpeedTest::Kind::prefill, .tokens = prompt});
  if (new_tokens == 0) return tests;
  for (const std::size_t depth : depths)
    for (const std::size_t batch : batches)
      tests.push_back(
          {.kind = SpeedTest::Kind::decode, .tokens = new_tokens, .depth = depth, .batch = batch});
  return tests;
}

double SpeedResult::median_seconds() const {
  return summarize(seconds).median;
}

double SpeedResult::tokens_per_second() const {
  return static_cast<double>(test.total_tokens()) / median_seconds();
}

SpeedFigures speed_figures(const SpeedResult& result, const Roofline& roofline) {
  const Summary times = summarize(result.seconds);
  const double least = roofline.seconds(result.work);
  return {.tokens_per_second = result.tokens_per_second(),
          .median_seconds = times.median,
          .spread = times.spread(),
          .pass = 1 / static_cast<double>(result.passes) * result.work,
          .bytes_per_second = result.work.bytes() / times.median,
          .operations_per_second = result.work.operations / times.median,
          .roofline_seconds = least,
          .roofline_share = least / times.median,
          .memory_bound = roofline.memory_bound(result.work)};
}

CacheFigures cache_figures(const SpeedResult& result, const Roofline& roofline, double disk_bandwidth) {
  const ExpertCacheTotals& cache = result.cache.value();
  const auto share = [](auto part, auto whole) {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
  };
  const auto repetitions = static_cast<double>(result.seconds.size());
  const double seconds = std::accumulate(result.seconds.begin(), result.seconds.end(), 0.0);
  const double tokens = repetitions * static_cast<double>(result.test.total_tokens());
  const auto& [next, second] = cache.guesses;
  const double least = roofline.seconds(result.work);
  const double disk_seconds = share(cache.bytes_needed, disk_bandwidth * repetitions);
  const double bound = std::max(least, disk_seconds);
  return {.hit_rate = share(cache.hits, cache.asked),
          .guess_rate = share(cache.by_guess, cache.asked),
          .miss_rate = share(cache.misses, cache.asked),
          .guess_precision = {share(next.right, next.made), share(second.right, second.made)},
          .guess_read_precision = share(next.useful + second.useful, next.reads + second.reads),
          .bytes_read_per_token = share(cache.bytes_read, tokens),
          .bytes_needed_per_token = share(cache.bytes_needed, tokens),
          .disk_bytes_per_second = share(cache.bytes_read, cache.read_seconds),
          .disk_share = share(cache.bytes_read, disk_bandwidth * seconds),
          .stall_share = share(cache.stall_seconds, seconds),
          .bound_seconds = bound,
          .bound_share = share(repetitions * bound, seconds),
          .disk_bound = disk_seconds > least};
}

const SpeedResult* longest_prompt(std::span<const SpeedResult> results) {
  const SpeedResult* best = nullptr;
  for (const SpeedResult& result : results) {
    if (result.test.kind != SpeedTest::Kind::prefill) continue;
    if (!best || result.test.tokens > best->test.tokens) best = &result;
  }
  return best;
}

const SpeedResult* largest_batch(std::span<const SpeedResult> results) {
  const auto size = [](const SpeedResult& result) { return std::pair(result.test.batch, result.test.depth); };
  const SpeedResult* best = nullptr;
  for (const SpeedResult& result : results) {
    if (result.test.kind != SpeedTest::Kind::decode) continue;
    if (!best || size(result) > size(*best)) best = &result;
  }
  return best;
}

void touch_weights(const Model& model, ThreadPool& pool, const std::atomic<bool>* cancel) {
  constexpr std::size_t page = 4096;
  const auto tensors = model.checkpoint().tensors();
  std::atomic<unsigned> sum{0};
  pool.parallel_for(tensors.size(), [&](std::size_t i, std::size_t) {
    check_cancelled(cancel);
    unsigned bytes = 0;
    for (std::size_t at = 0; at < tensors[i].bytes; at += page)
      bytes += static_cast<unsigned>(tensors[i].data[at]);
    sum.fetch_add(bytes, std::memory_order_relaxed);
  });
}

std::size_t cached_tokens(std::span<const SpeedTest> tests) {
  return most_sequences(tests) * longest_sequence(tests);
}

// Seconds by layer, and of what is outside of layers: the residual stream is shown where a layer begins and
// where the last one ends.
class SpeedBench::LayerClock {
 public:
  explicit LayerClock(std::size_t layers) : seconds_(layers + 1), current_(layers), start_(Clock::now()) {}

  void enter(std::size_t layer) {
    const auto now = Clock::now();
    seconds_[current_] += std::chrono::duration<double>(now - start_).count();
    start_ = now;
    current_ = layer;
  }

  // Of the whole model, where layer l stands for counts[l] layers.
  double stop(std::span<const double> counts) {
    enter(counts.size());
    double sum = seconds_.back();
    for (std::size_t l = 0; l < counts.size(); ++l) sum += counts[l] * seconds_[l];
    return sum;
  }

  std::size_t outside() const { return seconds_.size() - 1; }

 private:
  std::vector<double> seconds_;
  std::size_t current_;
  Clock::time_point start_;
};

// Sums the work of passes, by the experts that their tokens really went to.
class SpeedBench::RouteCount {
 public:
  RouteCount(const Model& model, const KvLayout& layout, std::span<const double> layer_counts)
      : model_(model), layout_(layout), layer_counts_(layer_counts), touched_(model.layers().size()) {
    for (std::size_t l = 0; l < touched_.size(); ++l) touched_[l].resize(model.layers()[l].experts.size());
  }

  void choose(std::size_t layer, std::span<const Choice> choices) {
    for (const Choice& choice : choices) touched_[layer][choice.expert] = true;
  }

  void end_pass(std::span<const Stretch> stretches, std::size_t tokens, std::size_t wanted) {
    work_ = work_ + outer_work(model_, tokens, wanted);
    for (std::size_t l = 0; l < touched_.size(); ++l) {
      const Layer& layer = model_.layers()[l];
      work_ = work_ + layer_counts_[l] * layer_work(model_.config(), layer, layout_, stretches, touched_[l]);
      if (touched_[l].empty()) continue;
      unique_ += static_cast<double>(std::count(touched_[l].begin(), touched_[l].end(), true));
      moe_layers_ += 1;
      touched_[l].assign(touched_[l].size(), false);
    }
    ++passes_;
  }

  // Of one of `runs` that were counted, on average.
  void write(SpeedResult& result, std::size_t runs) const {
    result.work = 1 / static_cast<double>(runs) * work_;
    result.passes = passes_ / runs;
    result.unique_experts = moe_layers_ > 0 ? unique_ / moe_layers_ : 0;
  }

 private:
  const Model& model_;
  const KvLayout& layout_;
  std::span<const double> layer_counts_;
  std::vector<std::vector<bool>> touched_;  // by layer and expert, in this pass
  Work work_;
  std::size_t passes_ = 0;
  double unique_ = 0;
  double moe_layers_ = 0;
};

SpeedBench::SpeedBench(const Model& model, ThreadPool& pool, const SpeedOptions& options,
                       std::span<const SpeedTest> tests)
    : model_(model),
      options_(options),
      forward_(model, pool, *options.kernels, options.cancel, options.experts),
      layout_(model.config(), options.kv_format),
      filled_(most_sequences(tests)) {
  if (options_.layer_counts.empty()) options_.layer_counts.assign(model.layers().size(), 1.0);
  const std::size_t context = longest_sequence(tests);
  for (std::size_t s = 0; s < filled_.size(); ++s)
    caches_.emplace_back(layout_, model.config().num_hidden_layers, context);
}

TokenId SpeedBench::token(std::size_t sequence, std::size_t position) const {
  // No more than 2^32 positions and 2^12 sequences, and hardly 2^20 draws.
  const std::uint64_t number = draw_ << 44U | static_cast<std::uint64_t>(sequence) << 32U | position;
  const double place = uniform(options_.seed, number);
  return static_cast<TokenId>(place * static_cast<double>(model_.config().vocab_size));
}

// Positions [begin, end) of a sequence; logits of the last one.
void SpeedBench::prefill(std::size_t sequence, std::size_t begin, std::size_t end, const Observer* observer,
                         RouteCount* count) {
  const Positions expanded = Expansion().of(model_.config(), begin, end);
  for (std::size_t at = begin; at < end;) {
    const std::size_t stop = std::min(end, at + options_.chunk);
    std::vector<TokenInput> tokens;
    for (std::size_t p = at; p < stop; ++p)
      tokens.push_back({.id = token(sequence, p),
                        .cache = &caches_[sequence],
                        .position = static_cast<std::uint32_t>(p),
                        .path = Path::batch,
                        .wants_logits = p + 1 == end,
                        .expanded = expanded.has(p)});
    forward_.run(
        tokens, [](std::size_t, std::span<const float>) {}, observer);
    const Stretch stretch{.begin = at, .count = tokens.size()};
    if (count) count->end_pass({&stretch, 1}, tokens.size(), stop == end ? 1 : 0);
    at = stop;
  }
}

void SpeedBench::decode(const SpeedTest& test, const Observer* observer, RouteCount* count) {
  std::vector<TokenInput> tokens(test.batch);
  for (std::size_t p = test.depth; p < test.depth + test.tokens; ++p) {
    for (std::size_t s = 0; s < test.batch; ++s)
      tokens[s] = {token(s, p), &caches_[s], static_cast<std::uint32_t>(p), options_.decode_path, true};
    forward_.run(
        tokens, [](std::size_t, std::span<const float>) {}, observer);
    if (count) {
      const std::vector<Stretch> stretches(test.batch, Stretch{.begin = p, .count = 1});
      count->end_pass(stretches, test.batch, test.batch);
    }
  }
}

// What lies before the tokens of the test, by real prefills; what an earlier test left is taken as it is.
void SpeedBench::fill_caches(const SpeedTest& test) {
  draw_ = 0;
  for (std::size_t s = 0; s < test.batch; ++s) {
    caches_[s].set_length(std::min(filled_[s], test.depth));
    prefill(s, caches_[s].length(), test.depth, nullptr, nullptr);
    filled_[s] = test.depth;  // what lies behind will be overwritten
  }
}

void SpeedBench::run(const SpeedTest& test, const Observer* observer, RouteCount* count) {
  if (options_.experts) draw_ = ++draws_;
  for (std::size_t s = 0; s < test.batch; ++s) caches_[s].set_length(test.depth);
  if (test.kind == SpeedTest::Kind::prefill) {
    prefill(0, test.depth, test.depth + test.tokens, observer, count);
  } else {
    decode(test, observer, count);
  }
}

SpeedResult SpeedBench::measure(const SpeedTest& test, const std::function<void()>& on_repetition) {
  SpeedResult result{.test = test, .seconds = {}, .work = {}};
  fill_caches(test);
  RouteCount count(model_, layout_, options_.layer_counts);
  Observer routes;
  routes.route = [&](std::size_t layer, std::span<const TokenInput>, std::span<const Choice> choices) {
    count.choose(layer, choices);
  };
  // The run that warms up shows the routing of all, unless each has tokens of its own.
  ExpertCache* const experts = options_.experts;
  run(test, experts ? nullptr : &routes, experts ? nullptr : &count);
  on_repetition();
  const ExpertCacheTotals before = experts ? experts->totals() : ExpertCacheTotals();
  for (std::size_t r = 0; r < options_.repetitions; ++r) {
    LayerClock clock(model_.layers().size());
    Observer layers;
    layers.hidden = [&](std::size_t layer, std::span<const float>) {
      clock.enter(std::min(layer, clock.outside()));
    };
    if (experts) layers.route = routes.route;
    run(test, &layers, experts ? &count : nullptr);
    result.seconds.push_back(clock.stop(options_.layer_counts));
    on_repetition();
  }
  if (experts) result.cache = experts->totals() - before;
  count.write(result, experts ? options_.repetitions : 1);
  return result;
}

}  // namespace baleen
