// `--lm-head int8`: the output head in the format of a pack-quantized checkpoint, made at load.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "model/model.h"

namespace baleen {
namespace {

using kernels::Format;
using kernels::Matrix;

constexpr std::size_t group_cols = 32;
constexpr int offset = 128;    // int8's, as compressed-tensors packs it
constexpr int largest = 127;
constexpr std::size_t rows_per_task = 64;

// The least bf16 number that is not below `value`, positive: so that no quotient leaves the range.
std::uint16_t bf16_above(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits >> 16) + ((bits & 0xffff) != 0));
}

float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

// Squares of a row's weights and of what rounding took from them.
struct Squares {
  double weights = 0;
  double errors = 0;
};

Squares round_row(const float* weights, std::size_t cols, std::byte* values, std::byte* scales) {
  Squares squares;
  for (std::size_t begin = 0; begin < cols; begin += group_cols) {
    const std::size_t end = std::min(cols, begin + group_cols);
    float maximum = 0;
    bool finite = true;
    for (std::size_t c = begin; c < end; ++c) {
      finite = finite && std::isfinite(weights[c]);
      maximum = std::max(maximum, std::fabs(weights[c]));
    }
    // A weight that is no number makes its group none, and with it the row's logit, as it did before.
    const std::uint16_t bits = finite ? bf16_above(maximum / largest) : std::uint16_t{0x7fc0};
    const float scale = from_bf16(bits);
    std::copy_n(reinterpret_cast<const std::byte*>(&bits), sizeof bits, scales + begin / group_cols * sizeof bits);
    for (std::size_t c = begin; c < end; ++c) {
      const float quotient = scale > 0 ? std::nearbyint(weights[c] / scale) : 0.0f;
      const int code = static_cast<int>(std::clamp<float>(quotient, -largest, largest));
      values[c] = static_cast<std::byte>(code + offset);
      squares.weights += static_cast<double>(weights[c]) * weights[c];
      const double error = static_cast<double>(scale) * code - weights[c];
      squares.errors += error * error;
    }
  }
  return squares;
}

}  // namespace

RoundedHead Model::round_head(ThreadPool& pool, const kernels::Kernels& kernels) {
  const Matrix stored = global_[Role::lm_head];
  if (stored.format != Format::f32 && stored.format != Format::f16 && stored.format != Format::bf16) return {};
  Matrix head;
  head.format = Format::int8;
  head.scale_format = Format::bf16;
  head.rows = stored.rows;
  head.cols = stored.cols;
  head.row_bytes = (stored.cols + 3) / 4 * 4;
  head.block_cols = group_cols;
  head.scale_cols = (stored.cols + group_cols - 1) / group_cols;
  const std::size_t value_bytes = head.rows * head.row_bytes;
  const std::size_t scale_bytes = head.scale_cols * sizeof(std::uint16_t);
  const std::size_t bytes = value_bytes + head.rows * scale_bytes;
  rounded_head_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
  std::byte* const values = rounded_head_.get();
  std::byte* const scales = values + value_bytes;

  const std::size_t tasks = (head.rows + rows_per_task - 1) / rows_per_task;
  std::vector<Squares> squares(tasks);
  pool.parallel_for(tasks, [&](std::size_t task, std::size_t) {
    std::vector<float> row(head.cols);
    for (std::size_t r = task * rows_per_task; r < std::min(head.rows, (task + 1) * rows_per_task); ++r) {
      kernels.widen_row[static_cast<std::size_t>(stored.format)](stored, r, row.data());
      const Squares more = round_row(row.data(), head.cols, values + r * head.row_bytes, scales + r * scale_bytes);
      squares[task].weights += more.weights;
      squares[task].errors += more.errors;
    }
  });
  Squares all;
  for (const Squares& s : squares) all = {all.weights + s.weights, all.errors + s.errors};

  // The stored head is not needed any more, where it was copied and is not the embedding too.
  if (held_ && stored.values != global_[Role::embed_tokens].values)
    held_->give_up({stored.values, stored.rows * stored.row_bytes});
  rounded_head_bytes_ = bytes;
  head.values = values;
  head.scales = scales;
  global_[Role::lm_head] = head;
  return {bytes, all.weights > 0 ? std::sqrt(all.errors / all.weights) : 0};
}

}  // namespace baleen
