#include "quant/gptq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "quant/codes.h"

namespace baleen {
namespace {

// Columns whose errors go to each other one by one; those behind them get the errors of all of them in one
// product ("lazy batch updates", section 3.3 of the paper).
constexpr std::size_t block_cols = 128;
// Doublings of the damping: from a hundredth of the mean diagonal to more than a thousand times it.
constexpr int most_doublings = 18;

// At most feedback_panel rows of a module at work.
class Panel {
 public:
  Panel(const EncodeArgs& args, const Blas& blas, const float* factor, std::span<float> room)
      : args_(args),
        blas_(blas),
        factor_(factor),
        cols_(args.cols),
        group_(group_cols(args.target, args.cols)),
        groups_((args.cols + group_ - 1) / group_),
        weights_(room.data()),
        errors_(weights_ + feedback_panel * cols_),
        slab_(errors_ + feedback_panel * block_cols),
        scale_bytes_(stored_parts(args.target, args.rows, args.cols, args.plain)[1].bytes /
                     (scale_rows() * groups_)),
        slab_values_(args.rows * (group_ + sizeof(std::int32_t))),
        slab_scales_(args.rows * scale_bytes_),
        scales_(args.rows),
        codes_(args.rows * args.cols) {
    for (std::size_t code = 0; code < values_.size(); ++code)
      values_[code] = code_value(args.target.encoding, static_cast<std::uint8_t>(code));
  }

  EncodeError run() {
    for (std::size_t i = 0; i < args_.rows * cols_; ++i) {
      const bool finite = std::isfinite(args_.weights[i]);
      weights_[i] = finite ? args_.weights[i] : 0.0f;  // else it would spoil all columns behind it
      sums_.finite = sums_.finite && finite;
    }
    for (std::size_t begin = 0, end = 0; begin < cols_; begin = end) {
      end = block_end(begin);
      for (std::size_t col = begin; col < end; ++col) {
        if (col % group_ == 0) find_scales(col / group_);
        round_column(col, begin, end);
      }
      blas_.subtract_product(args_.rows, cols_ - end, end - begin, errors_, block_cols,
                             factor_ + begin * cols_ + end, cols_, weights_ + end, cols_);
    }
    write_values();
    return sums_;
  }

 private:
  std::size_t scale_rows() const {
    return args_.target.encoding == Encoding::fp8 ? (args_.rows + fp8_block - 1) / fp8_block : args_.rows;
  }

  // A group begins with its weights up to date: inside a block, or with one.
  std::size_t block_end(std::size_t begin) const {
    if (group_ <= block_cols) return std::min(cols_, begin + block_cols / group_ * group_);
    return std::min({cols_, begin + block_cols, (begin / group_ + 1) * group_});
  }

  // Encodes the group alone, as its weights are now, for its scales.
  void find_scales(std::size_t group) {
    const std::size_t begin = group * group_;
    const std::size_t width = std::min(group_, cols_ - begin);
    for (std::size_t r = 0; r < args_.rows; ++r)
      std::copy_n(weights_ + r * cols_ + begin, width, slab_ + r * width);
    EncodeArgs part = args_;
    part.weights = slab_;
    part.cols = width;
    part.importance = args_.importance ? args_.importance + begin : nullptr;
    part.values = slab_values_.data();
    part.scales = slab_scales_.data();
    encode(part);
    for (std::size_t i = 0; i < scale_rows(); ++i)
      std::memcpy(args_.scales + (i * groups_ + group) * scale_bytes_, &slab_scales_[i * scale_bytes_],
                  scale_bytes_);
    for (std::size_t r = 0; r < args_.rows; ++r) {
      const std::size_t row = args_.target.encoding == Encoding::fp8 ? r / fp8_block : r;
      scales_[r] = stored_scale(args_.target, args_.plain, args_.scales, row * groups_ + group);
    }
  }

  // Equations 2 and 3 of the paper, for all rows.
  void round_column(std::size_t col, std::size_t begin, std::size_t end) {
    const float* u = factor_ + col * cols_;
    const double importance = args_.importance ? args_.importance[col] : 1;
    for (std::size_t r = 0; r < args_.rows; ++r) {
      float* w = weights_ + r * cols_;
      const std::uint8_t code = code_of(args_.target.encoding, w[col] / scales_[r]);
      const float stored = values_[code] * scales_[r];
      codes_[r * cols_ + col] = code;
      if (const double before = args_.weights[r * cols_ + col]; std::isfinite(before)) {
        sums_.error += importance * (stored - before) * (stored - before);
        sums_.norm += importance * before * before;
      }
      const float error = (w[col] - stored) / u[col];
      errors_[r * block_cols + col - begin] = error;
      args_.kernels->axpy(-error, u + col + 1, w + col + 1, end - col - 1);
    }
  }

  void write_values() {
    const std::size_t row_bytes =
        stored_parts(args_.target, args_.rows, cols_, args_.plain)[0].bytes / args_.rows;
    for (std::size_t r = 0; r < args_.rows; ++r)
      pack_codes(args_.target.encoding, &codes_[r * cols_], cols_, args_.values + r * row_bytes);
  }

  const EncodeArgs& args_;
  const Blas& blas_;
  const float* factor_;  // [cols, cols], upper
  std::size_t cols_, group_, groups_;
  float* weights_;  // [rows, cols]
  float* errors_;   // [rows, block_cols]: of the block's columns, over the factor's diagonal
  float* slab_;     // [rows, group]
  std::size_t scale_bytes_;
  std::vector<std::byte> slab_values_, slab_scales_;
  std::vector<float> scales_;        // [rows], of the group at hand
  std::vector<std::uint8_t> codes_;  // [rows, cols]
  std::array<float, 256> values_{};  // of codes
  EncodeError sums_;
};

}  // namespace

// With J the reversal of rows and columns and J H J = L L^T, H = (J L J) (J L J)^T, where J L J is upper
// triangular; so U = (J L J)^-1 = J L^-1 J. In memory J reverses the whole matrix. That is one factorization
// and one inversion of a triangle, where the paper's code inverts H and factors that.
std::optional<double> feedback_factor(const Blas& blas, std::size_t cols, float* hessian) {
  std::reverse(hessian, hessian + cols * cols);  // the lower triangle now, to which the upper one is the copy
  std::vector<float> diagonal(cols);
  double mean = 0;
  for (std::size_t c = 0; c < cols; ++c) {
    diagonal[c] = hessian[c * cols + c];
    mean += diagonal[c] / static_cast<double>(cols);
  }
  if (!(mean > 0) || !std::isfinite(mean)) return std::nullopt;
  for (std::size_t r = 0; r < cols; ++r)
    for (std::size_t c = 0; c < r; ++c) hessian[c * cols + r] = hessian[r * cols + c];

  double damping = gptq_damping;
  for (int i = 0; i <= most_doublings; ++i, damping *= 2) {
    for (std::size_t r = 0; r < cols; ++r) {
      for (std::size_t c = 0; c < r; ++c) hessian[r * cols + c] = hessian[c * cols + r];
      hessian[r * cols + r] = static_cast<float>(diagonal[r] + damping * mean);
    }
    if (!blas.cholesky(cols, hessian) || !blas.invert_lower(cols, hessian)) continue;
    for (std::size_t r = 0; r < cols; ++r)
      std::fill(hessian + r * cols + r + 1, hessian + (r + 1) * cols, 0.0f);
    std::reverse(hessian, hessian + cols * cols);
    const bool finite = std::all_of(hessian, hessian + cols * cols, [](float x) { return std::isfinite(x); });
    return finite ? std::optional(damping) : std::nullopt;
  }
  return std::nullopt;
}

std::size_t feedback_room(const Target& target, std::size_t cols) {
  return feedback_panel * (cols + block_cols + group_cols(target, cols));
}

EncodeError encode_with_feedback(const EncodeArgs& args, const Blas& blas, const float* factor,
                                 std::span<float> room) {
  EncodeError sums;
  const auto parts = stored_parts(args.target, args.rows, args.cols, args.plain);
  const std::size_t row_bytes = parts[0].bytes / args.rows;
  for (std::size_t row = 0; row < args.rows; row += feedback_panel) {
    EncodeArgs panel = args;
    panel.rows = std::min(feedback_panel, args.rows - row);
    panel.weights += row * args.cols;
    panel.values += row * row_bytes;
    const std::size_t scale_row = args.target.encoding == Encoding::fp8 ? row / fp8_block : row;
    panel.scales += scale_row * (parts[1].bytes / parts[1].shape.dim[0]);
    sums += Panel(panel, blas, factor, room).run();
  }
  return sums;
}

}  // namespace baleen
