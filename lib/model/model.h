// A model: the configuration and every weight of a checkpoint, checked against the architecture's table and
// ready to be read where it lies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/config.h"
#include "checkpoint/page_cache.h"
#include "checkpoint/quantized.h"
#include "kernels/kernels.h"
#include "model/architecture.h"
#include "runtime/huge_memory.h"
#include "runtime/thread_pool.h"

namespace baleen {

// down( silu(gate x) * up x ): a dense layer's, one routed expert's or the shared experts'.
struct Mlp {
  kernels::Matrix gate_proj;  // [intermediate, hidden]
  kernels::Matrix up_proj;    // [intermediate, hidden]
  kernels::Matrix down_proj;  // [hidden, intermediate]
};

// What the model or a layer has once, by Role: a matrix, or a vector as a matrix of one row. A weight that
// this configuration or layer does not have has no values.
class Weights {
 public:
  const kernels::Matrix& operator[](Role role) const { return matrices_[static_cast<std::size_t>(role)]; }
  kernels::Matrix& operator[](Role role) { return matrices_[static_cast<std::size_t>(role)]; }
  bool has(Role role) const { return (*this)[role].values != nullptr; }
  std::span<const kernels::Matrix, role_count> all() const { return matrices_; }
  std::span<kernels::Matrix, role_count> all() { return matrices_; }

 private:
  std::array<kernels::Matrix, role_count> matrices_{};
};

struct Layer {
  Weights weights;
  std::vector<Mlp> experts;        // [n_routed_experts], empty in a dense layer
  std::size_t sliding_window = 0;  // 0: attention sees every position before
};

// Bytes and parameters of one kind of tensor in one storage format: a row of `run --inspect`.
struct Inventory {
  std::string kind;    // "routed experts", "attention", ...
  std::string format;  // "bf16", "fp8 128x128", "int4 group 32"
  std::uint64_t tensors = 0;
  std::uint64_t parameters = 0;
  std::uint64_t active_parameters = 0;  // touched for one token
  std::uint64_t bytes = 0;
  std::uint64_t active_bytes = 0;  // of them read for one token (an embedding: its row)
};

// What rounding the output head did.
struct RoundedHead {
  std::uint64_t bytes = 0;        // that it takes in memory; 0: it was stored in 8 bits or less already
  double relative_rms_error = 0;  // of its weights: sqrt(sum (w' - w)^2 / sum w^2)
};

class Model {
 public:
  // Opens a Hugging Face folder and checks every tensor that the architecture's table names. Throws Error
  // listing all that is missing or wrong.
  static Model open(const std::filesystem::path& dir);
  // The same of weights that come from elsewhere; `name` stands for the folder in messages.
  static Model make(Config, const Quantization&, Checkpoint, const std::filesystem::path& name);

  // tie_word_embeddings is false where the files hold a head.
  const Config& config() const { return config_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  const Weights& global() const { return global_; }  // embeddings, final norm, head
  const std::vector<Layer>& layers() const { return layers_; }
  // For who lets a weight be another matrix of the same shape, and keeps that.
  Weights& global() { return global_; }
  std::vector<Layer>& layers() { return layers_; }
  const std::vector<Inventory>& inventory() const { return inventory_; }
  // Rounds the output head to int8, groups of 32 columns with a bf16 scale each, in memory of its own: half
  // the bytes to read for every token. The embedding stays as it is, also where the two are one tensor.
  RoundedHead round_head(ThreadPool&, const kernels::Kernels&);
  std::uint64_t rounded_head_bytes() const { return rounded_head_bytes_; }

  // Keeps memory that weights were moved to, and how the rows of an embedding that stayed in its file are
  // read (null: like everything else). See hold_resident(). Throws std::logic_error if it holds some already.
  void hold(std::unique_ptr<HugeMemory> memory, std::unique_ptr<BoundedRows> embedding_rows);
  // Null: rows of the embedding are read where they lie, and stay in memory.
  BoundedRows* embedding_rows() const { return embedding_rows_.get(); }
  // KV cache of one token, all layers.
  std::uint64_t kv_bytes_per_token(kernels::KvFormat) const;
  // In the files but not in the table: those of layers behind the last one, which predict further tokens, and
  // others, which this configuration has no place for.
  std::size_t unused_tensors() const { return unused_tensors_; }
  std::size_t misplaced_tensors() const { return misplaced_tensors_; }

 private:
  Model(Config, Checkpoint);

  Config config_;
  Checkpoint checkpoint_;
  Weights global_{};
  std::vector<Layer> layers_;
  std::vector<Inventory> inventory_;
  std::size_t unused_tensors_ = 0;
  std::size_t misplaced_tensors_ = 0;
  std::unique_ptr<std::byte[]> rounded_head_;
  std::uint64_t rounded_head_bytes_ = 0;
  std::unique_ptr<HugeMemory> held_;
  std::unique_ptr<BoundedRows> embedding_rows_;
};

}  // namespace baleen
