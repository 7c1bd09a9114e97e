// What becomes of every tensor of a checkpoint, and where each byte of the result will lie: settled before
// the first weight is read, so that tensors can be written in any order, by any number of threads, and after
// any interruption, and the files are the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quant/source.h"
#include "quant/target.h"

namespace baleen {

// Why a module is not quantized.
enum class Kept : std::uint8_t {
  no,
  by_nature,   // routers, norms, embeddings, the output head
  by_request,  // --keep, --only, --bits
  by_group,    // the group does not divide its rows
};

// How a module is to be stored.
struct Decision {
  std::optional<Target> target;  // none: plainly
  Kept kept = Kept::no;
};

struct PlannedTensor {
  std::string name;
  DType dtype = DType::bf16;
  Shape shape;
  std::uint64_t bytes = 0;
  std::size_t shard = 0;
  std::uint64_t offset = 0;  // in the shard's file
};

enum class Work : std::uint8_t {
  copy,    // the bytes as they are
  widen,   // quantized before: to plain numbers
  encode,  // to the target
};

struct PlannedModule {
  Decision decision;
  Work work = Work::copy;
  std::size_t first_tensor = 0;  // of the plan's
  std::size_t tensor_count = 0;
};

struct PlannedShard {
  std::string name;    // "model-00001-of-00003.safetensors"
  std::string header;  // what the file begins with: size and JSON
  std::uint64_t bytes = 0;
};

struct Plan {
  std::vector<PlannedModule> modules;  // as the source's
  std::vector<PlannedTensor> tensors;  // those of a module stand together
  std::vector<PlannedShard> shards;
  std::uint64_t tensor_bytes = 0;
  std::uint64_t file_bytes = 0;

  std::span<const PlannedTensor> tensors_of(std::size_t module) const {
    return {tensors.data() + modules[module].first_tensor, modules[module].tensor_count};
  }
};

// How a module is stored already, if that is one of the targets.
std::optional<Target> stored_target(const SourceModule&);

// Lays out the result. `decisions` are as the source's modules; where one asks for what a module is already,
// its bytes are copied. Shards hold whole modules and are no larger than `shard_size`, unless one module is.
Plan make_plan(const Source&, std::span<const Decision> decisions, std::uint64_t shard_size);

// The bytes of model.safetensors.index.json; empty for a single shard, which needs none.
std::string index_json(const Plan&);

}  // namespace baleen
