#include "quant/job.h"

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

#include "checkpoint/page_cache.h"
#include "error.h"
#include "model/forward.h"

namespace baleen {
namespace {

// Numbers that are widened at a time: they stay in the second-level cache.
constexpr std::size_t block_numbers = std::size_t{1} << 16;
// Bytes that are copied at a time.
constexpr std::size_t block_bytes = std::size_t{4} << 20;

struct Scratch {
  std::vector<float> weights;
  std::vector<std::byte> values;
  std::vector<std::byte> scales;
};

std::size_t rows_at_once(const Target* target, std::size_t cols) {
  if (target != nullptr && target->encoding == Encoding::fp8) return fp8_block;
  return std::max<std::size_t>(1, block_numbers / cols);
}

// One module's way from source to output.
class ModuleJob {
 public:
  ModuleJob(const SourceModule& module, const PlannedModule& planned, std::span<const PlannedTensor> tensors,
            const Output& output, StreamedReading& reading, const JobOptions& options, Scratch& scratch)
      : module_(module), planned_(planned), reading_(reading), options_(options), scratch_(scratch) {
    for (const PlannedTensor& tensor : tensors) writers_.emplace_back(output, tensor);
  }

  ModuleResult run() {
    const CompanionReading companions(module_, reading_);
    switch (planned_.work) {
      case Work::copy:
        copy();
        break;
      case Work::widen:
        widen();
        break;
      case Work::encode:
        encode_rows();
        break;
    }
    for (TensorWriter& writer : writers_) result_.checksums.push_back(writer.finish());
    return std::move(result_);
  }

 private:
  void check_cancelled() const {
    if (options_.cancel && options_.cancel->load(std::memory_order_relaxed)) throw Cancelled();
  }

  void copy() {
    for (std::size_t t = 0; t < writers_.size(); ++t) {
      const std::span<const std::byte> all(module_.tensors[t]->data, module_.tensors[t]->bytes);
      for (std::size_t at = 0; at < all.size(); at += block_bytes) {
        check_cancelled();
        const auto bytes = all.subspan(at, std::min(block_bytes, all.size() - at));
        reading_.will_read(bytes);
        writers_[t].append(bytes);
        reading_.was_read(bytes);
      }
    }
  }

  // Hands out the matrix as float32, some rows at a time: use(first row, rows, numbers).
  template <typename Use>
  void for_each_block(std::size_t step, const Use& use) {
    const kernels::Matrix& m = module_.weight->matrix;
    const auto widen_row = options_.kernels->widen_row[static_cast<std::size_t>(m.format)];
    scratch_.weights.resize(std::min(step, m.rows) * m.cols);
    for (std::size_t row = 0; row < m.rows; row += step) {
      check_cancelled();
      const std::size_t rows = std::min(step, m.rows - row);
      const std::span<const std::byte> bytes(m.values + row * m.row_bytes, rows * m.row_bytes);
      reading_.will_read(bytes);
      for (std::size_t r = 0; r < rows; ++r) widen_row(m, row + r, scratch_.weights.data() + r * m.cols);
      reading_.was_read(bytes);
      use(row, rows, scratch_.weights.data());
    }
  }

  void widen() {
    const std::size_t cols = module_.weight->matrix.cols;
    const std::size_t row_bytes = cols * dtype_bytes(module_.plain);
    for_each_block(rows_at_once(nullptr, cols), [&](std::size_t, std::size_t rows, const float* weights) {
      scratch_.values.resize(rows * row_bytes);
      // What was quantized becomes bf16, rounded as the KV cache is.
      for (std::size_t r = 0; r < rows; ++r)
        options_.kernels->kv_store(kernels::KvFormat::bf16, weights + r * cols, cols,
                                   scratch_.values.data() + r * row_bytes);
      writers_[0].append(scratch_.values);
    });
  }

  void encode_rows() {
    const Target& target = *planned_.decision.target;
    const std::size_t cols = module_.weight->matrix.cols;
    for_each_block(rows_at_once(&target, cols), [&](std::size_t row, std::size_t rows, const float* weights) {
      const std::vector<StoredPart> parts = stored_parts(target, rows, cols, module_.plain);
      scratch_.values.resize(parts[0].bytes);
      scratch_.scales.resize(parts[1].bytes);
      EncodeArgs args;
      args.kernels = options_.kernels;
      args.target = target;
      args.rule = options_.rule;
      args.plain = module_.plain;
      args.weights = weights;
      args.rows = rows;
      args.cols = cols;
      args.values = scratch_.values.data();
      args.scales = scratch_.scales.data();
      const EncodeError error = encode(args);
      if (!error.finite) throw_not_finite(row, rows);
      result_.error += error;
      writers_[0].append(scratch_.values);
      writers_[1].append(scratch_.scales);
    });
    if (writers_.size() > 2) {
      const std::int64_t shape[] = {static_cast<std::int64_t>(module_.weight->matrix.rows),
                                    static_cast<std::int64_t>(cols)};
      writers_[2].append(std::as_bytes(std::span(shape)));
    }
  }

  [[noreturn]] void throw_not_finite(std::size_t row, std::size_t rows) const {
    throw FormatError(module_.tensors[0]->file,
                      std::string(module_.tensors[0]->name) + ": a weight that is not finite in rows " +
                          std::to_string(row) + " to " + std::to_string(row + rows - 1));
  }

  const SourceModule& module_;
  const PlannedModule& planned_;
  StreamedReading& reading_;
  const JobOptions& options_;
  Scratch& scratch_;
  std::vector<TensorWriter> writers_;
  ModuleResult result_;
};

}  // namespace

void write_modules(const Source& source, const Plan& plan, Output& output, ThreadPool& pool,
                   const JobOptions& options) {
  StreamedReading reading(source.dir(), source.model().checkpoint());
  std::vector<Scratch> scratch(pool.size());
  std::mutex mutex;
  std::uint64_t done = 0;
  const auto progress = [&](std::uint64_t bytes) {
    const std::lock_guard lock(mutex);
    done += bytes;
    if (options.on_progress) options.on_progress(done);
  };
  pool.parallel_for(plan.modules.size(), [&](std::size_t i, std::size_t thread) {
    const SourceModule& module = source.modules()[i];
    if (!output.result(i))
      output.finish(
          i, ModuleJob(module, plan.modules[i], plan.tensors_of(i), output, reading, options, scratch[thread])
                 .run());
    progress(module.bytes());
  });
  output.flush();
}

}  // namespace baleen
