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

// The instruction sets built into this program, best first; the last one is scalar. Of one that comes with
// several tables, for CPUs with more features and fewer, this is the best that can be used.
std::span<const IsaInfo> instruction_sets();

// Every table that this machine can use, better ones of the same instruction set first: for tests and
// benchmarks of those that find_kernels passes over.
struct UsableTable {
  std::string_view isa;
  std::string features;
  const Kernels* kernels;
};
std::span<const UsableTable> usable_tables();

}  // namespace baleen::kernels
