#include "cmd/rounded_head.h"

#include "cmd/output.h"
#include "report/units.h"

namespace baleen::cmd {

void round_head_if_asked(const CommonOptions& options, Model& model, ThreadPool& pool,
                         const kernels::Kernels& kernels) {
  if (!options.lm_head_int8) return;
  const RoundedHead head = model.round_head(pool, kernels);
  if (!options.verbose) return;
  write_message(head.bytes == 0 ? "lm_head   stored in 8 bits or less: kept as it is\n"
                                : "lm_head   int8 group 32, " + format_bytes(head.bytes) +
                                      " beside the checkpoint, relative RMS error " +
                                      format_fixed(100 * head.relative_rms_error, 2) + " %\n");
}

}  // namespace baleen::cmd
