// What the parts of one forward pass share: the tokens, the kernels, the threads and room to work in.
// Private to lib/model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/forward.h"
#include "model/model.h"
#include "runtime/thread_pool.h"

namespace baleen {

class ExpertCache;

// Uninitialized memory for std::free, at a cache line; throws std::bad_alloc. Large memory lies in huge pages
// where the system has them.
void* allocate_scratch(std::size_t bytes);

// Floats that a buffer of attention may have where it works through tokens, segments or heads in pieces.
inline constexpr std::size_t attention_buffer_floats = std::size_t{8} << 20;

// Memory that grows to what is asked for and is then reused: a pass allocates only when it is larger than
// all before. Content is undefined after get().
template <typename T>
class Buffer {
 public:
  T* get(std::size_t count) {
    if (count > capacity_) {
      data_.reset();
      capacity_ = 0;
      data_.reset(static_cast<T*>(allocate_scratch(count * sizeof(T))));
      capacity_ = count;
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t capacity_ = 0;
};

// Named for what they hold; T is the number of tokens.
struct Workspace {
  Buffer<float> residual;       // [T, hidden_size]
  Buffer<float> normed;         // [T, hidden_size]
  Buffer<float> cos, sin;       // [T, rope width / 2]
  Buffer<float> q_a, q;         // [T, q_lora_rank], [T, heads * qk_head_dim]
  Buffer<float> kv_a;           // [T, kv_lora_rank + qk_rope_head_dim]
  Buffer<float> k, v;           // [T, num_key_value_heads * head_dim]
  Buffer<float> attended;       // [T, heads * v_head_dim]
  Buffer<float> latents;        // [positions, kv_lora_rank + qk_rope_head_dim] of one sequence
  Buffer<float> expanded;       // [heads, positions, qk_head_dim + v_head_dim] of some of its heads
  Buffer<float> queries;        // of a block of tokens, arranged by key head
  Buffer<float> context;        // of a block of tokens: attention's result, arranged likewise
  Buffer<float> partial;        // [segments, queries, v_dim]
  Buffer<kernels::SoftmaxState> state, partial_state;
  Buffer<std::uint32_t> first, last;
  Buffer<float> router_logits;  // [T, n_routed_experts]
  Buffer<Choice> choices;       // [T, num_experts_per_tok]
  Buffer<std::byte> packed;     // what the products that run now read
  Buffer<std::byte> inner;      // the experts' inner activations, packed, by expert and token
  Buffer<float> sums;           // [T, hidden_size] of the experts' outputs
  Buffer<float> glance;         // [tokens looked at, hidden_size]: what a later layer's router may see
  Buffer<float> wanted;         // [tokens that want logits, hidden_size]
  Buffer<float> logits;
  std::vector<Buffer<float>> thread_scratch;
  std::vector<Buffer<std::byte>> thread_packed;
};

struct Pass {
  const Model& model;
  const Config& config;
  const kernels::Kernels& kernels;
  ThreadPool& pool;
  Workspace& workspace;
  std::span<const TokenInput> tokens;
  std::size_t prefill;  // tokens[0, prefill) take the batch path, the others the stream path
  const Observer* observer;
  std::size_t rope_pairs;      // rotated pairs of a head
  const float* cos;            // [T, rope_pairs]
  const float* sin;            // [T, rope_pairs]
  ExpertCache* experts = nullptr;              // where routed experts come from; null: they are in memory
  const std::atomic<bool>* cancel = nullptr;

  std::size_t count() const { return tokens.size(); }
};

// A vector of the checkpoint as floats; empty if the model does not have it.
std::vector<float> widen_vector(const kernels::Kernels&, const kernels::Matrix* vector);

// residual [T, hidden_size] = the tokens' rows of the embedding.
void embed(const Pass&, float* residual);

// cos, sin [T, frequencies]: the tokens' rotations, the same in every layer.
void rotations(const Pass&, std::span<const float> frequencies, float* cos, float* sin);
// The frequencies that the model rotates by.
std::vector<float> rope_frequencies(const Config&);

// normed [T, width] = rms_norm(x [T, width]).
void rms_norm(const Pass&, const kernels::Matrix& gain, double eps, const float* x, float* normed);

// residual [T, hidden_size] += attention of normed [T, hidden_size]; writes the tokens' keys and values.
void attention(const Pass&, const Layer&, std::size_t layer_index, const float* normed, float* residual);

// The experts of normed [T, hidden_size]: [T, num_experts_per_tok], valid until the next call.
const Choice* choose(const Pass&, const Layer&, std::size_t layer_index, const float* normed);

// Tells the expert cache what the next layers will probably ask for: their routers applied to the residual
// stream as it is, ahead of this layer's experts.
void look_ahead(const Pass&, std::size_t layer_index, const float* residual);

// residual [T, hidden_size] += MLP or mixture of experts of normed [T, hidden_size].
void feed_forward(const Pass&, const Layer&, std::size_t layer_index, const float* normed, float* residual);

}  // namespace baleen
