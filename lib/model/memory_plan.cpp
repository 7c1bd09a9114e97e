#include "model/memory_plan.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "error.h"
#include "model/expansion.h"
#include "model/pass.h"
#include "report/units.h"
#include "runtime/read_plan.h"

namespace baleen {
namespace {

using kernels::Matrix;

constexpr std::size_t block = 4096;
// Rows of a few hundred tokens of the widest models, with the pages around each.
constexpr std::uint64_t most_embedding_bytes = std::uint64_t{16} << 20;
constexpr std::uint64_t least_margin = std::uint64_t{256} << 20;
constexpr std::uint64_t margin_share = 16;

std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) {
  return a + std::min(b, std::numeric_limits<std::uint64_t>::max() - a);
}

// Ranges of files, each once, read in whole blocks.
class Room {
 public:
  explicit Room(const WeightFiles& files) : files_(files) {}
  void add(const Matrix& matrix) { files_.add_ranges(matrix, ranges_); }
  void add(const Mlp& expert) { files_.add_ranges(expert, ranges_); }
  std::uint64_t bytes() const { return plan_reads(ranges_, block).room; }

 private:
  const WeightFiles& files_;
  std::vector<FileRange> ranges_;
};

// "norms, output head and attention": the parts that are resident, as the inventory names them.
std::string resident_parts(const Model& model, bool embedding) {
  std::vector<std::string> parts;
  for (const Inventory& row : model.inventory()) {
    if (row.kind == "routed experts" || (row.kind == "embedding" && !embedding)) continue;
    if (std::find(parts.begin(), parts.end(), row.kind) == parts.end()) parts.push_back(row.kind);
  }
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i)
    text += (i == 0 ? "" : i + 1 < parts.size() ? ", " : " and ") + parts[i];
  return text;
}

[[noreturn]] void throw_too_little(const Model& model, const MemoryPlan& plan) {
  const std::size_t experts = std::min(least_slots, plan.experts);
  const bool alike = format_bytes(plan.budget) == format_bytes(plan.least);  // but for some bytes
  std::string text = "--memory " + (alike ? std::to_string(plan.budget) + " B" : format_bytes(plan.budget)) +
                     ": " + resident_parts(model, plan.embedding_bytes == 0) + " take " +
                     format_bytes(plan.resident_bytes);
  if (plan.embedding_bytes > 0) text += ", rows of the embedding " + format_bytes(plan.embedding_bytes);
  if (experts > 0)
    text += ", " + std::to_string(experts) + (experts == 1 ? " expert " : " experts ") +
            format_bytes(experts * plan.slot_bytes);
  throw Error(text + "; " + (alike ? std::to_string(plan.least) : format_bytes_option(plan.least)) +
              " is the least that works");
}

// Of a prompt that attends expanded: the latents, the same packed, and one head's keys and values; more heads
// where they fit the room of a block (attention.cpp).
std::uint64_t expansion_memory(const Config& c, std::size_t prompt) {
  if (Expansion().of(c, 0, prompt).end == 0) return 0;
  constexpr std::uint64_t room = attention_buffer_floats * sizeof(float);
  const std::uint64_t head = saturating_product(prompt, (c.qk_head_dim() + c.v_head_dim) * sizeof(float));
  const std::uint64_t latents =
      saturating_product(prompt, (2 * c.kv_lora_rank + c.qk_rope_head_dim) * sizeof(float));
  return saturating_sum(latents, std::max(room, head));
}

}  // namespace

bool embedding_is_resident(const Model& model, const WeightFiles& files) {
  const Matrix& embedding = model.global()[Role::embed_tokens];
  if (embedding.values == model.global()[Role::lm_head].values) return true;
  std::vector<FileRange> ranges;
  files.add_ranges(embedding, ranges);
  return ranges.size() != 1 || embedding.scales != nullptr;
}

std::uint64_t embedding_allowance(const Model& model, const WeightFiles& files) {
  if (embedding_is_resident(model, files)) return 0;
  Room room(files);
  room.add(model.global()[Role::embed_tokens]);
  return std::min(most_embedding_bytes, room.bytes());
}

MemoryPlan plan_memory(const Model& model, const WeightFiles& files, std::uint64_t budget) {
  if (files.paths().empty()) throw std::invalid_argument("plan_memory: weights that lie in no file");
  MemoryPlan plan;
  plan.budget = budget;
  Room all(files);
  Room resident(files);
  for_each_resident(model, files, [&](const Matrix& matrix) { resident.add(matrix); });
  for (const Matrix& matrix : model.global().all()) all.add(matrix);
  for (const Layer& layer : model.layers()) {
    for (const Matrix& matrix : layer.weights.all()) all.add(matrix);
    for (const Mlp& expert : layer.experts) {
      all.add(expert);
      Room one(files);
      one.add(expert);
      plan.slot_bytes = std::max(plan.slot_bytes, one.bytes());
    }
    plan.experts += layer.experts.size();
  }
  plan.weight_bytes = all.bytes() + model.rounded_head_bytes();
  plan.resident_bytes = resident.bytes() + model.rounded_head_bytes();
  plan.embedding_bytes = embedding_allowance(model, files);
  const std::uint64_t fixed = plan.resident_bytes + plan.embedding_bytes;
  plan.least = fixed + std::min(least_slots, plan.experts) * plan.slot_bytes;
  if (budget < plan.least) throw_too_little(model, plan);
  if (plan.experts > 0)
    plan.slots =
        static_cast<std::size_t>(std::min<std::uint64_t>(plan.experts, (budget - fixed) / plan.slot_bytes));
  return plan;
}

// The margin is for what nobody counts: code and tables of the process, the tokenizer, page tables, what
// other processes take until the model is loaded. A budget that is a little smaller costs a few experts'
// hits, one that is too large the process.
std::uint64_t spare_memory(const MemoryState& state, std::uint64_t kv_bytes, std::uint64_t working_bytes) {
  const std::uint64_t margin = std::max(least_margin, state.available / margin_share);
  const std::uint64_t taken = saturating_sum(margin, saturating_sum(kv_bytes, working_bytes));
  return state.available - std::min(state.available, taken);
}

// The large buffers of a pass; those of attention's blocks have bounds of their own (attention.cpp), and so
// have logits (forward.cpp).
std::uint64_t pass_memory(const Config& c, std::size_t tokens, std::size_t wanted,
                          std::size_t longest_prompt) {
  constexpr std::uint64_t attention_blocks = 4 * attention_buffer_floats * sizeof(float);
  constexpr std::uint64_t most_logits = std::uint64_t{16} << 20;
  const std::size_t heads = c.num_attention_heads;
  const bool mla = c.attention == AttentionKind::mla;
  const std::size_t attention_width =
      mla ? c.q_lora_rank + heads * (c.qk_head_dim() + c.v_head_dim) + c.kv_lora_rank + c.qk_rope_head_dim
          : (2 * heads + 2 * c.num_key_value_heads) * c.head_dim;
  const std::size_t inner_width = std::max<std::size_t>(
      c.intermediate_size, (c.num_experts_per_tok + c.n_shared_experts) * c.moe_intermediate_size);
  // Normed and packed rows beside, and the sums of the down projections.
  const std::uint64_t floats = 5 * c.hidden_size + attention_width + inner_width + c.n_routed_experts +
                               c.num_experts_per_tok * c.hidden_size;
  const std::uint64_t logits = std::max(std::min(most_logits, saturating_product(wanted, c.vocab_size)),
                                        std::uint64_t{wanted > 0} * c.vocab_size);
  const std::uint64_t others = attention_blocks + logits * sizeof(float);
  return saturating_sum(saturating_product(tokens, floats * sizeof(float)),
                        saturating_sum(others, expansion_memory(c, longest_prompt)));
}

}  // namespace baleen
