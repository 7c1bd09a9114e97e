// Continuous batching: many generations share passes over the weights. Sequences join and leave between
// passes; a pass holds chunks of the newcomers' prompts and the next token of everyone else.
//
// What a generation gives does not depend on its company (kernels/kernels.h tells how a token's row is kept
// independent), nor on whether its prompt was computed or copied: only rows that prompt tokens left in a KV
// cache are shared, and only where both prompts attend in the same form (model/expansion.h), never those of
// generated tokens, which other kernels have rounded otherwise.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "clock.h"
#include "kernels/kernels.h"
#include "model/expansion.h"
#include "model/forward.h"
#include "model/model.h"
#include "runtime/generate.h"
#include "runtime/kv_cache.h"
#include "runtime/thread_pool.h"

namespace baleen {

struct SchedulerOptions {
  std::size_t parallel = 1;  // sequences in a pass, at most
  kernels::KvFormat kv_format = kernels::KvFormat::f32;
  const kernels::Kernels* kernels = nullptr;
  kernels::Path generated_path = kernels::Path::stream;  // of generated tokens
  const std::atomic<bool>* cancel = nullptr;  // looked at between layers; ends every generation when set
  ExpertCache* experts = nullptr;             // where routed experts come from; null: they are in memory
  // KV caches together, at most; a sequence alone may have more.
  std::uint64_t kv_bytes = std::numeric_limits<std::uint64_t>::max();
  std::size_t chunk = 2048;       // prompt tokens in a pass, at most
  std::size_t mixed_chunk = 512;  // the same while others generate: they wait for it
  std::size_t kept = 2;           // caches of finished sequences, for prompts that begin as theirs did
  Expansion expansion = {};       // of prompts
};

struct GenerateTimes {
  double prefill_seconds = 0;
  double decode_seconds = 0;
  std::size_t prefilled_tokens = 0;  // that went through the model in prefill_seconds
  std::size_t shared_tokens = 0;     // of the prompt that did not have to: their rows were copied
  std::size_t decoded_tokens = 0;    // that went through the model in decode_seconds

  std::size_t tokens() const { return prefilled_tokens + decoded_tokens; }
  double seconds() const { return prefill_seconds + decode_seconds; }
  GenerateTimes& operator+=(const GenerateTimes&);
};

// A generation that has come to its end, or could not: then `error` is what was thrown.
struct Finished {
  Generation* generation = nullptr;
  std::uint64_t request = 0;  // as it was added
  GenerateTimes times;
  std::exception_ptr error;
};

class Scheduler {
 public:
  Scheduler(const Model&, ThreadPool&, const SchedulerOptions&);

  // Puts a generation at the end of the queue; it must live until step() returns it or throws. `request` is
  // its number for observers.
  void add(Generation& generation, std::uint64_t request = 0);
  // Nobody waits in the queue, and there is room for one more sequence.
  bool wants_more() const { return queue_.empty() && running_.size() < options_.parallel; }
  bool idle() const { return queue_.empty() && running_.empty(); }

  // Lets waiting generations join, makes one pass and returns those that ended with it. If the cancel flag
  // was set, all end. Throws what is no generation's own fault, and has then forgotten all of them.
  std::vector<Finished> step(const Observer* observer = nullptr);

  // Tokens of the prompt that are in the KV cache by now.
  std::size_t prefilled(const Generation& generation) const;

  // An empty cache with room for all that the generation may come to.
  KvCache new_cache(const Generation& generation) const;
  // Takes rows that were computed elsewhere, for prompts that begin with `ids`: as many as cache.length(),
  // all by Path::batch and as those of a prompt of `prompt_tokens`, of a cache of the model's layout.
  void keep(std::vector<TokenId> ids, std::size_t prompt_tokens, KvCache cache);
  // A cache that begins with the rows of the generation's whole prompt, running or just finished; nullptr if
  // there is none. Valid until the next step().
  const KvCache* prompt_rows(const Generation& generation) const;

 private:
  struct Sequence {
    Generation* generation;
    std::uint64_t request;
    Clock::time_point since;            // it joined, or its prompt was through
    std::optional<KvCache> cache = {};  // none until it starts
    bool prompt_done = false;
    GenerateTimes times = {};
    std::exception_ptr error = {};

    const std::vector<TokenId>& prompt() const { return generation->prompt(); }
    std::size_t length() const { return cache ? cache->length() : 0; }
    bool in_prompt() const { return length() < prompt().size(); }
  };
  // A finished sequence: its prompt as far as it is in the cache.
  struct Kept {
    std::vector<TokenId> ids;
    std::size_t prompt_tokens;  // of the whole prompt
    KvCache cache;
  };
  static Beginning wanted(const Generation&);
  std::size_t common_rows(const Beginning&, const Beginning&) const;
  std::size_t next_end(const Sequence&, const Positions& expanded, std::size_t room) const;
  std::size_t cache_tokens(const Generation&) const;
  std::uint64_t cache_bytes() const;
  void admit();
  void try_to_start(Sequence&);
  void start(Sequence&);
  bool better_to_wait(const Sequence&) const;
  void add_prompt_tokens();
  void add_generated_tokens();
  void take_logits(std::size_t row, std::span<const float> logits);
  void after_pass();
  void cancel_all();
  std::vector<Finished> take_finished();
  void keep(Sequence&);

  const Model& model_;
  ThreadPool& pool_;
  SchedulerOptions options_;
  KvLayout layout_;
  Forward forward_;
  std::deque<std::pair<Generation*, std::uint64_t>> queue_;
  std::deque<Sequence> running_;    // in the order in which they joined
  std::vector<Kept> kept_;          // the one used last is at the end
  std::vector<TokenInput> tokens_;  // of the pass
  std::vector<Sequence*> rows_;     // whose they are
};

// Runs one request alone until it is finished. `on_progress` is called after each pass with the tokens of the
// prompt that are in the cache. Throws what went wrong with it.
GenerateTimes generate(Scheduler& scheduler, Generation& generation,
                       const std::function<void(std::size_t tokens_done)>& on_progress = {},
                       const Observer* observer = nullptr);

}  // namespace baleen
