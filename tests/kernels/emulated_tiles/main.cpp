// Runs the tests of a program that the kernels on emulated tiles are linked into; exits with 77 (skipped, for
// ctest) where the processor lacks what the emulation and the rest of these kernels are made of.
#include <doctest/doctest.h>

#include <cstdio>

#include "kernels/dispatch.h"

int main(int argc, char** argv) {
  // What has AVX512-VBMI has all of AVX-512 that the kernels need besides these.
  if (!__builtin_cpu_supports("avx512vbmi") || !__builtin_cpu_supports("avx512vnni") ||
      !__builtin_cpu_supports("avx512bf16")) {
    std::puts("skipped: this processor has no AVX-512 with VBMI, VNNI and BF16");
    return 77;
  }
  if (!baleen::kernels::find_kernels("amx")) {
    std::puts("the kernels on emulated tiles are not among those that can be used");
    return 1;
  }
  return doctest::Context(argc, argv).run();
}
