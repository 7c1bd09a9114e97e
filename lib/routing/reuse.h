// How often the experts that are read were read not long before: what somebody with less memory than model
// needs to know. From the experts of each token in a log's order, the share of expert reads that a cache of n
// experts would serve, for every n, and how often a layer's experts repeat from one token to the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "routing/cache_simulation.h"
#include "routing/cache_stack.h"
#include "routing/spool.h"

namespace baleen {

// The experts of one token in one layer.
struct ExpertReads {
  // The pass that the token was in. A pass reads layer by layer, ascending, and in each layer every distinct
  // expert that one of its tokens has, once, ascending. Its tokens come together: a change of number ends it.
  std::uint64_t step = 0;
  std::uint64_t request = 0;  // whose token: repetition looks at a request's tokens alone
  std::size_t layer = 0;      // index into the layers
  std::span<const std::uint32_t> experts;
  bool generated = false;  // else of a prompt
};

// Reads out of a cache of n experts, n = 0 .. experts, by what it throws out. All of them start empty, take
// in every expert that is read, and throw out one when they are full.
struct CacheCurve {
  std::uint64_t reads = 0;
  std::vector<std::uint64_t> lru;  // [experts + 1] out goes who was not read for longest
  // [experts + 1] out goes who was read least often, of equals who was not read for longest. Counts run from
  // the beginning of the log, also of experts that are not in the cache, and do not age.
  std::vector<std::uint64_t> lfu;
  std::vector<std::uint64_t> belady;  // [experts + 1] out goes who is read again last: no cache does better

  CacheCurve() = default;
  explicit CacheCurve(std::size_t experts);
  // Of a cache of n experts, in which `hits` is one of the three; 0 without reads.
  double share(const std::vector<std::uint64_t>& hits, std::size_t n) const;
  void add(const CacheCurve&);  // of as many experts
};

// How much of a token's experts its request's previous token had in the same layer.
struct Repetition {
  std::uint64_t tokens = 0;  // that had a previous token
  double share = 0;          // mean share of their experts that the previous token had
  double chance = 0;         // the same if tokens were independent, with the layer's load as it is
};

struct LayerReuse {
  CacheCurve cache;  // a cache for this layer alone
  Repetition repetition;
};

// Passes of one phase: a pass is generating if all its tokens are generated, else it reads prompts.
struct PassReads {
  std::uint64_t tokens = 0, reads = 0;
};

// Reads out of a cache of `slots` experts for all layers, kept by ExpertPolicy.
struct PolicyHits {
  std::size_t slots = 0;
  std::uint64_t prompt = 0, generated = 0;
  std::uint64_t hits() const { return prompt + generated; }
};

// What misses cost, if they are read from a disk.
struct DiskForecast {
  double hit_share = 0;          // of the reads
  double bytes_per_token = 0;    // from the disk
  double tokens_per_second = 0;  // at most: reading and computing overlap; 0: nothing is known to bound it
  double without_overlap = 0;    // tokens a second, one after the other; 0: not known
};
// `hits` of the passes' reads are served by the cache. `in_memory` is how many tokens a second there would be
// if all were; 0: not known. Without tokens all is 0.
DiskForecast disk_forecast(const PassReads&, std::uint64_t hits, std::uint64_t expert_bytes,
                           double bytes_per_second, double in_memory = 0);

struct Reuse {
  std::vector<LayerReuse> layers;
  CacheCurve each_layer;           // all layers, where each has its own cache of n experts
  CacheCurve shared;               // one cache of n experts for all layers, n = 0 .. layers * experts
  std::vector<PolicyHits> policy;  // of the sizes asked for, in that order
  PassReads prompt, generated;     // together shared.reads
  std::uint64_t spooled_bytes =
      0;  // in a temporary file while it ran, since the optimum must know the future
};

// Takes reads in and gives the figures at the end. Memory is bounded: layers * experts for each of the sizes,
// 1,024 requests, and two blocks of `block` reads of eight bytes; what is more goes to a temporary file.
class ReuseMeter {
 public:
  // policy_slots: how large the caches are that ExpertPolicy keeps. Unlike the others it must be simulated
  // one size at a time, in time O(layers * experts) a pass.
  ReuseMeter(std::size_t layers, std::size_t experts, std::span<const std::size_t> policy_slots = {},
             std::size_t block = std::size_t{1} << 21);

  // Throws Error for a layer or an expert that does not exist, and if the temporary file fails.
  void add(const ExpertReads&);
  // Once, after the last add().
  Reuse finish();

 private:
  struct LayerRepetition {
    std::vector<std::uint64_t> load;  // [experts]
    std::uint64_t tokens = 0;
    std::uint64_t with_previous = 0;
    double shares = 0;
  };
  struct Request {
    std::uint64_t last_seen = 0;
    std::vector<std::vector<std::uint32_t>> experts;  // [layers] ascending, of the last token
  };
  struct StepLayer {
    std::vector<std::uint32_t> tokens;   // [experts] of the step, that go to each
    std::vector<std::uint32_t> experts;  // with tokens
    std::uint32_t all_tokens = 0;
  };
  void repeat(const ExpertReads&);
  void end_layer(std::size_t layer);
  void end_step();
  void find_next_reads();
  void run_caches(Reuse&);

  std::size_t experts_;
  std::vector<StepLayer> step_layers_;  // [layers] of the current step
  std::uint64_t step_ = 0;
  bool step_generates_ = true;
  std::vector<CacheSimulation> caches_;
  Reuse found_;                              // policy, prompt and generated, as they grow
  std::vector<LayerRepetition> repetition_;  // [layers]
  std::unordered_map<std::uint64_t, Request> requests_;
  std::uint64_t clock_ = 0;
  Spool reads_;  // layer * experts + expert, later with the distance to its next read
};

}  // namespace baleen
