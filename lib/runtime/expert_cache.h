// The experts of a model that is larger than memory: some of them in slots of memory, the others read from
// the checkpoint's files as layers ask for them, while the forward pass computes with those that are there.
//
// What stays is ExpertPolicy's to say. A few slots are always kept free: needed experts are read into them,
// and so are guesses, which therefore push out nothing that somebody counted on. What an expert's slot holds
// are the bytes of the files, so results are those of a run with everything in memory.
//
// The forward pass is the only caller; the reads go on beside it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "model/model.h"
#include "model/weight_files.h"
#include "routing/expert_policy.h"
#include "routing/expert_shares.h"
#include "runtime/direct_reader.h"
#include "runtime/huge_memory.h"

namespace baleen {

struct ExpertCacheOptions {
  DirectReaderOptions reader;
  // Layers for which the next experts are guessed; 0: none are.
  std::size_t lookahead = 2;
};

// Since the cache was made.
struct ExpertCacheTotals {
  std::uint64_t asked = 0;     // experts, by every layer of every pass
  std::uint64_t hits = 0;      // of them in memory before the layer asked, and not by a guess for this pass
  std::uint64_t by_guess = 0;  // in memory or on their way by a guess for this pass
  std::uint64_t misses = 0;    // all others

  struct Guesses {
    std::uint64_t made = 0;    // experts that a layer was expected to ask for
    std::uint64_t right = 0;   // of them it did
    std::uint64_t reads = 0;   // guesses that had to be read
    std::uint64_t useful = 0;  // of them were asked for
  };
  std::array<Guesses, 2> guesses;  // one layer ahead, and two

  std::uint64_t bytes_needed = 0;  // of experts that were no hits: what had to be read at least
  std::uint64_t bytes_read = 0;    // those of wrong guesses included
  double read_seconds = 0;         // at least one read was under way
  double stall_seconds = 0;        // the pass waited for a read and had nothing to compute
};
// What was added since `before`.
ExpertCacheTotals operator-(const ExpertCacheTotals& now, const ExpertCacheTotals& before);

class ExpertCache {
 public:
  // Slots for `slots` experts, 2 at least. The model's files lie in `dir`. Throws Error where memory or the
  // files cannot be had.
  ExpertCache(const Model&, const std::filesystem::path& dir, std::size_t slots,
              ExpertCacheOptions options = {});
  ~ExpertCache();
  ExpertCache(const ExpertCache&) = delete;
  ExpertCache& operator=(const ExpertCache&) = delete;

  // Before the first pass: what the model is known to prefer. The best of it is read beside the passes.
  void seed(const ExpertShares&);

  std::size_t slots() const { return slots_.size(); }
  std::size_t lookahead() const { return options_.lookahead; }
  ReadEngine engine() const { return reader_.engine(); }
  bool direct() const { return reader_.direct(); }
  ExpertCacheTotals totals() const;

  // A pass begins: guesses of one that was given up, and what they had read, are no longer for this pass.
  void begin_pass();

  // What one layer of a pass asked for, until it goes out of scope. Experts are named by their place in the
  // list that was asked for.
  class Visit {
   public:
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    // Appends those whose weights are there and that were not named before; with `wait`, one at least if any
    // is on its way. Throws Error naming file, tensor and offset where one could not be read.
    void arrived(std::vector<std::size_t>& places, bool wait);
    // The weights of one that has arrived, until it is released.
    const Mlp& operator[](std::size_t place) const;
    // Whether some wait for memory: they come when those before them are released.
    bool crowded() const { return next_ < asked_.size(); }
    std::size_t size() const { return asked_.size(); }
    // Those before `end`, all of which have arrived, are no longer needed.
    void release(std::size_t end);

   private:
    friend class ExpertCache;
    struct Place {
      std::uint32_t expert = 0;
      std::uint32_t slot = 0;
      enum class State : std::uint8_t { outside, assigned, arrived, released } state = State::outside;
    };
    Visit(ExpertCache& cache, std::uint32_t layer) : cache_(cache), layer_(layer) {}
    void advance();
    void assign(Place&, std::uint32_t slot);

    ExpertCache& cache_;
    std::uint32_t layer_;
    std::vector<Place> asked_;
    std::size_t next_ = 0;  // those before are assigned
    std::size_t released_ = 0;
    std::vector<ReadBatch> pending_;  // room to wait
  };

  // A layer's experts for a pass of `tokens` tokens, ascending. Reading begins at once. One visit at a time.
  std::unique_ptr<Visit> visit(std::size_t layer, std::span<const ExpertTokens> asked, std::uint64_t tokens);

  // A layer, `distance` (1 or 2) behind the one that is visited, will probably ask for these, the likeliest
  // first: they are read when nothing else is to be read.
  void guess(std::size_t layer, std::size_t distance, std::span<const std::uint32_t> experts);

 private:
  static constexpr std::uint32_t nowhere = ~std::uint32_t{0};

  struct Slot {
    ExpertKey key;
    ReadBatch batch;
    Mlp mlp;                // the matrices as they lie in the slot
    std::size_t guess = 0;  // at which distance this pass guessed it; 0: it did not
  };
  struct Guess {
    ExpertKey key;
    std::size_t distance = 0;
    std::size_t rank = 0;  // among those of its layer, from 0 to ranks - 1
    bool outside = false;  // not in memory when it was made
    bool held = false;     // in a slot, pinned
  };
  // How often guesses of some rank that would have had to be read came true, of late.
  struct Record {
    double right = 1, made = 1;
    double rate() const { return right / made; }
  };
  static constexpr std::size_t ranks = 16;

  std::size_t index(ExpertKey key) const { return std::size_t{key.layer} * experts_ + key.expert; }
  std::span<std::byte> memory(std::uint32_t slot) const;
  bool is_there(const Slot& slot) const { return slot.batch.status() == ReadStatus::ready; }
  void read(ExpertKey, std::uint32_t slot, Urgency);
  bool take_slot(std::uint32_t& slot);
  void free_dead_slots();
  void evict(ExpertKey);
  bool worth_reading(const Guess&) const;
  void settle_guesses(std::uint32_t layer, std::span<const ExpertTokens> asked);
  void forget_guesses();
  void refill();
  [[noreturn]] void throw_read_error(const Slot&);

  const Model& model_;
  ExpertCacheOptions options_;
  WeightFiles files_;
  std::unique_ptr<HugeMemory> arena_;  // outlives the reader, which writes to it until it ends
  DirectReader reader_;
  std::size_t experts_;                   // of a layer
  std::vector<std::uint32_t> moe_layer_;  // by layer of the model: its number among those with experts
  std::vector<std::size_t> model_layer_;  // the other way round
  std::vector<ReadPlan> plans_;           // by expert of all layers
  std::size_t slot_bytes_ = 0;

  ExpertPolicy policy_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> slot_of_;  // by expert of all layers; nowhere: in none
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> dead_;  // given up while the system still writes to them
  std::size_t spare_;                // slots that are kept free
  std::vector<Guess> guesses_;       // not yet settled, the likeliest of the nearest layer first
  std::array<std::array<Record, ranks>, 2> records_;  // by distance and rank
  std::vector<ExpertKey> wrong_;                      // room to settle them
  std::vector<ExpertKey> favourites_;                 // not yet read, the best last
  Visit* visit_ = nullptr;
  ExpertCacheTotals totals_;
};

}  // namespace baleen
