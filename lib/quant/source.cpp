#include "quant/source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "checkpoint/files.h"
#include "checkpoint/problems.h"
#include "model/architecture.h"

namespace baleen {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_config_bytes = std::size_t{16} << 20;
constexpr std::string_view weight_suffix = ".weight";
constexpr std::string_view packed_suffix = ".weight_packed";
// What may stand beside the values of a matrix.
constexpr std::array<std::string_view, 5> companion_suffixes = {
    ".weight_scale_inv", ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx"};
// Parts of the model whose matrices are quantized unless told otherwise.
constexpr std::array<std::string_view, 4> quantizable_parts = {"attention", "dense mlp", "shared experts",
                                                               "routed experts"};

std::string without(std::string_view name, std::string_view suffix) {
  return std::string(name.substr(0, name.size() - suffix.size()));
}

// Where the architecture's table puts a tensor.
struct Place {
  const TensorSpec* spec = nullptr;
  std::size_t layer = no_number;
  std::size_t expert = no_number;
};

using Places = std::unordered_map<std::string, Place>;

// Layers whose tensors are there: config.json may promise any number of layers of multi-token prediction
// behind the model's last one.
std::size_t stored_layers(const Config& config, const Checkpoint& checkpoint) {
  const auto has = [&](std::size_t layer) {
    const auto table = tensor_table(config);
    return std::any_of(table.begin(), table.end(), [&](const TensorSpec& spec) {
      return spec.scope == Scope::layer && checkpoint.find(tensor_name(spec.name, layer, 0)) != nullptr;
    });
  };
  std::size_t layers = config.num_hidden_layers;
  while (layers < config.num_hidden_layers + config.num_nextn_predict_layers && has(layers)) ++layers;
  return layers;
}

// Every tensor name of the table. A layer of multi-token prediction is a mixture of experts like those
// before; which of the names it really has, the files tell.
Places places(const Config& config, std::size_t layers) {
  Places all;
  for (const TensorSpec& spec : tensor_table(config)) {
    if (spec.scope == Scope::global) {
      all[std::string(spec.name)] = {&spec};
      continue;
    }
    for (std::size_t l = 0; l < layers; ++l) {
      if (l < config.num_hidden_layers) {
        if (spec.when && !spec.when(config, l)) continue;
        if (spec.scope == Scope::expert && !config.is_moe_layer[l]) continue;
      }
      const std::size_t copies = spec.scope == Scope::expert ? config.n_routed_experts : 1;
      for (std::size_t e = 0; e < copies; ++e)
        all.try_emplace(tensor_name(spec.name, l, e),
                        Place{&spec, l, spec.scope == Scope::expert ? e : no_number});
    }
  }
  return all;
}

// The size of a matrix that no table names, as its tensors tell it.
std::optional<std::pair<std::size_t, std::size_t>> stored_size(const Checkpoint& checkpoint,
                                                               const Tensor& values,
                                                               const std::string& module) {
  if (values.name.ends_with(weight_suffix)) {
    if (values.shape.rank != 2 || values.shape.dim[0] == 0 || values.shape.dim[1] == 0) return {};
    return std::pair{values.shape.dim[0], values.shape.dim[1]};
  }
  const Tensor* const size = checkpoint.find(module + ".weight_shape");
  if (size == nullptr || size->dtype != DType::i64 || size->bytes != 2 * sizeof(std::int64_t)) return {};
  std::array<std::int64_t, 2> dims{};
  std::memcpy(dims.data(), size->data, sizeof dims);
  const auto good = [](std::int64_t dim) { return dim > 0 && dim <= (std::int64_t{1} << 24); };
  if (!good(dims[0]) || !good(dims[1])) return {};
  return std::pair{static_cast<std::size_t>(dims[0]), static_cast<std::size_t>(dims[1])};
}

// Gathers the modules of a checkpoint in the order of its tensors.
class ModuleFinder {
 public:
  ModuleFinder(const Config& config, const Checkpoint& checkpoint, const Quantization& quantization)
      : config_(config),
        checkpoint_(checkpoint),
        quantization_(quantization),
        places_(places(config, stored_layers(config, checkpoint))) {}

  std::vector<SourceModule> find() {
    std::vector<SourceModule> modules;
    for (const Tensor& tensor : checkpoint_.tensors()) {
      if (is_companion(tensor.name)) continue;
      modules.push_back(module_of(tensor));
    }
    return modules;
  }

  const std::vector<std::string>& problems() const { return problems_; }

 private:
  // Whether the tensor belongs to the values of a matrix, which bring it along.
  bool is_companion(std::string_view name) const {
    for (const std::string_view suffix : companion_suffixes) {
      if (!name.ends_with(suffix)) continue;
      const std::string module = without(name, suffix);
      return checkpoint_.find(module + std::string(weight_suffix)) != nullptr ||
             checkpoint_.find(module + std::string(packed_suffix)) != nullptr;
    }
    return false;
  }

  SourceModule module_of(const Tensor& tensor) {
    SourceModule module;
    module.tensors.push_back(&tensor);
    const bool packed = tensor.name.ends_with(packed_suffix);
    const std::string base = without(tensor.name, packed                                 ? packed_suffix
                                                  : tensor.name.ends_with(weight_suffix) ? weight_suffix
                                                                                         : "");
    const auto place = places_.find(packed ? base + std::string(weight_suffix) : std::string(tensor.name));
    const bool known = place != places_.end();
    module.name = tensor.name;
    module.part = known ? place->second.spec->part : "other";
    if (known) {
      module.layer = place->second.layer;
      module.expert = place->second.expert;
    }
    const bool coded = packed || dtype_bytes(tensor.dtype) == 1;
    if (known ? place->second.spec->kind == Kind::matrix : coded && base.size() < tensor.name.size())
      make_matrix(module, base, known ? place->second.spec : nullptr);
    if (base.size() < tensor.name.size()) add_companions(module, base);
    return module;
  }

  void make_matrix(SourceModule& module, const std::string& name, const TensorSpec* spec) {
    const Tensor& values = *module.tensors[0];
    const auto size = spec ? std::pair{spec->rows.of(config_), spec->cols.of(config_)}
                           : stored_size(checkpoint_, values, name).value_or(std::pair{0, 0});
    if (size.first == 0) return;  // a tensor like any other
    module.name = name;
    module.weight = find_weight(checkpoint_, quantization_, name, size.first, size.second, problems_);
    if (!module.weight) return;
    module.plain = module.is_quantized() ? DType::bf16 : values.dtype;
    module.quantizable =
        spec && std::count(quantizable_parts.begin(), quantizable_parts.end(), spec->part) > 0;
  }

  void add_companions(SourceModule& module, const std::string& name) const {
    for (const std::string_view suffix : companion_suffixes)
      if (const Tensor* const tensor = checkpoint_.find(name + std::string(suffix)))
        module.tensors.push_back(tensor);
  }

  const Config& config_;
  const Checkpoint& checkpoint_;
  const Quantization& quantization_;
  const Places places_;
  std::vector<std::string> problems_;
};

}  // namespace

std::uint64_t SourceModule::bytes() const {
  std::uint64_t sum = 0;
  for (const Tensor* const tensor : tensors) sum += tensor->bytes;
  return sum;
}

CompanionReading::CompanionReading(const SourceModule& module, StreamedReading& reading)
    : module_(module), reading_(reading) {
  for (std::size_t t = 1; t < module.tensors.size(); ++t)
    reading_.will_read({module.tensors[t]->data, module.tensors[t]->bytes});
}

CompanionReading::~CompanionReading() {
  for (std::size_t t = 1; t < module_.tensors.size(); ++t)
    reading_.was_read({module_.tensors[t]->data, module_.tensors[t]->bytes});
}

Source::Source(fs::path dir, std::string config_json, Model model)
    : dir_(std::move(dir)),
      config_json_(std::move(config_json)),
      model_(std::move(model)),
      quantization_(parse_quantization(config_json_, (dir_ / "config.json").string())) {
  ModuleFinder finder(model_.config(), model_.checkpoint(), quantization_);
  modules_ = finder.find();
  throw_problems(dir_.string(), finder.problems());
}

Source Source::open(const fs::path& dir) {
  return {dir, read_small_file(dir / "config.json", max_config_bytes), Model::open(dir)};
}

}  // namespace baleen
