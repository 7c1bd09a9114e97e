#include "quant/sample.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "checkpoint/page_cache.h"
#include "error.h"
#include "model/forward.h"

namespace baleen {
namespace {

// Bytes of weights that are read for a sample at most, unless that is less than a block of rows each.
constexpr double sample_bytes = 1e9;

std::size_t rows_of_block(const Target& target) {
  return target.encoding == Encoding::fp8 ? fp8_block : 1;
}

}  // namespace

std::vector<EncodeError> sample_errors(const Source& source, std::span<const std::optional<Target>> targets,
                                       ThreadPool& pool, const SampleOptions& options) {
  const std::vector<SourceModule>& modules = source.modules();
  double all_bytes = 0;
  for (std::size_t i = 0; i < modules.size(); ++i)
    if (targets[i]) all_bytes += static_cast<double>(modules[i].bytes());
  const double share = std::min(1.0, sample_bytes / std::max(1.0, all_bytes));
  StreamedReading reading(source.dir(), source.model().checkpoint());
  std::vector<EncodeError> errors(modules.size());
  BytesDone done(options.on_progress);
  pool.parallel_for(modules.size(), [&](std::size_t i, std::size_t) {
    if (targets[i]) {
      const Target& target = *targets[i];
      const kernels::Matrix& m = modules[i].weight->matrix;
      const std::size_t block = rows_of_block(target);
      const std::size_t blocks = (m.rows + block - 1) / block;
      const auto wanted = std::clamp<std::size_t>(
          static_cast<std::size_t>(std::ceil(share * static_cast<double>(blocks))), 1, blocks);
      std::vector<float> weights(block * m.cols);
      const std::vector<StoredPart> parts = stored_parts(target, block, m.cols, modules[i].plain);
      std::vector<std::byte> values(parts[0].bytes);
      std::vector<std::byte> scales(parts[1].bytes);
      const CompanionReading companions(modules[i], reading);
      std::size_t sampled = 0;
      for (std::size_t b = 0; b < wanted; ++b) {
        check_cancelled(options.cancel);
        const std::size_t row = b * blocks / wanted * block;
        const std::size_t rows = std::min(block, m.rows - row);
        const std::span<const std::byte> bytes(m.values + row * m.row_bytes, rows * m.row_bytes);
        reading.will_read(bytes);
        for (std::size_t r = 0; r < rows; ++r)
          options.kernels->widen_row[static_cast<std::size_t>(m.format)](m, row + r,
                                                                         weights.data() + r * m.cols);
        reading.was_read(bytes);
        EncodeArgs args;
        args.kernels = options.kernels;
        args.target = target;
        args.rule = options.rule;
        args.plain = modules[i].plain;
        args.weights = weights.data();
        args.rows = rows;
        args.cols = m.cols;
        args.values = values.data();
        args.scales = scales.data();
        errors[i] += encode(args);
        sampled += rows;
      }
      const double scale = static_cast<double>(m.rows) / static_cast<double>(sampled);
      errors[i].error *= scale;
      errors[i].norm *= scale;
    }
    done.add(modules[i].bytes());
  });
  return errors;
}

}  // namespace baleen
