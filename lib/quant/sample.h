// What quantizing will cost, measured on some rows of every module.
#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "quant/bytes_done.h"
#include "quant/encode.h"
#include "quant/source.h"
#include "quant/target.h"
#include "runtime/thread_pool.h"

namespace baleen {

struct SampleOptions {
  const kernels::Kernels* kernels = nullptr;
  ScaleRule rule = ScaleRule::mse;
  const std::atomic<bool>* cancel = nullptr;
  OnBytes on_progress = {};
};

// The error of storing each module as its target, scaled up from rows spread evenly over it: all of them in a
// small model, about a gigabyte in a large one. Modules without a target have none. Throws Cancelled.
std::vector<EncodeError> sample_errors(const Source&, std::span<const std::optional<Target>> targets,
                                       ThreadPool&, const SampleOptions&);

}  // namespace baleen
