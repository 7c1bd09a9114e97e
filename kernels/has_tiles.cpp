// Whether this process may use tiles, in a file of its own: tests put another answer in its place.
#include "kernels/amx.h"
#include "kernels/x86_cpu.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace baleen::kernels {
namespace {

// Linux gives a process the tiles' 8 KB of state for each thread only if it asks for it: arch_prctl's
// ARCH_REQ_XCOMP_PERM for feature 18, the tiles' data (Documentation/arch/x86/xstate.rst).
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long request_permission = 0x1023;
  constexpr long tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

}  // namespace

bool has_tiles() {
  constexpr std::uint64_t tile_state = 3u << 17;  // configuration and data
  constexpr unsigned amx_bf16 = 1u << 22;
  constexpr unsigned amx_tile = 1u << 24;
  return has_all(saved_state(), tile_state) && has_all(cpuid(7).edx, amx_bf16 | amx_tile) && may_use_tiles();
}

}  // namespace baleen::kernels
