#include "model/model.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <stdexcept>
#include <utility>

#include "checkpoint/files.h"
#include "error.h"
#include "runtime/kv_cache.h"

namespace baleen {
namespace {

using kernels::Format;
using kernels::Matrix;

// Mismatches that one message lists; the rest is counted.
constexpr std::size_t listed_problems = 12;
constexpr std::size_t max_config_bytes = std::size_t{16} << 20;
// A group index of a million columns has that size: what is larger is no tensor that is read here.
constexpr std::size_t most_bytes_ahead = std::size_t{4} << 20;

std::optional<Format> vector_format(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return Format::f32;
    case DType::f16:
      return Format::f16;
    case DType::bf16:
      return Format::bf16;
    default:
      return std::nullopt;
  }
}

// As find_weight names plain matrices.
std::string format_name(Format format) {
  return format == Format::f32 ? "f32" : format == Format::f16 ? "f16" : "bf16";
}

// Walks an architecture's table over a checkpoint, gathering weights, inventory and problems.
class Loader {
 public:
  Loader(const Config& config, const Checkpoint& checkpoint, const Quantization& quantization)
      : config_(config), checkpoint_(checkpoint), quantization_(quantization) {}

  void load(Weights& global, std::vector<Layer>& layers) {
    layers.resize(config_.num_hidden_layers);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (config_.is_moe_layer[l]) layers[l].experts.resize(config_.n_routed_experts);
      layers[l].sliding_window = config_.sliding_window[l];
    }
    for (const TensorSpec& spec : tensor_table(config_)) {
      if (spec.scope == Scope::global) {
        if (!spec.when || spec.when(config_, 0)) global[spec.role] = find(spec, 0, 0);
        continue;
      }
      for (std::size_t l = 0; l < layers.size(); ++l) {
        if (spec.when && !spec.when(config_, l)) continue;
        if (spec.scope == Scope::layer) {
          layers[l].weights[spec.role] = find(spec, l, 0);
          continue;
        }
        for (std::size_t e = 0; e < layers[l].experts.size(); ++e)
          expert_matrix(layers[l].experts[e], spec.role) = find(spec, l, e);
      }
    }
    if (config_.tie_word_embeddings) tie(global);
  }

  const std::vector<std::string>& problems() const { return problems_; }
  std::size_t used_tensors() const { return used_tensors_; }

  std::vector<Inventory> inventory() const {
    std::vector<Inventory> rows;
    for (const auto& key : order_) {
      const Row& row = inventory_.at(key);
      rows.push_back(row.sums);
      rows.back().active_parameters = active(row, row.sums.parameters);
      rows.back().active_bytes = active(row, row.sums.bytes);
    }
    return rows;
  }

 private:
  using Key = std::pair<std::string_view, std::string>;  // part, storage format
  struct Row {
    Inventory sums;
    Use use = Use::every_token;
    std::size_t rows = 1;
  };

  static Matrix& expert_matrix(Mlp& mlp, Role role) {
    return role == Role::gate_proj ? mlp.gate_proj : role == Role::up_proj ? mlp.up_proj : mlp.down_proj;
  }

  Matrix find(const TensorSpec& spec, std::size_t layer, std::size_t expert) {
    const std::string name = tensor_name(spec.name, layer, expert);
    return spec.kind == Kind::vector ? find_vector(spec, name) : find_matrix(spec, name);
  }

  Matrix find_matrix(const TensorSpec& spec, std::string_view name) {
    const std::string_view module = name.substr(0, name.size() - std::string_view(".weight").size());
    const std::size_t rows = spec.rows.of(config_);
    const std::size_t cols = spec.cols.of(config_);
    const std::size_t before = problems_.size();
    const auto weight = find_weight(checkpoint_, quantization_, module, rows, cols, problems_);
    if (!weight) {
      for (std::size_t i = before; i < problems_.size(); ++i) explain(problems_[i], spec);
      return {};
    }
    account(spec, rows * cols, weight->bytes, std::string(weight->format_name), weight->tensors);
    return weight->matrix;
  }

  Matrix find_vector(const TensorSpec& spec, std::string_view name) {
    const Shape expected{{spec.cols.of(config_)}, 1};
    const Tensor* tensor = checkpoint_.find(name);
    const auto format = tensor ? vector_format(tensor->dtype) : std::nullopt;
    if (!tensor) {
      problems_.push_back(std::string(name) + ": missing, expected " + to_string(expected));
    } else if (!(tensor->shape == expected)) {
      problems_.push_back(std::string(tensor->file) + ": " + std::string(name) + ": shape " +
                          to_string(tensor->shape) + ", expected " + to_string(expected));
    } else if (!format) {
      problems_.push_back(std::string(tensor->file) + ": " + std::string(name) + ": type " +
                          std::string(dtype_name(tensor->dtype)) + ", expected BF16, F16 or F32");
    } else {
      account(spec, expected.dim[0], tensor->bytes, format_name(*format), 1);
      Matrix vector;
      vector.format = *format;
      vector.rows = 1;
      vector.cols = expected.dim[0];
      vector.row_bytes = tensor->bytes;
      vector.values = tensor->data;
      return vector;
    }
    explain(problems_.back(), spec);
    return {};
  }

  // "expected [64, 7168]" gains "(n_routed_experts x hidden_size)".
  static void explain(std::string& problem, const TensorSpec& spec) {
    problem += " (";
    if (spec.kind == Kind::matrix) problem += std::string(spec.rows.name) + " x ";
    problem += std::string(spec.cols.name) + ")";
  }

  // Adds a tensor to its row of the inventory. What a token touches of it is settled in inventory().
  void account(const TensorSpec& spec, std::uint64_t parameters, std::uint64_t bytes, std::string format,
               std::size_t tensors) {
    used_tensors_ += tensors;
    auto key = std::make_pair(spec.part, std::move(format));
    auto [at, fresh] = inventory_.try_emplace(key);
    if (fresh) order_.push_back(key);
    Row& row = at->second;
    row.use = spec.use;
    row.rows = spec.rows.of(config_);
    row.sums.kind = key.first;
    row.sums.format = key.second;
    row.sums.tensors += tensors;
    row.sums.parameters += parameters;
    row.sums.bytes += bytes;
  }

  // What a token touches of `all` parameters or bytes of a row.
  std::uint64_t active(const Row& row, std::uint64_t all) const {
    switch (row.use) {
      case Use::one_row:
        return config_.tie_word_embeddings ? all : all / row.rows;
      case Use::routed:
        return all / config_.n_routed_experts * config_.num_experts_per_tok;
      case Use::every_token:
        return all;
    }
    return all;
  }

  // The output head reads the embedding's matrix.
  void tie(Weights& global) { global[Role::lm_head] = global[Role::embed_tokens]; }

  const Config& config_;
  const Checkpoint& checkpoint_;
  const Quantization& quantization_;
  std::vector<std::string> problems_;
  std::size_t used_tensors_ = 0;
  std::map<Key, Row> inventory_;
  std::vector<Key> order_;
};

// transformers reads a head that the files hold, whatever tie_word_embeddings says.
bool holds_head(const Checkpoint& checkpoint) {
  return checkpoint.find("lm_head.weight") != nullptr || checkpoint.find("lm_head.weight_packed") != nullptr;
}

// A line for errors about missing experts: transformers 5 has those of a layer in one tensor, and saves them
// so on request. Empty if it did not.
std::string about_fused_experts(const Config& config, const Checkpoint& checkpoint) {
  for (std::size_t l = 0; l < config.num_hidden_layers; ++l)
    if (const Tensor* fused =
            checkpoint.find(tensor_name("model.layers.{layer}.mlp.experts.gate_up_proj", l, 0)))
      return "\n  " + std::string(fused->file) + ": " + std::string(fused->name) +
             ": the layer's experts in one tensor, expected three for each expert; save the model with "
             "save_original_format=True, save_pretrained's default";
  return "";
}

// A few numbers in a config.json can ask for more experts than any memory could list: before anything is
// made for them, as many tensors must be there.
void check_expert_count(const Config& config, const Checkpoint& checkpoint,
                        const std::filesystem::path& dir) {
  const auto layers = std::count(config.is_moe_layer.begin(), config.is_moe_layer.end(), true);
  const std::uint64_t needed = static_cast<std::uint64_t>(layers) * config.n_routed_experts * 3;
  const std::size_t found = checkpoint.tensors().size();
  if (needed <= found) return;
  throw Error(dir.string() + ": " + std::to_string(layers) + " layers of " +
              std::to_string(config.n_routed_experts) + " experts, as config.json says, are at least " +
              std::to_string(needed) + " tensors; the files hold " + std::to_string(found) +
              about_fused_experts(config, checkpoint));
}

// Whether a tensor is of a layer behind the model's last one.
bool is_behind(std::string_view name, std::size_t layers) {
  constexpr std::string_view prefix = "model.layers.";
  if (!name.starts_with(prefix)) return false;
  std::size_t layer = 0;
  std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
  return layer >= layers;
}

[[noreturn]] void throw_problems(const std::filesystem::path& dir, const std::vector<std::string>& problems,
                                 const std::string& advice) {
  std::string message = dir.string() + ": " + std::to_string(problems.size()) +
                        (problems.size() == 1 ? " tensor is" : " tensors are") + " not as config.json says";
  for (std::size_t i = 0; i < problems.size() && i < listed_problems; ++i) message += "\n  " + problems[i];
  if (problems.size() > listed_problems)
    message += "\n  and " + std::to_string(problems.size() - listed_problems) + " more";
  throw Error(message + advice);
}

}  // namespace

Model::Model(Config config, Checkpoint checkpoint)
    : config_(std::move(config)), checkpoint_(std::move(checkpoint)) {}

Model Model::open(const std::filesystem::path& dir) {
  const std::filesystem::path config_file = dir / "config.json";
  const std::string json = read_small_file(config_file, max_config_bytes);
  Config config = parse_config(json, config_file.string());
  Checkpoint checkpoint = Checkpoint::open(dir);
  check_expert_count(config, checkpoint, dir);
  return make(std::move(config), parse_quantization(json, config_file.string()), std::move(checkpoint), dir);
}

Model Model::make(Config config, const Quantization& quantization, Checkpoint checkpoint,
                  const std::filesystem::path& name) {
  if (holds_head(checkpoint)) config.tie_word_embeddings = false;
  Model model(std::move(config), std::move(checkpoint));
  Loader loader(model.config_, model.checkpoint_, quantization);
  {
    // Each module of a packed checkpoint has a few bytes to be read here, megabytes from the next one's. What
    // the system reads ahead around each was nine tenths of a file of 2.9 GB.
    ScatteredReading reading(model.checkpoint_);
    for (const Tensor& tensor : model.checkpoint_.tensors())
      if (content_is_read(tensor.name) && tensor.bytes <= most_bytes_ahead)
        reading.soon({tensor.data, tensor.bytes});
    loader.load(model.global_, model.layers_);
  }
  if (!loader.problems().empty())
    throw_problems(name, loader.problems(), about_fused_experts(model.config_, model.checkpoint_));
  model.inventory_ = loader.inventory();
  const std::span<const Tensor> tensors = model.checkpoint_.tensors();
  model.unused_tensors_ = tensors.size() - loader.used_tensors();
  const auto behind = std::count_if(tensors.begin(), tensors.end(), [&](const Tensor& tensor) {
    return is_behind(tensor.name, model.config_.num_hidden_layers);
  });
  model.misplaced_tensors_ = model.unused_tensors_ - static_cast<std::size_t>(behind);
  return model;
}

void Model::hold(std::unique_ptr<HugeMemory> memory, std::unique_ptr<BoundedRows> embedding_rows) {
  if (held_) throw std::logic_error("Model::hold: called twice");
  held_ = std::move(memory);
  embedding_rows_ = std::move(embedding_rows);
}

std::uint64_t Model::kv_bytes_per_token(kernels::KvFormat format) const {
  return KvLayout(config_, format).position_bytes * config_.num_hidden_layers;
}

}  // namespace baleen
