#include "runtime/expert_cache.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "clock.h"
#include "error.h"

namespace baleen {
namespace {

// A part of the slots is kept free for what is read next: enough for the experts of a token, or for reading
// on while a prompt's experts are at work.
constexpr std::size_t spare_part = 16;
// Guesses that come true more seldom are not worth the disk's time; how often they do is known from the last
// hundred or so.
constexpr double least_rate = 0.35;
constexpr double of_late = 0.99;

// `experts` of the model, `per_token` of them chosen for a token in a layer. No more than are missing.
std::size_t spare_slots(std::size_t slots, std::size_t experts, std::size_t per_token) {
  if (slots >= experts) return 0;
  return std::min({std::max(per_token, slots / spare_part), slots / 2, experts - slots});
}

// What a miss costs in each layer that has experts: the bytes of an expert's values, on average. Layers may
// be stored in different formats.
std::vector<double> miss_costs(const Model& model) {
  std::vector<double> costs;
  for (const Layer& layer : model.layers()) {
    if (layer.experts.empty()) continue;
    double bytes = 0;
    for (const Mlp& mlp : layer.experts)
      for (const auto* const matrix : {&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj})
        bytes += static_cast<double>(matrix->rows) * static_cast<double>(matrix->row_bytes);
    costs.push_back(bytes / static_cast<double>(layer.experts.size()));
  }
  return costs;
}

}  // namespace

ExpertCacheTotals operator-(const ExpertCacheTotals& now, const ExpertCacheTotals& before) {
  ExpertCacheTotals since = now;
  since.asked -= before.asked;
  since.hits -= before.hits;
  since.by_guess -= before.by_guess;
  since.misses -= before.misses;
  for (std::size_t d = 0; d < since.guesses.size(); ++d) {
    since.guesses[d].made -= before.guesses[d].made;
    since.guesses[d].right -= before.guesses[d].right;
    since.guesses[d].reads -= before.guesses[d].reads;
    since.guesses[d].useful -= before.guesses[d].useful;
  }
  since.bytes_needed -= before.bytes_needed;
  since.bytes_read -= before.bytes_read;
  since.read_seconds -= before.read_seconds;
  since.stall_seconds -= before.stall_seconds;
  return since;
}

ExpertCache::ExpertCache(const Model& model, const std::filesystem::path& dir, std::size_t slots,
                         ExpertCacheOptions options)
    : model_(model),
      options_(std::move(options)),
      files_(model.checkpoint(), dir),
      reader_(files_.paths(), options_.reader),
      experts_(model.config().n_routed_experts),
      moe_layer_(model.layers().size(), nowhere),
      policy_(static_cast<std::size_t>(
                  std::count(model.config().is_moe_layer.begin(), model.config().is_moe_layer.end(), true)),
              experts_, slots, miss_costs(model)),
      slots_(slots) {
  for (std::size_t l = 0; l < model.layers().size(); ++l) {
    if (model.layers()[l].experts.empty()) continue;
    moe_layer_[l] = static_cast<std::uint32_t>(model_layer_.size());
    model_layer_.push_back(l);
    for (const Mlp& mlp : model.layers()[l].experts) {
      std::vector<FileRange> ranges;
      files_.add_ranges(mlp, ranges);
      plans_.push_back(reader_.plan(ranges));
      slot_bytes_ = std::max(slot_bytes_, plans_.back().room);
    }
  }
  spare_ = spare_slots(slots, plans_.size(), model.config().num_experts_per_tok);
  slot_of_.assign(plans_.size(), nowhere);
  arena_ = std::make_unique<HugeMemory>(slots * slot_bytes_);
  for (std::size_t s = slots; s-- > 0;) free_.push_back(static_cast<std::uint32_t>(s));
}

ExpertCache::~ExpertCache() = default;

void ExpertCache::seed(const ExpertShares& shares) {
  for (std::size_t l = 0; l < model_layer_.size(); ++l)
    policy_.seed(l, shares.layers[model_layer_[l]], shares.tokens);
  favourites_ = policy_.favourites();
  favourites_.resize(std::min(favourites_.size(), slots_.size() - spare_));
  std::reverse(favourites_.begin(), favourites_.end());
  refill();
}

ExpertCacheTotals ExpertCache::totals() const {
  ExpertCacheTotals totals = totals_;
  const DirectReader::Totals read = reader_.totals();
  totals.bytes_read = read.bytes;
  totals.read_seconds = read.seconds;
  return totals;
}

std::span<std::byte> ExpertCache::memory(std::uint32_t slot) const {
  return arena_->bytes().subspan(slot * slot_bytes_, slot_bytes_);
}

// ---- Slots.

void ExpertCache::read(ExpertKey key, std::uint32_t number, Urgency urgency) {
  const ReadPlan& plan = plans_[index(key)];
  const std::span<std::byte> bytes = memory(number);
  const Mlp& stored = model_.layers()[model_layer_[key.layer]].experts[key.expert];
  std::span<const std::size_t> begins = plan.begins;
  Slot& slot = slots_[number];
  slot.key = key;
  slot.guess = 0;
  slot.mlp = files_.moved(stored, begins, bytes.data());
  slot.batch = reader_.submit(plan, bytes, urgency);
  slot_of_[index(key)] = number;
  policy_.insert(key);
}

void ExpertCache::evict(ExpertKey key) {
  const std::uint32_t number = std::exchange(slot_of_[index(key)], nowhere);
  policy_.erase(key);
  const bool over = reader_.cancel(slots_[number].batch);
  (over ? free_ : dead_).push_back(number);
}

void ExpertCache::free_dead_slots() {
  std::erase_if(dead_, [&](std::uint32_t number) {
    if (slots_[number].batch.status() == ReadStatus::pending) return false;
    free_.push_back(number);
    return true;
  });
}

// A slot for an expert that is needed now, at whatever other's expense; false: all are in use.
bool ExpertCache::take_slot(std::uint32_t& slot) {
  free_dead_slots();
  if (free_.empty()) {
    auto victim = policy_.victim();
    if (!victim) {
      forget_guesses();
      victim = policy_.victim();
    }
    if (victim) evict(*victim);
    if (free_.empty() && !dead_.empty()) {
      const auto start = Clock::now();
      reader_.settle(slots_[dead_.front()].batch);
      totals_.stall_seconds += seconds_since(start);
      free_dead_slots();
    }
  }
  if (free_.empty()) return false;
  slot = free_.back();
  free_.pop_back();
  return true;
}

// Gives up what is worth least until the spare slots are free or hold guesses, and lets the disk go on with
// what will be wanted next.
void ExpertCache::refill() {
  free_dead_slots();
  const auto guessed =
      static_cast<std::size_t>(std::count_if(guesses_.begin(), guesses_.end(), [&](const Guess& guess) {
        return guess.held && slots_[slot_of_[index(guess.key)]].guess == guess.distance;
      }));
  while (free_.size() + dead_.size() + guessed < spare_) {
    const auto victim = policy_.victim();
    if (!victim) break;
    evict(*victim);
  }
  if (visit_) visit_->advance();
  if (visit_ && visit_->crowded()) return;
  const auto start = [&](ExpertKey key) {
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    read(key, slot, Urgency::ahead);
  };
  for (Guess& guess : guesses_) {
    if (guess.held) continue;
    const std::uint32_t slot = slot_of_[index(guess.key)];
    if (slot == nowhere) {
      if (!worth_reading(guess)) continue;
      if (free_.empty()) break;
      start(guess.key);
      slots_[slot_of_[index(guess.key)]].guess = guess.distance;
      ++totals_.guesses[guess.distance - 1].reads;
    }
    policy_.pin(guess.key);
    guess.held = true;
  }
  while (!favourites_.empty() && free_.size() > spare_) {
    const ExpertKey key = favourites_.back();
    favourites_.pop_back();
    if (slot_of_[index(key)] == nowhere) start(key);
  }
}

void ExpertCache::throw_read_error(const Slot& slot) {
  try {
    reader_.wait(slot.batch);
  } catch (const ReadError& error) {
    throw files_.explained(error);
  }
  throw std::logic_error("ExpertCache: a read that has not failed");
}

// ---- Guesses.

void ExpertCache::guess(std::size_t layer, std::size_t distance, std::span<const std::uint32_t> experts) {
  if (layer >= moe_layer_.size() || moe_layer_[layer] == nowhere) return;
  const std::uint32_t number = moe_layer_[layer];
  std::vector<Guess> fresh;
  for (std::size_t i = 0; i < experts.size(); ++i) {
    const ExpertKey key{number, experts[i]};
    fresh.push_back({.key = key,
                     .distance = distance,
                     .rank = i * ranks / experts.size(),
                     .outside = slot_of_[index(key)] == nowhere});
  }
  const auto place = distance == 1 ? guesses_.begin() : guesses_.end();
  guesses_.insert(place, fresh.begin(), fresh.end());
  refill();
}

// A guess that is wrong costs what the disk could have done for the next one, or for who waits.
bool ExpertCache::worth_reading(const Guess& guess) const {
  return records_[guess.distance - 1][guess.rank].rate() >= least_rate;
}

// The layer has said what it wants.
void ExpertCache::settle_guesses(std::uint32_t layer, std::span<const ExpertTokens> asked) {
  const auto wanted = [&](std::uint32_t expert) {
    const auto at = std::lower_bound(asked.begin(), asked.end(), expert,
                                     [](const ExpertTokens& a, std::uint32_t e) { return a.expert < e; });
    return at != asked.end() && at->expert == expert;
  };
  std::erase_if(guesses_, [&](const Guess& guess) {
    if (guess.key.layer != layer) return false;
    ExpertCacheTotals::Guesses& count = totals_.guesses[guess.distance - 1];
    const bool right = wanted(guess.key.expert);
    ++count.made;
    count.right += right;
    if (guess.outside) {
      Record& record = records_[guess.distance - 1][guess.rank];
      record.right = record.right * of_late + right;
      record.made = record.made * of_late + 1;
    }
    if (!guess.held) return true;
    policy_.unpin(guess.key);
    const std::uint32_t number = slot_of_[index(guess.key)];
    Slot& slot = slots_[number];
    if (right) {
      count.useful += slot.guess == guess.distance;  // visit() takes it from here
    } else if (slot.guess == guess.distance) {
      slot.guess = 0;
      if (!is_there(slot)) wrong_.push_back(guess.key);
    }
    return true;
  });
  for (const ExpertKey key : wrong_) evict(key);
  wrong_.clear();
}

// Those that have been read stay as long as nothing better comes.
void ExpertCache::forget_guesses() {
  for (const Guess& guess : guesses_)
    if (guess.held) policy_.unpin(guess.key);
  guesses_.clear();
}

void ExpertCache::begin_pass() {
  forget_guesses();
  for (Slot& slot : slots_) slot.guess = 0;
}

// ---- A layer at work.

std::unique_ptr<ExpertCache::Visit> ExpertCache::visit(std::size_t layer, std::span<const ExpertTokens> asked,
                                                       std::uint64_t tokens) {
  const std::uint32_t number = moe_layer_.at(layer);
  settle_guesses(number, asked);
  policy_.access(number, asked, tokens);
  std::unique_ptr<Visit> visit(new Visit(*this, number));
  visit_ = visit.get();
  totals_.asked += asked.size();
  std::size_t pins = 0;
  for (const ExpertTokens& expert : asked) {
    Visit::Place& place = visit->asked_.emplace_back();
    place.expert = expert.expert;
    std::uint32_t slot = slot_of_[index({number, expert.expert})];
    if (slot != nowhere && slots_[slot].batch.status() == ReadStatus::failed) {
      evict({number, expert.expert});  // what the disk refused in an earlier pass is asked for again
      slot = nowhere;
    }
    const bool guessed = slot != nowhere && slots_[slot].guess != 0;
    if (slot != nowhere && !guessed && is_there(slots_[slot])) {
      ++totals_.hits;
    } else {
      ++(guessed ? totals_.by_guess : totals_.misses);
      totals_.bytes_needed += plans_[index({number, expert.expert})].room;
    }
    if (slot == nowhere) continue;
    // Whoever is here stays, but for the spare slots, through which the others pass.
    if (++pins <= slots_.size() - spare_) visit->assign(place, slot);
  }
  visit->advance();
  return visit;
}

ExpertCache::Visit::~Visit() {
  for (const Place& place : asked_)
    if (place.state == Place::State::assigned || place.state == Place::State::arrived)
      cache_.policy_.unpin({cache_.slots_[place.slot].key});
  cache_.visit_ = nullptr;
}

void ExpertCache::Visit::assign(Place& place, std::uint32_t slot) {
  place.slot = slot;
  place.state = Place::State::assigned;
  cache_.policy_.pin({layer_, place.expert});
  cache_.slots_[slot].guess = 0;
  cache_.reader_.promote(cache_.slots_[slot].batch);
}

// Reads what is missing, in order, as far as there are slots.
void ExpertCache::Visit::advance() {
  for (; next_ < asked_.size(); ++next_) {
    Place& place = asked_[next_];
    if (place.state != Place::State::outside) continue;
    const ExpertKey key{layer_, place.expert};
    std::uint32_t slot = cache_.slot_of_[cache_.index(key)];
    if (slot == nowhere) {
      if (!cache_.take_slot(slot)) return;
      cache_.read(key, slot, Urgency::needed);
    }
    assign(place, slot);
  }
}

void ExpertCache::Visit::arrived(std::vector<std::size_t>& places, bool wait) {
  const std::size_t before = places.size();
  while (true) {
    pending_.clear();
    for (std::size_t i = released_; i < asked_.size(); ++i) {
      Place& place = asked_[i];
      if (place.state != Place::State::assigned) continue;
      const Slot& slot = cache_.slots_[place.slot];
      switch (slot.batch.status()) {
        case ReadStatus::ready:
          place.state = Place::State::arrived;
          places.push_back(i);
          break;
        case ReadStatus::pending:
          pending_.push_back(slot.batch);
          break;
        default:
          cache_.throw_read_error(slot);
      }
    }
    if (!wait || places.size() > before) return;
    if (pending_.empty()) throw std::logic_error("ExpertCache: nothing is on its way");
    const auto start = Clock::now();
    cache_.reader_.wait_any(pending_);
    cache_.totals_.stall_seconds += seconds_since(start);
  }
}

const Mlp& ExpertCache::Visit::operator[](std::size_t place) const {
  return cache_.slots_[asked_[place].slot].mlp;
}

void ExpertCache::Visit::release(std::size_t end) {
  for (; released_ < end; ++released_) {
    Place& place = asked_[released_];
    cache_.policy_.unpin({layer_, place.expert});
    place.state = Place::State::released;
  }
  cache_.refill();
}

}  // namespace baleen
