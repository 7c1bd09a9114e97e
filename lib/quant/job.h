// The work itself: module by module from the source to the output.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "kernels/kernels.h"
#include "quant/encode.h"
#include "quant/output.h"
#include "quant/plan.h"
#include "quant/source.h"
#include "runtime/thread_pool.h"

namespace baleen {

struct JobOptions {
  const kernels::Kernels* kernels = nullptr;
  ScaleRule rule = ScaleRule::mse;
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(std::uint64_t bytes)> on_progress = {};  // of the source, done; one call at a time
};

// Writes every module that the output lacks, each by one thread, a block of rows at a time: some megabytes of
// memory for a thread, whatever the size of the checkpoint. Throws Cancelled, with what is done kept, and
// Error for a weight that is not finite.
void write_modules(const Source&, const Plan&, Output&, ThreadPool&, const JobOptions&);

}  // namespace baleen
