#include "quant/plan.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"

namespace baleen {
namespace {

// Data begins at a multiple of it, so that what is aligned in the data is aligned in the file.
constexpr std::size_t data_alignment = 64;

PlannedTensor planned(std::string name, DType dtype, const Shape& shape, std::uint64_t bytes) {
  return {.name = std::move(name), .dtype = dtype, .shape = shape, .bytes = bytes};
}

// The tensors that a module becomes.
std::vector<PlannedTensor> result_tensors(const SourceModule& module, const PlannedModule& planned_module) {
  std::vector<PlannedTensor> tensors;
  if (planned_module.work == Work::copy) {
    for (const Tensor* const t : module.tensors)
      tensors.push_back(planned(std::string(t->name), t->dtype, t->shape, t->bytes));
    return tensors;
  }
  const std::size_t rows = module.weight->matrix.rows;
  const std::size_t cols = module.weight->matrix.cols;
  if (planned_module.work == Work::widen)
    return {planned(module.name + ".weight", module.plain, {{rows, cols}, 2},
                    std::uint64_t{rows} * cols * dtype_bytes(module.plain))};
  for (const StoredPart& part : stored_parts(*planned_module.decision.target, rows, cols, module.plain))
    tensors.push_back(planned(module.name + std::string(part.suffix), part.dtype, part.shape, part.bytes));
  return tensors;
}

Work work_for(const SourceModule& module, const Decision& decision) {
  if (decision.target) {
    const std::optional<Target> stored = stored_target(module);
    return stored && same_format(*stored, *decision.target) ? Work::copy : Work::encode;
  }
  return module.is_quantized() ? Work::widen : Work::copy;
}

// Deals modules to shards in their order; returns how many there are.
std::size_t deal(Plan& plan, std::uint64_t shard_size) {
  std::size_t shard = 0;
  std::uint64_t used = 0;
  for (const PlannedModule& module : plan.modules) {
    const std::span<PlannedTensor> tensors(plan.tensors.data() + module.first_tensor, module.tensor_count);
    std::uint64_t bytes = 0;
    for (const PlannedTensor& tensor : tensors) bytes += tensor.bytes;
    if (used > 0 && used + bytes > shard_size) {
      ++shard;
      used = 0;
    }
    for (PlannedTensor& tensor : tensors) tensor.shard = shard;
    used += bytes;
  }
  return shard + 1;
}

std::string shard_name(std::size_t shard, std::size_t shards) {
  if (shards == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
  return name;
}

// Text as JSON writes it, in quotes. (A JSON object that keeps its order would look through all its keys for
// each new one: too slow for the names of a large checkpoint.)
std::string json_text(std::string_view text) {
  return nlohmann::json(text).dump();
}

std::string json_list(const Shape& shape) {
  std::string text = "[";
  for (std::size_t d = 0; d < shape.rank; ++d) text += (d > 0 ? "," : "") + std::to_string(shape.dim[d]);
  return text + "]";
}

std::string header_bytes(std::string json) {
  json.resize((safetensors_prefix + json.size() + data_alignment - 1) / data_alignment * data_alignment -
                  safetensors_prefix,
              ' ');
  std::string header;
  for (std::size_t i = 0; i < safetensors_prefix; ++i)
    header += static_cast<char>(std::uint64_t{json.size()} >> (8 * i) & 0xff);
  return header + json;
}

// Sets the offsets of a shard's tensors: wider types first, for readers that need tensors to be aligned
// (safetensors' own writer sorts so), then in their order.
PlannedShard lay_out(std::vector<PlannedTensor*> tensors, std::string name) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const PlannedTensor* a, const PlannedTensor* b) {
    return dtype_bytes(a->dtype) > dtype_bytes(b->dtype);
  });
  std::string json = R"({"__metadata__":{"format":"pt"})";
  std::uint64_t end = 0;
  for (PlannedTensor* const tensor : tensors) {
    tensor->offset = end;
    end += tensor->bytes;
    json += "," + json_text(tensor->name) + R"(:{"dtype":")" + std::string(dtype_name(tensor->dtype)) +
            R"(","shape":)" + json_list(tensor->shape) + R"(,"data_offsets":[)" +
            std::to_string(tensor->offset) + "," + std::to_string(end) + "]}";
  }
  PlannedShard shard{.name = std::move(name), .header = header_bytes(json + "}")};
  for (PlannedTensor* const tensor : tensors) tensor->offset += shard.header.size();
  shard.bytes = shard.header.size() + end;
  return shard;
}

}  // namespace

std::optional<Target> stored_target(const SourceModule& module) {
  if (!module.is_quantized()) return {};
  const kernels::Matrix& m = module.weight->matrix;
  for (const Target& target : {Target{Encoding::fp8}, Target{Encoding::mxfp4},
                               Target{Encoding::int4, m.block_cols}, Target{Encoding::int8, m.block_cols},
                               Target{Encoding::int4, whole_row}, Target{Encoding::int8, whole_row}}) {
    if (target_name(target) != module.weight->format_name) continue;
    const std::vector<StoredPart> parts = stored_parts(target, m.rows, m.cols, DType::bf16);
    const auto is_there = [&](const StoredPart& part) {
      return std::any_of(module.tensors.begin(), module.tensors.end(), [&](const Tensor* t) {
        return t->name.size() == module.name.size() + part.suffix.size() && t->name.ends_with(part.suffix);
      });
    };
    if (parts.size() == module.tensors.size() && std::all_of(parts.begin(), parts.end(), is_there))
      return target;
  }
  return {};
}

Plan make_plan(const Source& source, std::span<const Decision> decisions, std::uint64_t shard_size) {
  Plan plan;
  for (std::size_t i = 0; i < source.modules().size(); ++i) {
    const SourceModule& module = source.modules()[i];
    PlannedModule planned_module{.decision = decisions[i], .work = work_for(module, decisions[i])};
    planned_module.first_tensor = plan.tensors.size();
    for (PlannedTensor& tensor : result_tensors(module, planned_module)) {
      plan.tensor_bytes += tensor.bytes;
      plan.tensors.push_back(std::move(tensor));
    }
    planned_module.tensor_count = plan.tensors.size() - planned_module.first_tensor;
    plan.modules.push_back(planned_module);
  }
  const std::size_t shards = deal(plan, shard_size);
  std::vector<std::vector<PlannedTensor*>> by_shard(shards);
  for (PlannedTensor& tensor : plan.tensors) by_shard[tensor.shard].push_back(&tensor);
  for (std::size_t s = 0; s < shards; ++s) {
    plan.shards.push_back(lay_out(std::move(by_shard[s]), shard_name(s, shards)));
    plan.file_bytes += plan.shards.back().bytes;
  }
  return plan;
}

std::string index_json(const Plan& plan) {
  if (plan.shards.size() == 1) return "";
  std::string json =
      "{\n  \"metadata\": {\"total_size\": " + std::to_string(plan.tensor_bytes) + "},\n  \"weight_map\": {";
  std::string_view comma = "\n    ";
  for (const PlannedTensor& tensor : plan.tensors) {
    json.append(comma)
        .append(json_text(tensor.name))
        .append(": ")
        .append(json_text(plan.shards[tensor.shard].name));
    comma = ",\n    ";
  }
  return json + "\n  }\n}\n";
}

}  // namespace baleen
