// The most that an instruction set's multiply-adds can do: what `baleen bench` measures products against.
#pragma once

#include "kernels/simd/rows.h"

namespace baleen::kernels {
namespace {

// Twelve sums that do not wait for each other: two units with a latency of four cycles need eight, and 16
// registers hold no more beside the factors. Each converges to 2, so no sum overflows or becomes denormal.
template <class V>
double peak(std::size_t rounds) {
  constexpr std::size_t sums = 12;
  typename V::F sum[sums];
  unrolled<sums>([&](std::size_t i) { sum[i] = V::set1(static_cast<float>(i)); });
  float half = 0.5f;
  __asm__ volatile("" : "+m"(half));  // or the compiler would know the result
  const typename V::F factor = V::set1(half);
  const typename V::F addend = V::set1(1.0f);
  for (std::size_t r = 0; r < rounds; ++r) {
    unrolled<sums>([&](std::size_t i) { sum[i] = V::fma(sum[i], factor, addend); });
  }
  float sink = 0;
  unrolled<sums>([&](std::size_t i) { sink += V::first(sum[i]); });
  __asm__ volatile("" : : "m"(sink));  // or it would see that nobody wants it
  return 2.0 * static_cast<double>(rounds * sums * V::lanes);
}

}  // namespace
}  // namespace baleen::kernels
