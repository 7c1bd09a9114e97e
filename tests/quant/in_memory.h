// A model quantized in memory, for tests that compare methods.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "quant/calibration.h"
#include "quant/encode.h"
#include "quant/gptq.h"

namespace baleen::testing {

enum class Method { minmax, mse, calibrated_mse, gptq };

struct InMemory {
  struct Module {
    std::vector<std::byte> values, scales;
    kernels::Matrix matrix;
    std::size_t layer = 0;
    Role role = Role::q_proj;
    std::optional<std::size_t> expert;
  };
  std::map<std::string, Module> modules;
  EncodeError error;
  std::size_t unguided = 0;  // modules

  bool same_bytes(const InMemory& other) const {
    return std::equal(modules.begin(), modules.end(), other.modules.begin(), other.modules.end(),
                      [](const auto& a, const auto& b) {
                        return a.first == b.first && a.second.values == b.second.values &&
                               a.second.scales == b.second.scales;
                      });
  }
};

inline const kernels::Matrix& matrix_of(const Layer& layer, Role role, std::optional<std::size_t> expert) {
  if (!expert) return layer.weights[role];
  const Mlp& mlp = layer.experts[*expert];
  return role == Role::gate_proj ? mlp.gate_proj : role == Role::up_proj ? mlp.up_proj : mlp.down_proj;
}

// All linear layers that the target fits.
inline InMemory quantize_in_memory(const Model& model, std::span<const TokenId> ids, ThreadPool& pool,
                                   const Target& target, const CalibrationOptions& options, Method method) {
  constexpr DType plain = DType::bf16;
  const kernels::Kernels& kernels = *options.kernels;
  InMemory result;
  std::mutex mutex;
  Calibration calibration(model, ids, pool, options);
  while (calibration.next())
    calibration.for_each_site([&](const Site& site, std::size_t lane) {
      if (!fits(target, site.cols)) return;
      const bool guided = method == Method::calibrated_mse || method == Method::gptq;
      const Guide guide = guided ? calibration.guide(site, lane) : Guide{};
      for (const Site::Module& module : site.modules) {
        const kernels::Matrix& from = matrix_of(model.layers()[site.layer], module.role, site.expert);
        std::vector<float> weights(from.rows * from.cols);
        for (std::size_t r = 0; r < from.rows; ++r)
          kernels.widen_row[static_cast<std::size_t>(from.format)](from, r, weights.data() + r * from.cols);
        const auto parts = stored_parts(target, from.rows, from.cols, plain);
        InMemory::Module made{std::vector<std::byte>(parts[0].bytes),
                              std::vector<std::byte>(parts[1].bytes),
                              {},
                              site.layer,
                              module.role,
                              site.expert};
        EncodeArgs args;
        args.kernels = &kernels;
        args.target = target;
        args.rule = method == Method::minmax ? ScaleRule::minmax : ScaleRule::mse;
        args.plain = plain;
        args.weights = weights.data();
        args.rows = from.rows;
        args.cols = from.cols;
        args.importance = guide.importance.empty() ? nullptr : guide.importance.data();
        args.values = made.values.data();
        args.scales = made.scales.data();
        std::vector<float> room(feedback_room(target, from.cols));
        const EncodeError error =
            guide.factor ? encode_with_feedback(args, *options.blas, guide.factor, room) : encode(args);
        made.matrix = stored_matrix(target, from.rows, from.cols, plain, args.values, args.scales);
        if (guide.factor) calibration.replace(site, module.role, made.matrix);
        const std::lock_guard lock(mutex);
        result.error += error;
        result.unguided += guided && guide.importance.empty() ? 1 : 0;
        result.modules.emplace(module.name, std::move(made));
      }
    });
  return result;
}

// Lets the model's matrices be the quantized ones, which must live as long.
inline void put_into(Model& model, const InMemory& quantized) {
  for (const auto& [name, module] : quantized.modules)
    const_cast<kernels::Matrix&>(matrix_of(model.layers()[module.layer], module.role, module.expert)) =
        module.matrix;
}

}  // namespace baleen::testing
