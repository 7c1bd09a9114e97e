#include "quant/job.h"

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/mapped_file.h"
#include "checkpoint/page_cache.h"
#include "error.h"
#include "model/forward.h"
#include "quant/gptq.h"

namespace baleen {
namespace {

// Numbers that are widened at a time: they stay in the second-level cache.
constexpr std::size_t block_numbers = std::size_t{1} << 16;
// Bytes that are copied at a time.
constexpr std::size_t block_bytes = std::size_t{4} << 20;

struct Scratch {
  std::vector<float> weights;
  std::vector<float> feedback;
  std::vector<std::byte> values;
  std::vector<std::byte> scales;
};

// What guides the encoding of a module; nothing where it was not calibrated.
struct Guidance {
  const Blas* blas = nullptr;
  Guide guide = {};
};

std::size_t rows_at_once(const Target& target, std::size_t cols, const Guidance& guidance) {
  if (guidance.guide.factor != nullptr) return feedback_panel;
  if (target.encoding == Encoding::fp8) return fp8_block;
  return std::max<std::size_t>(1, block_numbers / cols);
}

// One module's way from source to output.
class ModuleJob {
 public:
  ModuleJob(const SourceModule& module, const PlannedModule& planned, std::span<const PlannedTensor> tensors,
            const Output& output, StreamedReading& reading, const JobOptions& options, Scratch& scratch,
            const Guidance& guidance = {})
      : module_(module),
        planned_(planned),
        reading_(reading),
        options_(options),
        scratch_(scratch),
        guidance_(guidance) {
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
  void copy() {
    for (std::size_t t = 0; t < writers_.size(); ++t) {
      const std::size_t size = module_.tensors[t]->bytes;
      StreamedRange range(reading_, {module_.tensors[t]->data, size});
      for (std::size_t at = 0; at < size; at += block_bytes) {
        check_cancelled(options_.cancel);
        writers_[t].append(range.ready(at, std::min(size, at + block_bytes)));
      }
    }
  }

  // Hands out the matrix as float32, some rows at a time: use(first row, rows, numbers).
  template <typename Use>
  void for_each_block(std::size_t step, const Use& use) {
    const kernels::Matrix& m = module_.weight->matrix;
    const auto widen_row = options_.kernels->widen_row[static_cast<std::size_t>(m.format)];
    scratch_.weights.resize(std::min(step, m.rows) * m.cols);
    StreamedRange range(reading_, {m.values, m.rows * m.row_bytes});
    for (std::size_t row = 0; row < m.rows; row += step) {
      check_cancelled(options_.cancel);
      const std::size_t rows = std::min(step, m.rows - row);
      range.ready(row * m.row_bytes, (row + rows) * m.row_bytes);
      for (std::size_t r = 0; r < rows; ++r) widen_row(m, row + r, scratch_.weights.data() + r * m.cols);
      use(row, rows, scratch_.weights.data());
    }
  }

  void widen() {
    const std::size_t cols = module_.weight->matrix.cols;
    const std::size_t row_bytes = cols * dtype_bytes(module_.plain);
    for_each_block(std::max<std::size_t>(1, block_numbers / cols),
                   [&](std::size_t, std::size_t rows, const float* weights) {
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
    for_each_block(rows_at_once(target, cols, guidance_),
                   [&](std::size_t row, std::size_t rows, const float* weights) {
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
                     if (!guidance_.guide.importance.empty())
                       args.importance = guidance_.guide.importance.data();
                     const EncodeError error = encode_block(args);
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

  EncodeError encode_block(const EncodeArgs& args) {
    const float* const factor = guidance_.guide.factor;
    if (factor == nullptr) return encode(args);
    scratch_.feedback.resize(feedback_room(args.target, args.cols));
    return encode_with_feedback(args, *guidance_.blas, factor, scratch_.feedback);
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
  const Guidance guidance_;
  std::vector<TensorWriter> writers_;
  ModuleResult result_;
};

// Layer after layer; what is encoded is read where it was written.
class CalibratedJob {
 public:
  CalibratedJob(const Source& source, const Plan& plan, Output& output, const JobOptions& options,
                const CalibrationOptions& calibration_options, Calibration& calibration, std::size_t threads)
      : source_(source),
        plan_(plan),
        output_(output),
        options_(options),
        blas_(calibration_options.blas),
        calibration_(calibration),
        reading_(source.dir(), source.model().checkpoint()),
        scratch_(threads),
        done_(options.on_progress) {
    for (std::size_t i = 0; i < source.modules().size(); ++i) number_[source.modules()[i].name] = i;
    for (const PlannedShard& shard : plan.shards) written_.emplace_back(output.partial() / shard.name);
  }

  CalibrationResult run() {
    while (calibration_.next())
      calibration_.for_each_site([this](const Site& site, std::size_t lane) { encode_site(site, lane); });
    output_.flush();
    return result_;
  }

 private:
  void encode_site(const Site& site, std::size_t lane) {
    std::optional<Guidance> guidance;  // costly: not for what is done already
    for (const Site::Module& module : site.modules) {
      const auto found = number_.find(module.name);
      if (found == number_.end() || plan_.modules[found->second].work != Work::encode) continue;
      const std::size_t i = found->second;
      if (!output_.result(i)) {
        if (!guidance) guidance = Guidance{blas_, calibration_.guide(site, lane)};
        output_.finish(i, ModuleJob(source_.modules()[i], plan_.modules[i], plan_.tensors_of(i), output_,
                                    reading_, options_, scratch_[lane], *guidance)
                              .run());
        count(guidance->guide);
      }
      calibration_.replace(site, module.role, written_matrix(i));
      done_.add(source_.modules()[i].bytes());
    }
  }

  kernels::Matrix written_matrix(std::size_t i) const {
    const auto bytes = [&](std::size_t tensor) {
      const PlannedTensor& planned = plan_.tensors_of(i)[tensor];
      return written_[planned.shard].bytes().data() + planned.offset;
    };
    const SourceModule& module = source_.modules()[i];
    const kernels::Matrix& m = module.weight->matrix;
    return stored_matrix(*plan_.modules[i].decision.target, m.rows, m.cols, module.plain, bytes(0), bytes(1));
  }

  void count(const Guide& guide) {
    const std::lock_guard lock(mutex_);
    if (guide.importance.empty()) {
      ++result_.unguided;
    } else {
      ++result_.guided;
      result_.most_damping = std::max(result_.most_damping, guide.damping);
    }
  }

  const Source& source_;
  const Plan& plan_;
  Output& output_;
  const JobOptions& options_;
  const Blas* blas_;
  Calibration& calibration_;
  StreamedReading reading_;
  std::vector<Scratch> scratch_;
  BytesDone done_;
  std::unordered_map<std::string_view, std::size_t> number_;
  std::vector<MappedFile> written_;
  std::mutex mutex_;
  CalibrationResult result_;
};

}  // namespace

void write_modules(const Source& source, const Plan& plan, Output& output, ThreadPool& pool,
                   const JobOptions& options) {
  StreamedReading reading(source.dir(), source.model().checkpoint());
  std::vector<Scratch> scratch(pool.size());
  BytesDone done(options.on_progress);
  std::vector<std::size_t> left;
  for (std::size_t i = 0; i < plan.modules.size(); ++i) {
    if (!output.result(i))
      left.push_back(i);
    else
      done.add(source.modules()[i].bytes());
  }
  pool.parallel_for(left.size(), [&](std::size_t at, std::size_t thread) {
    const std::size_t i = left[at];
    const SourceModule& module = source.modules()[i];
    // What this thread is likely to come to next is read while this module is computed.
    if (at + pool.size() < left.size())
      for (const Tensor* const tensor : source.modules()[left[at + pool.size()]].tensors)
        reading.soon({tensor->data, tensor->bytes});
    output.finish(
        i, ModuleJob(module, plan.modules[i], plan.tensors_of(i), output, reading, options, scratch[thread])
               .run());
    done.add(module.bytes());
  });
  output.flush();
}

CalibrationResult write_calibrated(const Source& source, const Plan& plan, Output& output, ThreadPool& pool,
                                   const JobOptions& options, std::span<const TokenId> ids,
                                   CalibrationOptions calibration_options) {
  calibration_options.kernels = options.kernels;
  calibration_options.cancel = options.cancel;
  calibration_options.folder = output.partial();
  Calibration calibration(source.model(), ids, pool, calibration_options);
  return CalibratedJob(source, plan, output, options, calibration_options, calibration, pool.size()).run();
}

}  // namespace baleen
