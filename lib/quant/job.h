// The work itself: module by module from the source to the output.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>

#include "kernels/kernels.h"
#include "quant/bytes_done.h"
#include "quant/calibration.h"
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
  OnBytes on_progress = {};  // of the source's weights that are done
};

// Writes every module that the output lacks, each by one thread, a block of rows at a time: some megabytes of
// memory for a thread, whatever the size of the checkpoint. Throws Cancelled, with what is done kept, and
// Error for a weight that is not finite.
void write_modules(const Source&, const Plan&, Output&, ThreadPool&, const JobOptions&);

// How calibration went.
struct CalibrationResult {
  std::size_t guided = 0;    // modules that were encoded by what they read
  std::size_t unguided = 0;  // that too few tokens reached
  double most_damping = 0;   // that a Hessian took, as a share of its mean diagonal
};

// Writes every module that the output lacks and that reads anything when the model reads `ids`, layer after
// layer, guided by its inputs: their second moments weigh squared errors, and with CalibrationOptions::blas
// errors are fed back by their Hessian (GPTQ). Later modules read what the earlier ones make in their stored
// form. What is left is for write_modules. Throws as that does.
CalibrationResult write_calibrated(const Source&, const Plan&, Output&, ThreadPool&, const JobOptions&,
                                   std::span<const TokenId> ids, CalibrationOptions);

}  // namespace baleen
