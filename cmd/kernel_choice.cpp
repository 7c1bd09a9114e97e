#include "cmd/kernel_choice.h"

#include "error.h"
#include "kernels/dispatch.h"

namespace baleen::cmd {

const kernels::Kernels& choose_kernels(std::string_view isa) {
  if (const kernels::Kernels* kernels = kernels::find_kernels(isa)) return *kernels;
  for (const kernels::IsaInfo& info : kernels::instruction_sets()) {
    if (info.name == isa) {
      throw UsageError("instruction set " + std::string(isa) + ": this processor lacks it; it has " +
                       isa_names(true));
    }
  }
  throw UsageError("instruction set " + std::string(isa) + ": not built into this program; it has " +
                   isa_names(false));
}

std::string describe_kernels(const kernels::Kernels& kernels) {
  std::string text(kernels.name);
  for (const kernels::IsaInfo& info : kernels::instruction_sets()) {
    if (info.name == kernels.name && !info.features.empty()) text += " (" + info.features + ")";
  }
  return text;
}

std::string isa_names(bool usable) {
  std::string names;
  for (const kernels::IsaInfo& info : kernels::instruction_sets()) {
    if (info.available || !usable) names += (names.empty() ? "" : ", ") + std::string(info.name);
  }
  return names;
}

}  // namespace baleen::cmd
