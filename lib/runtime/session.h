// One sequence of tokens and a model: feeds tokens through the forward pass in chunks and hands out logits.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "kernels/kernels.h"
#include "model/expansion.h"
#include "model/forward.h"
#include "model/model.h"
#include "runtime/kv_cache.h"
#include "runtime/thread_pool.h"
#include "tokenizer/token_id.h"

namespace baleen {

struct SessionOptions {
  std::size_t context = 0;  // tokens at most; 0: the model's max_position_embeddings
  kernels::KvFormat kv_format = kernels::KvFormat::bf16;
  std::size_t chunk = 2048;  // prompt tokens in one forward pass, at most
  Expansion expansion = {};
  const kernels::Kernels* kernels = nullptr;
  const std::atomic<bool>* cancel = nullptr;  // looked at between layers; when set, feed throws Cancelled
  ExpertCache* experts = nullptr;  // where routed experts come from; null: they are in memory
};

class Session {
 public:
  Session(const Model&, ThreadPool&, const SessionOptions&);

  enum class Want { none, last, all };  // tokens whose logits are asked for
  // logits [vocab_size] of token ids[index]; valid during the call.
  using OnLogits = std::function<void(std::size_t index, std::span<const float> logits)>;

  // Appends ids to the sequence; those for Path::batch are a prompt of their own. Logits of the wanted tokens
  // come in ascending order. Throws Error if an id is outside the vocabulary or the context would overflow
  // (nothing is fed then), Cancelled if asked to.
  void feed(std::span<const TokenId> ids, kernels::Path path, Want want, const OnLogits& on_logits,
            const Observer* observer = nullptr);

  std::size_t position() const;  // tokens fed so far
  std::size_t context() const { return context_; }

 private:
  void check(std::span<const TokenId> ids) const;

  const Model& model_;
  Forward forward_;
  std::size_t context_;
  KvCache cache_;
  std::size_t chunk_;
  Expansion expansion_;
};

}  // namespace baleen
