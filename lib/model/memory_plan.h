// What a model's weights take, and what a budget for them buys: sums only, nothing is read or taken.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/model.h"
#include "model/weight_files.h"
#include "report/memory.h"

namespace baleen {

// Fewer slots would leave the expert cache nothing to read ahead into.
inline constexpr std::size_t least_slots = 4;

// How a budget for weights is spent. What every token needs is resident; the rest of the budget is slots of
// one routed expert each.
struct MemoryPlan {
  std::uint64_t budget = 0;
  std::uint64_t weight_bytes = 0;    // of all weights that the model reads
  std::uint64_t resident_bytes = 0;  // of all but routed experts and, unless the head reads it too, embedding
  std::uint64_t embedding_bytes = 0;  // allowed to its rows in the page cache; 0 if it is resident
  std::uint64_t slot_bytes = 0;       // of the largest expert, read in whole blocks
  std::uint64_t least = 0;            // the least budget that works
  std::size_t slots = 0;
  std::size_t experts = 0;  // of all layers

  // Weights may stay where they are mapped: no more than the budget comes in.
  bool everything_fits() const { return weight_bytes <= budget; }
  // No expert is ever given up.
  bool every_expert_fits() const { return slots == experts; }
};

// For a model of files that does not hold weights elsewhere yet, except a rounded head, which counts. Throws
// Error naming the least that works if the budget has no room for what is resident and least_slots experts
// (all, if there are fewer), and std::invalid_argument for a checkpoint that lies in memory.
MemoryPlan plan_memory(const Model&, const WeightFiles&, std::uint64_t budget);

// Whether the embedding must be in memory as a whole: the output head reads it too, or a row of it is no
// single piece of a file.
bool embedding_is_resident(const Model&, const WeightFiles&);
// Bytes of its rows that may stay in the page cache; 0 if it is resident.
std::uint64_t embedding_allowance(const Model&, const WeightFiles&);

// Calls visit(matrix) for the weights that every token needs.
template <typename SomeModel, typename Visit>
void for_each_resident(SomeModel& model, const WeightFiles& files, const Visit& visit) {
  const bool embedding = embedding_is_resident(model, files);
  for (auto& matrix : model.global().all())
    if (embedding || &matrix != &model.global()[Role::embed_tokens]) visit(matrix);
  for (auto& layer : model.layers())
    for (auto& matrix : layer.weights.all()) visit(matrix);
}

// What weights may take of the memory that machine and cgroups have available, beside a KV cache and the
// working memory of passes that are still to be taken: `--memory auto`. 0 if nothing is left.
std::uint64_t spare_memory(const MemoryState&, std::uint64_t kv_bytes, std::uint64_t working_bytes);

// Working memory of a forward pass of that many tokens, about; `wanted` of them get logits, and none belongs
// to a prompt of more than `longest_prompt` tokens.
std::uint64_t pass_memory(const Config&, std::size_t tokens, std::size_t wanted,
                          std::size_t longest_prompt = 0);

}  // namespace baleen
