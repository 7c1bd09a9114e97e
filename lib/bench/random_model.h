// Models of a given shape whose weights are noise: for measuring the speed of what was never downloaded.
// Tensors are named, typed and laid out as in a published checkpoint of that format.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/config.h"
#include "checkpoint/quantized.h"
#include "model/model.h"
#include "runtime/thread_pool.h"

namespace baleen {

// Routers, norms, embeddings and the output head are bf16 whatever the format; so are matrices whose width
// the groups of int8, int4 and mxfp4 (32) do not divide.
enum class WeightFormat : std::uint8_t { bf16, fp8, int8, int4, mxfp4 };

// A configuration, and how its weights are stored.
struct ModelShape {
  std::string name;
  Config config;
  WeightFormat format = WeightFormat::bf16;
  Quantization quantization;
};
// From the bytes of a config.json; what it says of quantization is set aside. Throws FormatError.
ModelShape parse_shape(std::string_view config_json, const std::string& name, WeightFormat format);

// All its weights together.
struct ShapeSize {
  std::uint64_t parameters = 0;
  std::uint64_t active_parameters = 0;  // touched for one token
  std::uint64_t bytes = 0;
};
ShapeSize shape_size(const ModelShape&);

// Some layers of a model in place of all.
struct LayerChoice {
  std::vector<std::size_t> layers;  // of the whole model, ascending: at least one of each kind
  std::vector<double> counts;       // how many layers of the whole model each of them stands for
};
// As many layers as `memory` bytes hold beside embedding and head, or `count` if it is not 0. Layers are of
// one kind if they compute the same: dense or mixture of experts, with the same window. Throws Error if one
// of each kind does not fit, UsageError if `count` is less than that or more than all.
LayerChoice choose_layers(const ModelShape&, std::uint64_t memory, std::size_t count);

// The shape with these layers alone.
ModelShape with_layers(const ModelShape&, const std::vector<std::size_t>& layers);

// All weights written by all threads; the same for a seed and any number of threads. Finite everywhere, sized
// to keep activations finite, and tokens go to all experts about equally. Throws Cancelled.
Model random_model(const ModelShape&, std::uint64_t seed, ThreadPool&,
                   const std::atomic<bool>* cancel = nullptr);

}  // namespace baleen
