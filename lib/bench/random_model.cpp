#include "bench/random_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/huge_memory.h"
#include "checkpoint/json_fields.h"
#include "error.h"
#include "model/architecture.h"
#include "model/forward.h"
#include "quant/config_groups.h"
#include "quant/target.h"
#include "report/units.h"

namespace baleen {
namespace {

constexpr std::size_t alignment = 64;
// What layers add to the residual stream is small beside the embedding: averages over the same tokens before
// would make tokens alike and send them to the same experts.
constexpr double residual_gain = 1.0 / 16;

std::size_t ceil_div(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}

// Eight bytes of a tensor: random where `mask` has ones, `base` in the other bits.
struct Pattern {
  std::uint64_t mask = 0;
  std::uint64_t base = 0;
};

constexpr std::uint64_t repeat16(std::uint64_t bits) {
  return bits * 0x0001'0001'0001'0001;
}
constexpr std::uint64_t repeat32(std::uint64_t bits) {
  return bits * 0x0000'0001'0000'0001;
}

// Packed integers, odd ones alone: -7 to 7 and -127 to 127. With -8 and -128 their mean would not be 0; then
// every product moves all numbers of its result alike, activations grow alike, and so do the routes of
// tokens.
constexpr Pattern odd_int4{.mask = 0xeeee'eeee'eeee'eeee, .base = 0x1111'1111'1111'1111};
constexpr Pattern odd_int8{.mask = 0xfefe'fefe'fefe'fefe, .base = 0x0101'0101'0101'0101};
// Without the exponents' highest bit: no NaN, nothing of 2 or more.
constexpr Pattern small_fp8{.mask = 0xbfbf'bfbf'bfbf'bfbf};
// Every e2m1 code as often as its opposite.
constexpr Pattern any_e2m1{.mask = 0xffff'ffff'ffff'ffff};
// The RMS of their values, which scales are divided by.
constexpr double small_fp8_rms = 0.62;
constexpr double int8_rms = 73.9;
constexpr double int4_rms = 4.58;
constexpr double e2m1_rms = 2.93;

// The power of two at or below a number, as the exponent of a float: bits 7 to 14 of bf16.
std::uint64_t bf16_power(double value) {
  return static_cast<std::uint64_t>(127 + std::ilogb(value)) << 7U;
}

// Random signs and mantissas behind one exponent: magnitudes are within a factor of two of each other.
Pattern random_bf16(double rms) {
  return {.mask = repeat16(0x807f), .base = repeat16(bf16_power(rms / 1.5))};
}
Pattern constant_bf16(double power) {
  return {.base = repeat16(bf16_power(power))};
}
Pattern constant_f32(double value) {
  return {.base = repeat32(std::bit_cast<std::uint32_t>(static_cast<float>(value)))};
}

Pattern constant_e8m0(double power) {
  const auto exponent = static_cast<std::uint64_t>(127 + std::ilogb(power));
  return {.base = repeat16(exponent << 8U | exponent)};
}

// A stored tensor and what is written into it.
struct Stored {
  std::string name;
  DType dtype = DType::bf16;
  Shape shape;
  Pattern pattern;
  std::vector<std::int64_t> numbers = {};  // instead of the pattern

  std::uint64_t bytes() const {
    std::uint64_t count = dtype_bytes(dtype);
    for (std::size_t d = 0; d < shape.rank; ++d) count *= shape.dim[d];
    return count;
  }
};

// None for bf16.
std::optional<Target> target_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::fp8: return Target{Encoding::fp8};
    case WeightFormat::int8: return Target{Encoding::int8};
    case WeightFormat::int4: return Target{Encoding::int4};
    case WeightFormat::mxfp4: return Target{Encoding::mxfp4};
    case WeightFormat::bf16: break;
  }
  return {};
}

// The tensors that make up one matrix in a format.
class MatrixTensors {
 public:
  MatrixTensors(std::string_view name, std::size_t rows, std::size_t cols)
      : name_(name),
        module_(name.substr(0, name.size() - std::string_view(".weight").size())),
        rows_(rows),
        cols_(cols) {}

  // Products of normed activations have `gain` times unit size.
  std::vector<Stored> in(WeightFormat format, double gain) const {
    const double rms = gain * unit_rms();
    const std::optional<Target> target = target_of(format);
    if (!target || !fits(*target, cols_)) return plain(rms);
    switch (target->encoding) {
      case Encoding::fp8:
        return coded(*target, small_fp8, constant_f32(rms / small_fp8_rms));
      case Encoding::int8:
        return coded(*target, odd_int8, constant_bf16(rms / int8_rms));
      case Encoding::int4:
        return coded(*target, odd_int4, constant_bf16(rms / int4_rms));
      case Encoding::mxfp4:
        return coded(*target, any_e2m1, constant_e8m0(rms / e2m1_rms));
    }
    return plain(rms);
  }

  std::vector<Stored> plain(double rms) const {
    return {{name_, DType::bf16, {{rows_, cols_}, 2}, random_bf16(rms)}};
  }

  double unit_rms() const { return 1 / std::sqrt(static_cast<double>(cols_)); }

 private:
  // The target's tensors, with these patterns for values and scales, and the size where there is one.
  std::vector<Stored> coded(const Target& target, const Pattern& values, const Pattern& scales) const {
    std::vector<Stored> tensors;
    for (const StoredPart& part : stored_parts(target, rows_, cols_, DType::bf16))
      tensors.push_back({module_ + std::string(part.suffix), part.dtype, part.shape, {}});
    tensors[0].pattern = values;
    tensors[1].pattern = scales;
    if (tensors.size() > 2)
      tensors[2].numbers = {static_cast<std::int64_t>(rows_), static_cast<std::int64_t>(cols_)};
    return tensors;
  }

  std::string name_;
  std::string module_;
  std::size_t rows_;
  std::size_t cols_;
};

bool is_bias(Role role) {
  switch (role) {
    case Role::q_proj_bias:
    case Role::q_a_proj_bias:
    case Role::kv_a_proj_bias:
    case Role::k_proj_bias:
    case Role::v_proj_bias:
    case Role::o_proj_bias:
      return true;
    default:
      return false;
  }
}

std::vector<Stored> stored_tensors(const TensorSpec& spec, const Config& config, WeightFormat format,
                                   const std::string& name) {
  const std::size_t cols = spec.cols.of(config);
  if (spec.role == Role::e_score_correction_bias) return {{name, DType::f32, {{cols}, 1}, {}}};
  if (spec.kind == Kind::vector)
    return {{name, DType::bf16, {{cols}, 1}, is_bias(spec.role) ? Pattern{} : constant_bf16(1)}};
  const MatrixTensors matrix(name, spec.rows.of(config), cols);
  switch (spec.role) {
    case Role::embed_tokens:
      return matrix.plain(1);
    case Role::lm_head:
    case Role::router:
      return matrix.plain(matrix.unit_rms());
    case Role::o_proj:
    case Role::down_proj:
    case Role::shared_down_proj:
      return matrix.in(format, residual_gain);
    default:
      return matrix.in(format, 1);
  }
}

// Calls use(tensor) for every stored tensor of layer `layer`, or of what is outside of layers.
constexpr std::size_t outside = static_cast<std::size_t>(-1);
template <typename Use>
void for_each_tensor(const ModelShape& shape, std::size_t layer, const Use& use) {
  const Config& config = shape.config;
  const std::size_t place = layer == outside ? 0 : layer;
  for (const TensorSpec& spec : tensor_table(config)) {
    if ((spec.scope == Scope::global) != (layer == outside)) continue;
    if (spec.when && !spec.when(config, place)) continue;
    if (spec.scope == Scope::expert && !config.is_moe_layer[place]) continue;
    const std::size_t copies = spec.scope == Scope::expert ? config.n_routed_experts : 1;
    for (std::size_t e = 0; e < copies; ++e)
      for (Stored& stored : stored_tensors(spec, config, shape.format, tensor_name(spec.name, place, e)))
        use(std::move(stored));
  }
}

std::uint64_t padded_bytes(const Stored& stored) {
  return ceil_div(stored.bytes(), alignment) * alignment;
}

// Sizes in a config.json may be anything: a sum too large for 64 bits is the largest number there is.
std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) {
  return a + b < a ? ~std::uint64_t{0} : a + b;
}

std::uint64_t part_bytes(const ModelShape& shape, std::size_t layer) {
  std::uint64_t bytes = 0;
  for_each_tensor(shape, layer,
                  [&](const Stored& stored) { bytes = saturating_sum(bytes, padded_bytes(stored)); });
  return bytes;
}

// Steele, Lea and Flood's SplitMix64: the random number with number n.
std::uint64_t split_mix(std::uint64_t n) {
  std::uint64_t z = n * 0x9e37'79b9'7f4a'7c15;
  z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
  return z ^ (z >> 31);
}

// Writes bytes [begin, end) of memory, both multiples of 8; a byte depends on the seed and its place alone.
void write_noise(std::byte* memory, std::uint64_t begin, std::uint64_t end, const Pattern& pattern,
                 std::uint64_t seed) {
  for (std::uint64_t at = begin; at < end; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = (split_mix(seed + at) & pattern.mask) | pattern.base;
    std::memcpy(memory + at, &word, sizeof word);
  }
}

// A kind of layer: those that compute the same.
struct LayerKind {
  std::vector<std::size_t> layers;
  std::uint64_t bytes = 0;  // of one
  std::size_t chosen = 1;
  double missing() const {
    return static_cast<double>(layers.size() - chosen) / static_cast<double>(layers.size());
  }
};

std::vector<LayerKind> layer_kinds(const ModelShape& shape) {
  const Config& c = shape.config;
  std::vector<LayerKind> kinds;
  for (std::size_t l = 0; l < c.num_hidden_layers; ++l) {
    const auto same = [&](const LayerKind& kind) {
      const std::size_t first = kind.layers[0];
      return c.is_moe_layer[first] == c.is_moe_layer[l] && c.sliding_window[first] == c.sliding_window[l];
    };
    const auto kind = std::find_if(kinds.begin(), kinds.end(), same);
    if (kind != kinds.end()) {
      kind->layers.push_back(l);
    } else {
      kinds.push_back({.layers = {l}, .bytes = part_bytes(shape, l)});
    }
  }
  return kinds;
}

// One more layer of the kind of which the largest share is missing; nullptr if none is missing or fits.
LayerKind* next_kind(std::vector<LayerKind>& kinds, std::uint64_t room) {
  LayerKind* best = nullptr;
  for (LayerKind& kind : kinds)
    if (kind.missing() > 0 && kind.bytes <= room && (!best || kind.missing() > best->missing())) best = &kind;
  return best;
}

[[noreturn]] void throw_too_large(const ModelShape& shape, std::uint64_t needed, std::uint64_t memory) {
  std::string message = shape.name + ": embedding, output head and one layer of each kind take " +
                        format_bytes(needed) + ", this machine has " + format_bytes(memory) +
                        " to spare for weights";
  if (shape.format != WeightFormat::mxfp4) message += "\n--weights mxfp4 takes the least";
  throw Error(message);
}

}  // namespace

ModelShape parse_shape(std::string_view config_json, const std::string& name, WeightFormat format) {
  nlohmann::json document = parse_json_object(config_json, name);
  document.erase("quantization_config");
  if (format != WeightFormat::bf16) document["quantization_config"] = quantization_config(std::array{ModuleFormat{"model.layers.0.mlp.gate_proj", target_of(format)}});
  const std::string json = document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return {.name = name,
          .config = parse_config(json, name),
          .format = format,
          .quantization = parse_quantization(json, name)};
}

ShapeSize shape_size(const ModelShape& shape) {
  const Config& config = shape.config;
  ShapeSize size{.bytes = part_bytes(shape, outside)};
  for (const LayerKind& kind : layer_kinds(shape))
    size.bytes = saturating_sum(size.bytes, saturating_product(kind.layers.size(), kind.bytes));
  for (const TensorSpec& spec : tensor_table(config)) {
    const std::uint64_t rows = spec.kind == Kind::vector ? 1 : spec.rows.of(config);
    const std::uint64_t one = rows * spec.cols.of(config);
    const bool routed = spec.scope == Scope::expert;
    const bool one_row = spec.use == Use::one_row && !config.tie_word_embeddings;
    for (std::size_t l = 0; l < (spec.scope == Scope::global ? 1 : config.num_hidden_layers); ++l) {
      if ((spec.when && !spec.when(config, l)) || (routed && !config.is_moe_layer[l])) continue;
      size.parameters += one * (routed ? config.n_routed_experts : 1);
      size.active_parameters += one_row ? one / rows : one * (routed ? config.num_experts_per_tok : 1);
    }
  }
  return size;
}

LayerChoice choose_layers(const ModelShape& shape, std::uint64_t memory, std::size_t count) {
  std::vector<LayerKind> kinds = layer_kinds(shape);
  std::uint64_t used = part_bytes(shape, outside);
  for (const LayerKind& kind : kinds) used = saturating_sum(used, kind.bytes);
  if (count != 0 && (count < kinds.size() || count > shape.config.num_hidden_layers)) {
    throw UsageError("--layers " + std::to_string(count) + ": " + shape.name + " has " +
                     std::to_string(shape.config.num_hidden_layers) + " layers of " +
                     std::to_string(kinds.size()) +
                     (kinds.size() == 1 ? " kind" : " kinds, and needs one of each"));
  }
  if (used > memory && count == 0) throw_too_large(shape, used, memory);
  const std::uint64_t limit = count == 0 ? memory : std::uint64_t{0} - 1;
  for (std::size_t chosen = kinds.size(); count == 0 || chosen < count; ++chosen) {
    LayerKind* const kind = next_kind(kinds, limit - used);
    if (!kind) break;
    ++kind->chosen;
    used += kind->bytes;
  }
  std::vector<std::pair<std::size_t, double>> chosen;
  for (const LayerKind& kind : kinds)
    for (std::size_t i = 0; i < kind.chosen; ++i)
      chosen.emplace_back(kind.layers[i],
                          static_cast<double>(kind.layers.size()) / static_cast<double>(kind.chosen));
  std::sort(chosen.begin(), chosen.end());
  LayerChoice choice;
  for (const auto& [layer, stands_for] : chosen) {
    choice.layers.push_back(layer);
    choice.counts.push_back(stands_for);
  }
  return choice;
}

ModelShape with_layers(const ModelShape& shape, const std::vector<std::size_t>& layers) {
  ModelShape part = shape;
  part.config.num_hidden_layers = layers.size();
  part.config.is_moe_layer.clear();
  part.config.sliding_window.clear();
  for (const std::size_t layer : layers) {
    part.config.is_moe_layer.push_back(shape.config.is_moe_layer[layer]);
    part.config.sliding_window.push_back(shape.config.sliding_window[layer]);
  }
  return part;
}

Model random_model(const ModelShape& shape, std::uint64_t seed, ThreadPool& pool,
                   const std::atomic<bool>* cancel) {
  constexpr std::uint64_t piece = std::uint64_t{4} << 20;  // what a thread writes at a time
  const auto memory = std::make_shared<HugeMemory>(shape_size(shape).bytes);
  std::byte* const data = memory->bytes().data();
  std::vector<Checkpoint::MemoryTensor> tensors;
  std::uint64_t begin = 0;
  const auto add = [&](Stored stored) {
    check_cancelled(cancel);
    const std::uint64_t end = begin + padded_bytes(stored);
    pool.parallel_for((end - begin + piece - 1) / piece, [&](std::size_t i, std::size_t) {
      write_noise(data, begin + i * piece, std::min(end, begin + (i + 1) * piece), stored.pattern, seed);
    });
    if (!stored.numbers.empty()) std::memcpy(data + begin, stored.numbers.data(), stored.bytes());
    tensors.push_back({std::move(stored.name), stored.dtype, stored.shape, data + begin, stored.bytes()});
    begin = end;
  };
  for_each_tensor(shape, outside, add);
  for (std::size_t l = 0; l < shape.config.num_hidden_layers; ++l) for_each_tensor(shape, l, add);
  return Model::make(shape.config, shape.quantization, Checkpoint::in_memory(tensors, memory), shape.name);
}

}  // namespace baleen
