// What the parts of one forward pass share: the tokens, the kernels, the threads and room to work in.
// Private to lib/model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/forward.h"
#include "model/model.h"
#include "runtime/thread_pool.h"

namespace baleen {

// Memory that grows to what is asked for and is then reused: a pass allocates only when it is larger than
// all before. Content is undefined after get().
template <typename T>
class Buffer {
 public:
  T* get(std::size_t count) {
    if (count > capacity_) {
      data_.reset();
      data_ = std::make_unique_for_overwrite<T[]>(count);
      capacity_ = count;
    }
    return data_.get();
  }

 private:
  std::unique_ptr<T[]> data_;
  std::size_t capacity_ = 0;
};

// Named for what they hold; T is the number of tokens.
struct Workspace {
  Buffer<float> residual;       // [T, hidden_size]
  Buffer<float> normed;         // [T, hidden_size]
  Buffer<float> block_out;      // [T, hidden_size] what attention or MLP adds to the residual
  Buffer<float> cos, sin;       // [T, rope width / 2]
  Buffer<float> q_a, q;         // [T, q_lora_rank], [T, heads * qk_head_dim]
  Buffer<float> kv_a;           // [T, kv_lora_rank + qk_rope_head_dim]
  Buffer<float> k, v;           // [T, num_key_value_heads * head_dim]
  Buffer<float> attended;       // [T, heads * v_head_dim]
  Buffer<float> queries;        // of a block of tokens, arranged by key head
  Buffer<float> context;        // of a block of tokens: attention's result, arranged likewise
  Buffer<float> partial;        // [segments, queries, v_dim]
  Buffer<kernels::SoftmaxState> state, partial_state;
  Buffer<std::uint32_t> first, last;
  Buffer<float> router_logits;  // [T, n_routed_experts]
  Buffer<Choice> choices;       // [T, num_experts_per_tok]
  Buffer<float> inner;          // expert activations, by expert and token
  Buffer<float> wanted;         // [tokens that want logits, hidden_size]
  Buffer<float> logits;
  std::vector<Buffer<float>> thread_scratch;
};

struct Pass {
  const Model& model;
  const Config& config;
  const kernels::Kernels& kernels;
  ThreadPool& pool;
  Workspace& workspace;
  std::span<const TokenInput> tokens;
  std::size_t prefill;  // tokens[0, prefill) are prompt, the others generated
  const Observer* observer;
  std::size_t rope_pairs;      // rotated pairs of a head
  const float* cos;            // [T, rope_pairs]
  const float* sin;            // [T, rope_pairs]

  std::size_t count() const { return tokens.size(); }
};

// Rows of activations: row r begins at data + r * stride. With `rows`, token t reads row rows[t].
struct Rows {
  const float* data = nullptr;
  std::size_t stride = 0;
  const std::uint32_t* rows = nullptr;
};

// out[t, r - row_begin] = x[t] . W[r] for `count` tokens of which the first `prefill` are prompt tokens.
// One thread's work.
void multiply_rows(const Pass&, const kernels::Matrix&, std::size_t row_begin, std::size_t row_end, Rows x,
                   std::size_t prefill, std::size_t count, float* out, std::size_t out_stride, float* scratch);

// One matrix product over all tokens of the pass: out [T, matrix.rows] = x [T, matrix.cols] W^T + bias.
struct Product {
  const kernels::Matrix* matrix = nullptr;
  const float* x = nullptr;
  float* out = nullptr;
  const kernels::Matrix* bias = nullptr;  // without values: none
};
// All products, their rows spread over the threads.
void multiply(const Pass&, std::span<const Product> products);

// Rows of a matrix that make a task for one thread: enough to stream, few enough to share.
std::size_t rows_per_task(const kernels::Matrix&, std::size_t tokens);

// normed [T, width] = rms_norm(x [T, width]).
void rms_norm(const Pass&, const kernels::Matrix& gain, double eps, const float* x, float* normed);

// block_out [T, hidden_size] = attention of normed [T, hidden_size]; writes the tokens' keys and values.
void attention(const Pass&, const Layer&, std::size_t layer_index, const float* normed, float* block_out);

// block_out [T, hidden_size] = MLP or mixture of experts of normed [T, hidden_size].
void feed_forward(const Pass&, const Layer&, std::size_t layer_index, const float* normed, float* block_out);

}  // namespace baleen
