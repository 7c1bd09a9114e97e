#include "cmd/inspect.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "cmd/weight_memory.h"
#include "report/memory.h"
#include "report/table.h"
#include "report/units.h"
#include "runtime/kv_formats.h"

namespace baleen::cmd {
namespace {

using Json = nlohmann::ordered_json;
using kernels::KvFormat;

struct Totals {
  std::uint64_t tensors = 0;
  std::uint64_t parameters = 0;
  std::uint64_t active_parameters = 0;
  std::uint64_t bytes = 0;
  std::uint64_t active_bytes = 0;
};

Totals sum(const std::vector<Inventory>& inventory) {
  Totals totals;
  for (const Inventory& row : inventory) {
    totals.tensors += row.tensors;
    totals.parameters += row.parameters;
    totals.active_parameters += row.active_parameters;
    totals.bytes += row.bytes;
    totals.active_bytes += row.active_bytes;
  }
  return totals;
}

std::size_t moe_layers(const Model& model) {
  std::size_t count = 0;
  for (const Layer& layer : model.layers()) count += layer.experts.empty() ? 0 : 1;
  return count;
}

std::string plural(std::uint64_t count, const std::string& word) {
  return std::to_string(count) + " " + word + (count == 1 ? "" : "s");
}

std::string describe_layers(const Model& model) {
  const std::size_t layers = model.config().num_hidden_layers;
  const std::size_t moe = moe_layers(model);
  return plural(layers, "layer") + ": " + std::to_string(layers - moe) + " dense, " + std::to_string(moe) +
         " mixture of experts";
}

std::string describe_experts(const Config& config) {
  std::string text = std::to_string(config.n_routed_experts) + " routed, " +
                     std::to_string(config.num_experts_per_tok) + " for each token";
  if (config.n_shared_experts > 0) text += "; " + std::to_string(config.n_shared_experts) + " shared";
  return text;
}

std::string describe_attention(const Config& c) {
  const std::string heads = plural(c.num_attention_heads, "head");
  if (c.attention == AttentionKind::mla) {
    return "MLA, " + heads + ", kv_lora_rank " + std::to_string(c.kv_lora_rank) + ", qk_rope_head_dim " +
           std::to_string(c.qk_rope_head_dim);
  }
  return "grouped queries, " + heads + ", " + plural(c.num_key_value_heads, "key head") + ", head_dim " +
         std::to_string(c.head_dim);
}

struct Need {
  std::uint64_t weights;
  std::uint64_t kv_cache;
  std::uint64_t total() const { return weights + kv_cache; }
};

std::string describe_memory(const Need& need, const std::optional<MemoryState>& state) {
  if (!state) return "this system does not say what it has";
  const std::string has =
      "this machine has " + format_bytes(state->available) + " available of " + format_bytes(state->total);
  return has +
         (state->available >= need.total() ? ": enough" : ": not enough, weights would be read from disk");
}

std::string describe_budget(const MemoryPlan& plan) {
  std::string text = format_bytes(plan.budget) + ": " + describe_plan(plan);
  if (!plan.everything_fits() && plan.experts > 0)
    text += " (" +
            format_fixed(100.0 * static_cast<double>(plan.slots) / static_cast<double>(plan.experts), 1) +
            " %)";
  return text + "; the least that works is " + format_bytes_option(plan.least);
}

std::string inventory_table(const Model& model, const Totals& totals) {
  using enum Table::Align;
  Table table({{"weights"},
               {"format"},
               {"tensors", right},
               {"parameters", right},
               {"active", right},
               {"bytes", right},
               {"read per token", right}});
  const auto add = [&](const std::string& kind, const std::string& format, const auto& row) {
    table.add({kind, format, std::to_string(row.tensors), format_count(row.parameters),
               format_count(row.active_parameters), format_bytes(row.bytes), format_bytes(row.active_bytes)});
  };
  for (const Inventory& row : model.inventory()) add(row.kind, row.format, row);
  add("all", "", totals);
  return table.text();
}

std::string as_text(const Model& model, const std::filesystem::path& folder, const InspectedNeed& asked,
                    const Need& need, const std::optional<MemoryState>& state, const Style& style) {
  const Config& config = model.config();
  const Totals totals = sum(model.inventory());
  std::string text;
  const auto line = [&](std::string key, const std::string& value) {
    key.resize(14, ' ');
    text += style.bold(key) + value + "\n";
  };
  line("model", folder.string());
  line("architecture", config.model_type + ", " + describe_layers(model));
  line("experts", describe_experts(config));
  line("attention", describe_attention(config));
  line("sizes", "hidden_size " + std::to_string(config.hidden_size) + ", vocab_size " +
                    std::to_string(config.vocab_size) + ", context " +
                    std::to_string(config.max_position_embeddings));
  line("parameters", format_count(totals.parameters) + " in all, " + format_count(totals.active_parameters) +
                         " active for a token");
  line("files", plural(model.checkpoint().files(), "file") + ", " + format_bytes(model.checkpoint().bytes()) +
                    " of tensors");
  if (model.unused_tensors() > 0) {
    line("unused", plural(model.unused_tensors(), "tensor") +
                       (config.num_nextn_predict_layers > 0 ? ", of multi-token prediction" : ""));
  }
  text += "\n" + inventory_table(model, totals) + "\n";
  std::string per_token;
  for (const auto& [name, format] : kv_formats) {
    per_token += (per_token.empty() ? "" : ", ") + std::string(name) + " " +
                 format_bytes(model.kv_bytes_per_token(format));
  }
  line("KV cache", per_token + " per token");
  line("memory", format_bytes(need.total()) + " needed: weights " + format_bytes(need.weights) +
                     ", KV cache " + format_bytes(need.kv_cache) + " (" + std::to_string(asked.context) +
                     " tokens in " + std::string(kv_format_name(asked.kv_format)) + ")");
  line("", describe_memory(need, state));
  if (asked.plan) line("--memory", describe_budget(*asked.plan));
  return text;
}

Json to_json(const Inventory& row) {
  return Json{{"kind", row.kind},
              {"format", row.format},
              {"tensors", row.tensors},
              {"parameters", row.parameters},
              {"active_parameters", row.active_parameters},
              {"bytes", row.bytes},
              {"active_bytes", row.active_bytes}};
}

Json to_json(const MemoryPlan& plan) {
  return Json{{"bytes", plan.budget},
              {"least_bytes", plan.least},
              {"everything_fits", plan.everything_fits()},
              {"resident_bytes", plan.resident_bytes},
              {"embedding_bytes", plan.embedding_bytes},
              {"expert_bytes", plan.slot_bytes},
              {"slots", plan.slots},
              {"experts", plan.experts}};
}

std::string as_json(const Model& model, const std::filesystem::path& folder, const InspectedNeed& asked,
                    const Need& need, const std::optional<MemoryState>& state) {
  const Config& config = model.config();
  const Totals totals = sum(model.inventory());
  Json kv_bytes;
  for (const auto& [name, format] : kv_formats)
    kv_bytes[std::string(name)] = model.kv_bytes_per_token(format);
  Json weights = Json::array();
  for (const Inventory& row : model.inventory()) weights.push_back(to_json(row));
  Json memory{{"context", asked.context},
              {"kv_type", kv_format_name(asked.kv_format)},
              {"weight_bytes", need.weights},
              {"kv_bytes", need.kv_cache},
              {"needed_bytes", need.total()},
              {"total_bytes", state ? Json(state->total) : Json()},
              {"available_bytes", state ? Json(state->available) : Json()},
              {"enough", state ? Json(state->available >= need.total()) : Json()}};
  if (asked.plan) memory["budget"] = to_json(*asked.plan);
  const Json object{{"schema", 1},
                    {"model", folder.string()},
                    {"architecture", config.model_type},
                    {"layers", config.num_hidden_layers},
                    {"moe_layers", moe_layers(model)},
                    {"hidden_size", config.hidden_size},
                    {"vocab_size", config.vocab_size},
                    {"context", config.max_position_embeddings},
                    {"attention", config.attention == AttentionKind::mla ? "mla" : "grouped_query"},
                    {"n_routed_experts", config.n_routed_experts},
                    {"num_experts_per_tok", config.num_experts_per_tok},
                    {"n_shared_experts", config.n_shared_experts},
                    {"parameters", totals.parameters},
                    {"active_parameters", totals.active_parameters},
                    {"bytes", totals.bytes},
                    {"active_bytes", totals.active_bytes},
                    {"files", model.checkpoint().files()},
                    {"tensors", model.checkpoint().tensors().size()},
                    {"unused_tensors", model.unused_tensors()},
                    {"weights", std::move(weights)},
                    {"kv_bytes_per_token", std::move(kv_bytes)},
                    {"memory", std::move(memory)}};
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string inspection(const Model& model, const std::filesystem::path& folder, const InspectedNeed& asked,
                       bool json, const Style& style) {
  const Need need{.weights = sum(model.inventory()).bytes,
                  .kv_cache = saturating_product(asked.context, model.kv_bytes_per_token(asked.kv_format))};
  const std::optional<MemoryState> state = memory_state();
  return json ? as_json(model, folder, asked, need, state)
              : as_text(model, folder, asked, need, state, style);
}

}  // namespace baleen::cmd
