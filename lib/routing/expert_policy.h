// Which experts stay in a cache of a fixed number of slots that the experts of all layers share, one expert a
// slot. Owns the decision alone, not the experts: the same reads lead to the same decisions, without threads,
// files or clocks, so that the cache that holds experts and the simulation of route logs are the same code.
//
// An expert is worth what it is likely to save per step (a pass through all layers) that it stays:
//
//     worth = cost p / (1 + d p)
//
// cost is what a miss in its layer costs, p the share of the layer's coming tokens that will go to it, and d,
// above 0 and up to 1, the part of a step until its layer is reached: 1/p + d is about how many steps the
// slot has to wait for the read. The expert of least worth goes.
//
// p is a weighted mean of the expert's shares of the last 1, 4, 16, 64 and 256 tokens (exponential averages
// of those half-lives) and of all tokens, and of what has been usual for experts that were not read for as
// long. Text comes in bursts, which the short averages see; the long ones know what a model prefers. How much
// each says differs by model, text and by how long an expert stays once it is in, so the weights are learned
// as the reads come (temporal differences, Sutton, Machine Learning 3, 1988, with exponentiated gradients,
// Kivinen and Warmuth, Information and Computation 132, 1997): they predict not the next token alone but
// reads as far ahead as an eighth of the time that experts stay.
//
// Where routing changes little, what is learned is noise around how often an expert was read; where every
// text has experts of its own, nothing tells more than who was read last. So there are three rules, which
// differ in p alone: learned as above; frequency, the share of all tokens; recency, 1 / (1 + tokens since the
// last read). Each has a shadow, the list of who would be in the cache if that rule alone had decided, and
// the rule leads whose shadow has served most reads (Subramanian, Smaragdakis, Loh, Adaptive Caches, MICRO
// 2006). Experts that the leader's shadow does not hold go first, so that every read it serves and the cache
// does not brings the two closer: after a change of leader the cache has no more misses than the shadow, but
// for as many as the shadow's experts were not in the cache then, at most one for each slot.
//
// A step of m tokens, a prompt's, counts by its shares and as sqrt(m) tokens: the tokens of a prompt are much
// alike. It reads nearly every expert once, which alone makes none of them worth more.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace baleen {

struct ExpertKey {
  std::uint32_t layer = 0;  // index into the layers that have experts
  std::uint32_t expert = 0;
  bool operator==(const ExpertKey&) const = default;
};

// An expert that a pass reads in a layer, and how many of its tokens go there.
struct ExpertTokens {
  std::uint32_t expert = 0;
  std::uint32_t tokens = 0;
};

class ExpertPolicy {
 public:
  // miss_cost: [layers] what a read costs that the cache does not serve, above 0, in any unit; empty: the
  // same in all layers. Throws Error if there are no layers, experts or slots, or more experts in all than
  // 2^32 - 1.
  ExpertPolicy(std::size_t layers, std::size_t experts, std::size_t slots,
               std::span<const double> miss_cost = {});

  // What is known before the first token: the share of a layer's tokens that go to each expert, [experts],
  // each 0 .. 1, out of so many tokens. Tokens of the run weigh the more, the fewer those were. Throws Error.
  void seed(std::size_t layer, std::span<const double> shares, std::uint64_t tokens);

  // A pass of `tokens` tokens is about to read these experts of a layer, in any order, each once. Once for
  // each layer of a pass, ascending; a layer not above the last one begins the next pass. Time O(experts),
  // and O(experts + layers) for each miss of a shadow. Throws Error for a layer or an
  // expert that does not exist, an expert without tokens or with more of them than the pass has; nothing has
  // changed then.
  void access(std::size_t layer, std::span<const ExpertTokens> reads, std::uint64_t tokens);

  // Of the experts in the cache that are not pinned and, as long as there are such, not in the leader's
  // shadow, the one of least worth; none: all are pinned. It stays in the cache until erase(). Time
  // O(layers), and O(experts) for each layer that changed since.
  std::optional<ExpertKey> victim();

  // The cache takes an expert in (at any time, also before it is asked for), or gives it up. Throws Error for
  // one that does not exist, is in the cache already or the cache is full; or is not in it, or is pinned.
  void insert(ExpertKey);
  void erase(ExpertKey);

  // An expert in the cache that is in use, or asked for and not yet used, is no victim as long as it has
  // pins. Pins are counted. Throws Error for one that is not in the cache; unpin also for one without pins.
  void pin(ExpertKey);
  void unpin(ExpertKey);

  bool holds(ExpertKey) const;  // throws Error for one that does not exist
  std::size_t size() const { return size_; }
  std::size_t slots() const { return slots_; }
  bool full() const { return size_ == slots_; }

  // By what victim() goes, as of now. Throws Error for one that does not exist.
  double worth(ExpertKey) const;
  // What to begin with: the experts that reads or seeds speak for, the most valuable first, as many as there
  // are slots.
  std::vector<ExpertKey> favourites() const;

 private:
  // Half-lives in tokens; the last average, of all tokens, has none.
  static constexpr std::array<double, 5> half_lives{1, 4, 16, 64, 256};
  static constexpr std::size_t averages = half_lives.size() + 1;
  static constexpr std::size_t predictors = averages + 1;  // the last: what is usual so long after a read
  // Tokens since an expert's last read: 0 to 7 each, then four parts of each power of two; the last two are
  // 2^16 and more, and never read.
  static constexpr std::size_t gaps = 4 * 15 + 2;

  struct Entry {
    bool held = false;
    std::uint32_t pins = 0;
  };
  struct Layer {
    std::vector<float> average;          // [averages][experts] not yet divided by mass
    std::vector<std::uint64_t> read_at;  // [experts] the clock at the last read, 0: never
    std::uint64_t clock = 0;             // tokens
    std::array<double, averages> mass;   // what an expert's average would be that every token went to
    double cost = 1;
    std::optional<std::uint32_t> least;  // who has least p of those that may go
    bool stray = false;                  // `least` is not in the leader's shadow
    bool changed = false;                // `least` is to be found again
  };
  enum Rule : std::size_t { learned, frequency, recency };
  static constexpr std::size_t rules = 3;
  struct Shadow {
    std::vector<float> p;                             // [layers][experts] by this rule
    std::vector<std::uint8_t> holds;                  // [layers][experts]
    std::vector<std::optional<std::uint32_t>> least;  // [layers] of those held, who has least p
    std::size_t size = 0;
    double saved = 0;  // the misses' costs by its hits
  };

  void check(ExpertKey) const;
  Entry& entry(ExpertKey);
  const Entry& entry(ExpertKey) const;
  double foresight() const;
  void take_in(Layer&, double tokens);
  void learn(Layer&);
  std::size_t gap(const Layer&, std::size_t expert) const;
  void estimate(const Layer&, std::span<float> p) const;
  void rank(std::size_t layer);
  double distance(std::size_t layer) const;
  double worth(Rule, ExpertKey) const;
  template <class MayGo>
  std::optional<std::uint32_t> least(const float* p, MayGo may_go) const;
  void find_least(Shadow&, std::size_t layer) const;
  void begin();
  void take_in(Rule, std::size_t layer, std::span<const ExpertTokens> reads);
  bool give_up_least(Shadow&, Rule);
  void choose_leader();
  void find_least(std::size_t layer);

  std::size_t experts_, slots_;
  std::size_t size_ = 0;
  std::vector<Layer> layers_;
  std::vector<Entry> entries_;  // [layers][experts]
  std::array<Shadow, rules> shadows_;
  Rule leader_ = learned;
  double mean_cost_ = 1;
  bool begun_ = false;  // with the first read
  struct Mean {
    double sum = 0, mass = 0;
    float value() const { return mass > 0 ? static_cast<float>(sum / mass) : 0; }
  };
  std::array<Mean, gaps> usual_{};         // what came of experts of any layer so long after a read
  std::array<float, predictors> weights_;  // in p, sum 1
  std::size_t position_;                   // the layer that was read last
  double steps_ = 0, inserts_ = 0;         // of late: an expert stays for slots * steps / inserts steps
  // Of the layer at hand.
  std::vector<float> shares_, predicted_, expected_, error_;  // [experts]
  std::vector<float> before_;                                 // [predictors][experts]
  std::vector<std::size_t> gap_before_;                       // [experts]
};

}  // namespace baleen
