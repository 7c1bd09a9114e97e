// --lm-head int8, for every subcommand that runs a model.
#pragma once

#include "cmd/common_options.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "runtime/thread_pool.h"

namespace baleen::cmd {

// Rounds the output head if the options ask for it; with -v says what that took.
void round_head_if_asked(const CommonOptions&, Model&, ThreadPool&, const kernels::Kernels&);

}  // namespace baleen::cmd
