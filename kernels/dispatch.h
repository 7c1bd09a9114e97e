// Which instruction sets are built into this program and which of them this machine has. Apart from kernels.h
// because files compiled for one instruction set must not see the standard library's containers: a function
// the compiler emits there could be the copy that the linker keeps for every machine.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "kernels/kernels.h"

namespace baleen::kernels {

struct IsaInfo {
  std::string_view name;  // as in --isa
  bool available;         // CPU and operating system have it
  std::string features;   // what its kernels make use of, in the words of /proc/cpuinfo: "avx2 fma f16c"
};

// The instruction sets built into this program, best first; the last one is scalar.
std::span<const IsaInfo> instruction_sets();

}  // namespace baleen::kernels
