#include "runtime/scheduler.h"

#include <algorithm>
#include <utility>

#include "error.h"

namespace baleen {
namespace {

// Caches hold a multiple of this many tokens, so that one fits the next sequence of about the same length.
constexpr std::size_t cache_step = 256;
// Tokens that a prompt must have in common with one that is being computed to wait for it.
constexpr std::size_t worth_waiting = 32;

}  // namespace

GenerateTimes& GenerateTimes::operator+=(const GenerateTimes& other) {
  prefill_seconds += other.prefill_seconds;
  decode_seconds += other.decode_seconds;
  prefilled_tokens += other.prefilled_tokens;
  shared_tokens += other.shared_tokens;
  decoded_tokens += other.decoded_tokens;
  return *this;
}

Scheduler::Scheduler(const Model& model, ThreadPool& pool, const SchedulerOptions& options)
    : model_(model),
      pool_(pool),
      options_(options),
      layout_(model.config(), options.kv_format),
      forward_(model, pool, *options.kernels, options.cancel, options.experts) {}

void Scheduler::add(Generation& generation, std::uint64_t request) {
  queue_.emplace_back(&generation, request);
}

std::size_t Scheduler::prefilled(const Generation& generation) const {
  for (const Sequence& sequence : running_)
    if (sequence.generation == &generation) return std::min(sequence.length(), generation.prompt().size());
  return 0;
}

KvCache Scheduler::new_cache(const Generation& generation) const {
  return {layout_, model_.config().num_hidden_layers, cache_tokens(generation)};
}

// How much of its prompt a generation can do without computing: never the last token, whose logits choose
// the first new one.
Beginning Scheduler::wanted(const Generation& generation) {
  const std::vector<TokenId>& prompt = generation.prompt();
  const bool all = generation.prompt_want() == Session::Want::all;
  return {std::span(prompt).first(all ? 0 : prompt.size() - 1), prompt.size()};
}

// Rows that are the same for both, bit for bit.
std::size_t Scheduler::common_rows(const Beginning& a, const Beginning& b) const {
  return options_.expansion.common_rows(model_.config(), a, b);
}

const KvCache* Scheduler::prompt_rows(const Generation& generation) const {
  const std::vector<TokenId>& prompt = generation.prompt();
  for (const Sequence& sequence : running_)
    if (sequence.generation == &generation && sequence.prompt_done) return &*sequence.cache;
  for (const Kept& kept : kept_)
    if (common_rows({prompt, prompt.size()}, {kept.ids, kept.prompt_tokens}) == prompt.size())
      return &kept.cache;
  return nullptr;
}

std::vector<Finished> Scheduler::step(const Observer* observer) {
  admit();
  for (Sequence& sequence : running_)
    if (!sequence.cache && !better_to_wait(sequence)) try_to_start(sequence);
  tokens_.clear();
  rows_.clear();
  add_prompt_tokens();
  add_generated_tokens();
  if (tokens_.empty()) return take_finished();
  try {
    forward_.run(
        tokens_, [&](std::size_t row, std::span<const float> logits) { take_logits(row, logits); }, observer);
    after_pass();
  } catch (const Cancelled&) {
    cancel_all();
  } catch (...) {
    queue_.clear();
    running_.clear();
    throw;
  }
  return take_finished();
}

// Positions that the generation may come to fill.
std::size_t Scheduler::cache_tokens(const Generation& generation) const {
  return (generation.most_tokens() + cache_step - 1) / cache_step * cache_step;
}

std::uint64_t Scheduler::cache_bytes() const {
  std::size_t tokens = 0;
  // One that was taken over may be larger than was needed.
  for (const Sequence& sequence : running_)
    tokens += sequence.cache ? sequence.cache->context() : cache_tokens(*sequence.generation);
  for (const Kept& kept : kept_) tokens += kept.cache.context();
  return std::uint64_t{tokens} * layout_.position_bytes * model_.config().num_hidden_layers;
}

void Scheduler::admit() {
  while (!queue_.empty() && running_.size() < options_.parallel) {
    const auto [generation, request] = queue_.front();
    running_.push_back({.generation = generation, .request = request, .since = Clock::now()});
    while (cache_bytes() > options_.kv_bytes && !kept_.empty()) kept_.erase(kept_.begin());
    if (cache_bytes() > options_.kv_bytes && running_.size() > 1) return running_.pop_back();
    queue_.pop_front();
  }
}

// Somebody who joined earlier is about to compute more of this prompt than there is to copy by now.
bool Scheduler::better_to_wait(const Sequence& sequence) const {
  const Beginning own = wanted(*sequence.generation);
  std::size_t ready = 0;
  for (const Kept& kept : kept_) ready = std::max(ready, common_rows(own, {kept.ids, kept.prompt_tokens}));
  std::size_t promised = 0;
  for (const Sequence& other : running_) {
    if (&other == &sequence) break;
    const std::size_t common = common_rows(own, {other.prompt(), other.prompt().size()});
    promised = std::max(promised, common);
    ready = std::max(ready, std::min(common, other.length()));
  }
  return promised >= ready + worth_waiting;
}

// A cache that cannot be had is the fault of the one that asks for so much.
void Scheduler::try_to_start(Sequence& sequence) {
  try {
    start(sequence);
  } catch (const Error&) {
    sequence.error = std::current_exception();
  }
}

// Gives the sequence its cache, with the rows of as much of its prompt as any other has.
void Scheduler::start(Sequence& sequence) {
  const Beginning own = wanted(*sequence.generation);
  std::size_t shared = 0;
  const KvCache* source = nullptr;
  const auto consider = [&](std::size_t common, const KvCache& cache) {
    if (common > shared) source = &cache;
    shared = std::max(shared, common);
    return source == &cache;
  };
  for (const Sequence& other : running_)
    if (other.cache)
      consider(std::min(common_rows(own, {other.prompt(), other.prompt().size()}), other.length()),
               *other.cache);
  auto kept = kept_.end();
  for (auto k = kept_.begin(); k != kept_.end(); ++k)
    if (consider(common_rows(own, {k->ids, k->prompt_tokens}), k->cache)) kept = k;

  // Not for a few tokens: somebody may yet want the rest of it.
  if (kept != kept_.end() && kept->cache.context() >= cache_tokens(*sequence.generation) &&
      2 * shared >= kept->ids.size()) {
    sequence.cache = std::move(kept->cache);
    kept_.erase(kept);
  } else {
    sequence.cache = new_cache(*sequence.generation);
    if (source) {
      pool_.parallel_for(model_.config().num_hidden_layers, [&](std::size_t layer, std::size_t) {
        sequence.cache->copy_rows(*source, layer, shared);
      });
    }
    if (kept != kept_.end()) std::rotate(kept, kept + 1, kept_.end());
  }
  sequence.cache->set_length(shared);
  sequence.times.shared_tokens = shared;
}

// Where a prompt's tokens in this pass end, if there is room for so many: expanded blocks stay whole, if that
// leaves anything to do, since keys and values are made anew in every pass.
std::size_t Scheduler::next_end(const Sequence& sequence, const Positions& expanded, std::size_t room) const {
  const std::size_t end = std::min(sequence.prompt().size(), sequence.length() + room);
  if (!expanded.has(end)) return end;
  const std::size_t whole = options_.expansion.boundary(end);
  if (whole > sequence.length()) return whole;
  return tokens_.empty() ? end : sequence.length();
}

// The prompts' next tokens, those of who joined first in front.
void Scheduler::add_prompt_tokens() {
  const bool others_wait =
      std::any_of(running_.begin(), running_.end(), [](const Sequence& s) { return s.prompt_done; });
  const std::size_t most = std::max<std::size_t>(1, others_wait ? options_.mixed_chunk : options_.chunk);
  for (Sequence& sequence : running_) {
    if (!sequence.cache || !sequence.in_prompt()) continue;
    const std::vector<TokenId>& prompt = sequence.prompt();
    const Session::Want want = sequence.generation->prompt_want();
    const Positions expanded = options_.expansion.of(model_.config(), 0, prompt.size());
    const std::size_t end = next_end(sequence, expanded, most - tokens_.size());
    for (std::size_t i = sequence.length(); i < end; ++i) {
      const bool last = i + 1 == prompt.size();
      tokens_.push_back({.id = prompt[i],
                         .cache = &*sequence.cache,
                         .position = static_cast<std::uint32_t>(i),
                         .path = kernels::Path::batch,
                         .wants_logits = want == Session::Want::all || (want == Session::Want::last && last),
                         .expanded = expanded.has(i),
                         .request = sequence.request});
      rows_.push_back(&sequence);
    }
  }
}

void Scheduler::add_generated_tokens() {
  for (Sequence& sequence : running_) {
    if (!sequence.prompt_done) continue;
    tokens_.push_back({.id = sequence.generation->ids().back(),
                       .cache = &*sequence.cache,
                       .position = static_cast<std::uint32_t>(sequence.length()),
                       .path = options_.generated_path,
                       .wants_logits = true,
                       .generated = true,
                       .request = sequence.request});
    rows_.push_back(&sequence);
  }
}

// What is wrong with one generation's logits is no concern of the others.
void Scheduler::take_logits(std::size_t row, std::span<const float> logits) {
  Sequence& sequence = *rows_[row];
  if (sequence.error) return;
  try {
    if (tokens_[row].generated) {
      sequence.generation->choose(logits);
    } else {
      sequence.generation->prompt_logits(tokens_[row].position, logits);
    }
  } catch (const Error&) {
    sequence.error = std::current_exception();
  }
}

// What the pass has brought is counted, and prompts that are through begin to generate.
void Scheduler::after_pass() {
  for (Sequence& sequence : running_) {
    GenerateTimes& times = sequence.times;
    if (sequence.prompt_done) {
      ++times.decoded_tokens;
      continue;
    }
    times.prefilled_tokens = sequence.length() - times.shared_tokens;
    if (sequence.in_prompt()) continue;
    sequence.prompt_done = true;
    times.prefill_seconds = seconds_since(sequence.since);
    sequence.since = Clock::now();
    sequence.generation->prompt_done();
  }
}

void Scheduler::cancel_all() {
  for (const auto& [generation, request] : std::exchange(queue_, {}))
    running_.push_back({.generation = generation, .request = request, .since = Clock::now()});
  for (Sequence& sequence : running_) sequence.generation->cancel();
}

std::vector<Finished> Scheduler::take_finished() {
  std::vector<Finished> finished;
  for (auto sequence = running_.begin(); sequence != running_.end();) {
    if (!sequence->generation->finished() && !sequence->error) {
      ++sequence;
      continue;
    }
    GenerateTimes& times = sequence->times;
    (sequence->prompt_done ? times.decode_seconds : times.prefill_seconds) = seconds_since(sequence->since);
    finished.push_back({sequence->generation, sequence->request, times, sequence->error});
    keep(*sequence);
    sequence = running_.erase(sequence);
  }
  return finished;
}

// Keeps the cache for its prompt.
void Scheduler::keep(Sequence& sequence) {
  if (!sequence.cache) return;
  std::vector<TokenId> ids = sequence.prompt();
  ids.resize(std::min(sequence.length(), ids.size()));
  keep(std::move(ids), sequence.prompt().size(), std::move(*sequence.cache));
}

// Unless another serves as well.
void Scheduler::keep(std::vector<TokenId> ids, std::size_t prompt_tokens, KvCache cache) {
  if (options_.kept == 0) return;
  const auto common = [&](const Kept& kept) {
    return common_rows({ids, prompt_tokens}, {kept.ids, kept.prompt_tokens});
  };
  const auto serves = [&](const Kept& kept) { return common(kept) == ids.size(); };
  if (std::any_of(kept_.begin(), kept_.end(), serves)) return;
  std::erase_if(kept_, [&](const Kept& kept) { return common(kept) == kept.ids.size(); });
  if (kept_.size() == options_.kept) kept_.erase(kept_.begin());
  kept_.push_back({std::move(ids), prompt_tokens, std::move(cache)});
}

GenerateTimes generate(Scheduler& scheduler, Generation& generation,
                       const std::function<void(std::size_t tokens_done)>& on_progress,
                       const Observer* observer) {
  scheduler.add(generation);
  std::vector<Finished> finished;
  while (finished.empty()) {
    finished = scheduler.step(observer);
    if (!on_progress) continue;
    const auto in_cache = [](const GenerateTimes& t) { return t.shared_tokens + t.prefilled_tokens; };
    on_progress(finished.empty() ? scheduler.prefilled(generation) : in_cache(finished[0].times));
  }
  if (finished[0].error) std::rethrow_exception(finished[0].error);
  return finished[0].times;
}

}  // namespace baleen
