// Speed of encode() by target, rule and instruction set, in bytes of the bf16 weights it encodes, widening
// included: a block of rows after the other, as `baleen quantize` does it.
//
//   encode_bench --benchmark_filter='avx512/int4_group_32'
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/dispatch.h"
#include "quant/encode.h"

namespace {

using namespace baleen;

constexpr std::size_t rows = 512;
constexpr std::size_t cols = 2048;
constexpr std::size_t block_rows = 128;

void encode_rows(benchmark::State& state, const kernels::Kernels* kernels, Target target, ScaleRule rule,
                 bool weighed) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<std::uint16_t> weights(rows * cols);
  for (std::uint16_t& weight : weights) {
    const float value = normal(random);
    std::memcpy(&weight, reinterpret_cast<const std::byte*>(&value) + 2, 2);
  }
  const kernels::Matrix matrix{.format = kernels::Format::bf16,
                               .rows = rows,
                               .cols = cols,
                               .row_bytes = 2 * cols,
                               .values = reinterpret_cast<const std::byte*>(weights.data())};
  const auto parts = stored_parts(target, block_rows, cols, DType::bf16);
  std::vector<float> widened(block_rows * cols);
  std::vector<std::byte> values(parts[0].bytes);
  std::vector<std::byte> scales(parts[1].bytes);
  const std::vector<float> importance(cols, 1.5f);
  for (auto _ : state) {
    for (std::size_t row = 0; row < rows; row += block_rows) {
      for (std::size_t r = 0; r < block_rows; ++r)
        kernels->widen_row[static_cast<std::size_t>(matrix.format)](matrix, row + r,
                                                                    widened.data() + r * cols);
      benchmark::DoNotOptimize(encode({.kernels = kernels,
                                       .target = target,
                                       .rule = rule,
                                       .plain = DType::bf16,
                                       .weights = widened.data(),
                                       .rows = block_rows,
                                       .cols = cols,
                                       .importance = weighed ? importance.data() : nullptr,
                                       .values = values.data(),
                                       .scales = scales.data()}));
      benchmark::ClobberMemory();
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * weights.size() * 2));
}

void register_all() {
  for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
    const kernels::Kernels* kernels = kernels::find_kernels(isa);
    if (!kernels) continue;
    for (const Target target :
         {Target{Encoding::int4, 32}, Target{Encoding::int4, 128}, Target{Encoding::int4, whole_row},
          Target{Encoding::int8, 32}, Target{Encoding::fp8, 32}, Target{Encoding::mxfp4, 32}}) {
      for (const auto& [name, rule, weighed] : {std::tuple{"minmax", ScaleRule::minmax, false},
                                                {"mse", ScaleRule::mse, false},
                                                {"weighed", ScaleRule::mse, true}}) {
        std::string label = std::string(isa) + '/' + target_name(target) + '/' + name;
        for (char& c : label) c = c == ' ' ? '_' : c;
        benchmark::RegisterBenchmark(label.c_str(), encode_rows, kernels, target, rule, weighed);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
