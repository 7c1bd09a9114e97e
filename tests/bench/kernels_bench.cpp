// Speed of each kernel, instruction set and format. Decoding walks matrices too large for any cache, so it
// measures how much of the memory's speed a kernel keeps; bytes_per_second counts stored weights and scales,
// and read/... is a plain pass over the same memory. Prefill counts 2 operations for a weight and token;
// peak is what an instruction set does on registers alone. Each thread has its own rows, as in the program.
//
//   kernels_bench --benchmark_filter='decode/avx512' --benchmark_min_time=1
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/dispatch.h"

namespace {

using namespace baleen::kernels;

// Packed activations of 0.5.
class Packed {
 public:
  Packed(const Matmul& matmul, std::size_t tokens, std::size_t cols) {
    const std::vector<float> x(tokens * cols, 0.5f);
    const std::size_t slots = (tokens + matmul.packing->slot_tokens - 1) / matmul.packing->slot_tokens;
    memory_.reset(
        static_cast<std::byte*>(std::aligned_alloc(pack_align, slots * matmul.packing->slot_bytes(cols))));
    matmul.packing->pack({.x = x.data(),
                          .x_stride = cols,
                          .tokens = tokens,
                          .cols = cols,
                          .col_end = cols,
                          .packed = memory_.get()});
  }
  const std::byte* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
};

constexpr std::size_t index_of(Path path) {
  return static_cast<std::size_t>(path);
}

constexpr const char* format_names[] = {"f32", "f16", "bf16", "fp8", "int8", "int4", "mxfp4"};
constexpr std::size_t format_bits[] = {32, 16, 16, 8, 8, 4, 4};

// Every thread's memory: enough that nothing of it is still cached when it comes round again.
constexpr std::size_t stream_bytes = std::size_t{768} << 20;

// Weight memory that all benchmarks read as their own format; any bits will do but NaN, infinity and
// denormals, which bytes between 0x30 and 0x3f are in no format.
const std::byte* weight_memory(std::size_t bytes) {
  static const std::vector<std::byte> memory = [] {
    std::vector<std::byte> m(2 * stream_bytes + (std::size_t{64} << 20));
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i + 8 <= m.size(); i += 8) {
      const std::uint64_t bits = (random() & 0x0f0f0f0f0f0f0f0full) | 0x3030303030303030ull;
      std::memcpy(m.data() + i, &bits, 8);
    }
    return m;
  }();
  return bytes <= memory.size() ? memory.data() : nullptr;
}

Matrix matrix_of(Format format, std::size_t rows, std::size_t cols, const std::byte* values) {
  const auto f = static_cast<std::size_t>(format);
  Matrix m{
      .format = format, .rows = rows, .cols = cols, .row_bytes = cols * format_bits[f] / 8, .values = values};
  if (format == Format::fp8_e4m3) {
    m.block_rows = m.block_cols = 128;
  } else if (format == Format::int8 || format == Format::int4 || format == Format::mxfp4) {
    m.scale_format = format == Format::mxfp4 ? Format::e8m0 : Format::bf16;
    m.block_cols = 32;
  } else {
    return m;
  }
  m.scales = values + rows * m.row_bytes;
  m.scale_cols = (cols + m.block_cols - 1) / m.block_cols;
  return m;
}

std::size_t scale_bytes(const Matrix& m) {
  if (!m.scales) return 0;
  const std::size_t bytes = m.scale_format == Format::f32 ? 4 : m.scale_format == Format::e8m0 ? 1 : 2;
  return (m.rows + m.block_rows - 1) / m.block_rows * m.scale_cols * bytes;
}

void decode(benchmark::State& state, const Kernels* kernels, Format format, std::size_t cols) {
  constexpr Path path = Path::stream;
  const auto f = static_cast<std::size_t>(format);
  const auto tokens = static_cast<std::size_t>(state.range(0));
  const std::size_t rows = (std::size_t{16} << 20) * 8 / format_bits[f] / cols;
  const std::byte* memory =
      weight_memory(2 * stream_bytes) + static_cast<std::size_t>(state.thread_index()) * stream_bytes;
  Matrix m = matrix_of(format, rows, cols, memory);
  const std::size_t bytes = rows * m.row_bytes + scale_bytes(m);
  const Matmul& matmul = kernels->matmul(path, m);
  const Packed x(matmul, tokens, cols);
  std::vector<float> out(tokens * rows);
  std::vector<float> scratch(matmul_scratch(cols));
  const MatmulArgs args{.matrix = &m,
                        .row_end = rows,
                        .packed = x.data(),
                        .tokens = tokens,
                        .out = out.data(),
                        .out_stride = rows,
                        .scratch = scratch.data()};
  std::size_t offset = 0;
  for (auto _ : state) {
    m = matrix_of(format, rows, cols, memory + offset);
    matmul.multiply(args);
    benchmark::ClobberMemory();
    offset = offset + 2 * bytes > stream_bytes ? 0 : offset + bytes;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes));
}

// The bound: nothing but reading, in the pattern that is fastest here, four rows of 4 KiB side by side.
void read_memory(benchmark::State& state) {
  const std::byte* memory =
      weight_memory(2 * stream_bytes) + static_cast<std::size_t>(state.thread_index()) * stream_bytes;
  constexpr std::size_t piece = std::size_t{16} << 20;
  constexpr std::size_t row = 4096;
  constexpr std::size_t rows = 4;
  std::size_t offset = 0;
  for (auto _ : state) {
    std::uint64_t sum[rows] = {};
    for (std::size_t block = 0; block < piece; block += rows * row) {
      const std::byte* at = memory + offset + block;
      for (std::size_t i = 0; i < row; i += 64) {
        for (std::size_t r = 0; r < rows; ++r) {
          // One word of each line brings the line: what the core does with the rest is no part of the bound.
          std::uint64_t word;
          std::memcpy(&word, at + r * row + i, sizeof word);
          sum[r] += word;
          __builtin_prefetch(at + (rows + r) * row + i);
        }
      }
    }
    benchmark::DoNotOptimize(sum);
    offset = (offset + piece) % stream_bytes;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * piece));
}

// Operations a second of all threads together: kIsIterationInvariantRate would count each thread's
// iterations once for every thread.
void count_flops(benchmark::State& state, double operations) {
  state.counters["flops"] =
      benchmark::Counter(operations * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// Matrices one after the other, each by panels of rows as the program hands them out, so that weights come
// from memory; activations are packed once for a matrix.
void prefill(benchmark::State& state, const Kernels* kernels, Format format, std::size_t cols) {
  constexpr Path path = Path::batch;
  constexpr std::size_t rows = 2048;
  constexpr std::size_t panel = 64;
  const auto tokens = static_cast<std::size_t>(state.range(0));
  const std::byte* memory =
      weight_memory(2 * stream_bytes) + static_cast<std::size_t>(state.thread_index()) * stream_bytes;
  Matrix m = matrix_of(format, rows, cols, memory);
  const std::size_t bytes = rows * m.row_bytes + scale_bytes(m);
  const Matmul& matmul = kernels->matmul(path, m);
  const Packed x(matmul, tokens, cols);
  std::vector<float> out(tokens * panel);
  std::vector<float> scratch(matmul_scratch(cols));
  std::size_t offset = 0;
  for (auto _ : state) {
    m = matrix_of(format, rows, cols, memory + offset);
    for (std::size_t row = 0; row < rows; row += panel) {
      matmul.multiply({.matrix = &m,
                       .row_begin = row,
                       .row_end = row + panel,
                       .packed = x.data(),
                       .tokens = tokens,
                       .out = out.data(),
                       .out_stride = panel,
                       .scratch = scratch.data()});
    }
    benchmark::ClobberMemory();
    offset = offset + 2 * bytes > stream_bytes ? 0 : offset + bytes;
  }
  count_flops(state, 2.0 * rows * cols * tokens);
}

void peak(benchmark::State& state, const Kernels* kernels) {
  double operations = 0;
  for (auto _ : state) operations = kernels->peak(10000);
  count_flops(state, operations);
}

void transposed(benchmark::State& state, const Kernels* kernels, Format format, Path path) {
  const auto tokens = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t heads = 128;
  constexpr std::size_t rows = 128;
  constexpr std::size_t cols = 512;
  const Matrix m = matrix_of(format, heads * rows, cols, weight_memory(stream_bytes));
  const std::vector<float> x(tokens * rows, 0.5f);
  std::vector<float> out(tokens * cols);
  std::vector<float> scratch(transposed_scratch(rows, cols));
  for (auto _ : state) {
    for (std::size_t head = 0; head < heads; ++head) {
      kernels->matmul_transposed[index_of(path)][static_cast<std::size_t>(format)](
          {.matrix = &m,
           .row_begin = head * rows,
           .row_end = (head + 1) * rows,
           .x = x.data(),
           .x_stride = rows,
           .tokens = tokens,
           .out = out.data(),
           .out_stride = cols,
           .scratch = scratch.data()});
    }
    benchmark::ClobberMemory();
  }
  count_flops(state, 2.0 * heads * rows * cols * tokens);
}

// MLA: `queries` heads over one latent of 512 + 64 numbers, a context of range(1) positions.
void attention(benchmark::State& state, const Kernels* kernels, KvFormat format, Path path) {
  const auto queries = static_cast<std::size_t>(state.range(0));
  const auto context = static_cast<std::size_t>(state.range(1));
  constexpr std::size_t k_dim = 576;
  constexpr std::size_t v_dim = 512;
  const std::vector<float> q(queries * k_dim, 0.1f);
  std::vector<float> latent(k_dim);
  for (std::size_t i = 0; i < k_dim; ++i) latent[i] = 0.01f * static_cast<float>(i % 17);
  const std::size_t row_bytes = kv_row_bytes(format, k_dim);
  std::vector<std::byte> cache(context * row_bytes);
  for (std::size_t p = 0; p < context; ++p)
    kernels->kv_store(format, latent.data(), k_dim, cache.data() + p * row_bytes);
  const std::vector<std::uint32_t> first(queries, 0);
  const std::vector<std::uint32_t> last(queries, static_cast<std::uint32_t>(context));
  std::vector<SoftmaxState> softmax(queries);
  std::vector<float> out(queries * v_dim);
  std::vector<float> scratch(attention_scratch(queries, k_dim, v_dim));
  for (auto _ : state) {
    kernels->attention[index_of(path)]({.q = q.data(),
                                        .q_stride = k_dim,
                                        .queries = queries,
                                        .first = first.data(),
                                        .last = last.data(),
                                        .kv_format = format,
                                        .keys = cache.data(),
                                        .key_row_bytes = row_bytes,
                                        .k_dim = k_dim,
                                        .values = cache.data(),
                                        .value_row_bytes = row_bytes,
                                        .v_dim = v_dim,
                                        .begin = 0,
                                        .end = context,
                                        .scale = 0.07f,
                                        .state = softmax.data(),
                                        .out = out.data(),
                                        .out_stride = v_dim,
                                        .scratch = scratch.data()});
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * cache.size()));
  count_flops(state, 2.0 * queries * context * (k_dim + v_dim));
}

void elementwise(benchmark::State& state, const Kernels* kernels, bool norm) {
  constexpr std::size_t width = 7168;
  std::vector<float> x(width, 0.5f);
  const std::vector<float> y(width, 1.0f);
  std::vector<float> out(width);
  for (auto _ : state) {
    if (norm) {
      kernels->rms_norm(x.data(), reinterpret_cast<const std::byte*>(y.data()), Format::f32, width, 1e-6f,
                        out.data());
    } else {
      std::memcpy(out.data(), x.data(), width * sizeof(float));
      kernels->silu_mul(out.data(), y.data(), width);
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * width));
}

void register_isa(const UsableTable& table) {
  const Kernels* kernels = table.kernels;
  std::string isa(table.isa);
  if (find_kernels(table.isa) != kernels) isa += "-plain";  // a table for CPUs with fewer features
  benchmark::RegisterBenchmark(("peak/" + isa).c_str(), peak, kernels)->ThreadRange(1, 2)->UseRealTime();
  for (std::size_t f = 0; f < format_count; ++f) {
    const auto format = static_cast<Format>(f);
    const std::string name = isa + "/" + format_names[f];
    for (const std::size_t cols : {std::size_t{7168}, std::size_t{2048}}) {
      benchmark::RegisterBenchmark(("decode/" + name + "/cols:" + std::to_string(cols)).c_str(), decode,
                                   kernels, format, cols)
          ->ArgName("tokens")
          ->Arg(1)
          ->Arg(4)
          ->ThreadRange(1, 2)
          ->UseRealTime();
    }
    for (const std::size_t cols : {std::size_t{7168}, std::size_t{2048}}) {
      benchmark::RegisterBenchmark(("prefill/" + name + "/cols:" + std::to_string(cols)).c_str(), prefill,
                                   kernels, format, cols)
          ->ArgName("tokens")
          ->Arg(16)
          ->Arg(48)
          ->Arg(192)
          ->Arg(256)
          ->ThreadRange(1, 2)
          ->UseRealTime();
    }
    for (const auto& [path, tokens] : {std::pair{Path::stream, 1}, std::pair{Path::batch, 64}}) {
      benchmark::RegisterBenchmark(("transposed/" + name).c_str(), transposed, kernels, format, path)
          ->ArgName("tokens")
          ->Arg(tokens)
          ->UseRealTime();
    }
  }
  for (const auto& [kv, kv_name] : {std::pair{KvFormat::f32, "f32"}, std::pair{KvFormat::bf16, "bf16"},
                                    std::pair{KvFormat::int8, "int8"}}) {
    const std::string name = "attention/" + isa + "/" + kv_name;
    benchmark::RegisterBenchmark((name + "/stream").c_str(), attention, kernels, kv, Path::stream)
        ->ArgNames({"queries", "context"})
        ->Args({16, 512})
        ->UseRealTime();
    benchmark::RegisterBenchmark((name + "/batch").c_str(), attention, kernels, kv, Path::batch)
        ->ArgNames({"queries", "context"})
        ->Args({64, 512})
        ->UseRealTime();
  }
  benchmark::RegisterBenchmark(("rms_norm/" + isa).c_str(), elementwise, kernels, true);
  benchmark::RegisterBenchmark(("silu_mul/" + isa).c_str(), elementwise, kernels, false);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::RegisterBenchmark("read", read_memory)->ThreadRange(1, 2)->UseRealTime();
  for (const UsableTable& table : usable_tables()) register_isa(table);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
