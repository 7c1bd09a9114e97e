// The instruction set that --isa or $BALEEN_ISA asks for.
#pragma once

#include <string>
#include <string_view>

#include "kernels/kernels.h"

namespace baleen::cmd {

// Throws UsageError naming those that there are if this program or this processor lacks it.
const kernels::Kernels& choose_kernels(std::string_view isa);

// "avx512 (avx512f avx512bw)"
std::string describe_kernels(const kernels::Kernels& kernels);

// Names of the instruction sets that this program was built with, best first; `usable`: of those that this
// processor has.
std::string isa_names(bool usable);

}  // namespace baleen::cmd
