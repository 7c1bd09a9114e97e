#include "quant/encode.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "checkpoint/quantized.h"

namespace baleen {
namespace {

// Importance as kernels take it: each group's by a power of two between 0 and 2, so that no product leaves
// float32; unit undoes that.
struct GroupImportance {
  std::vector<float> weights;  // [cols], or empty
  std::vector<double> unit;    // [groups]
};

GroupImportance group_importance(const float* importance, std::size_t cols, std::size_t group) {
  GroupImportance made;
  made.unit.assign((cols + group - 1) / group, 1.0);
  if (!importance) return made;
  made.weights.resize(cols);
  for (std::size_t g = 0; g < made.unit.size(); ++g) {
    const std::size_t begin = g * group;
    const std::size_t end = std::min(begin + group, cols);
    const float most = *std::max_element(importance + begin, importance + end);
    const int exponent = most > 0 ? std::ilogb(most) : 0;
    for (std::size_t c = begin; c < end; ++c)
      made.weights[c] = most > 0 ? std::scalbn(importance[c], -exponent) : 1.0f;
    made.unit[g] = most > 0 ? std::scalbn(1.0, exponent) : 0.0;
  }
  return made;
}

EncodeError total(const std::vector<kernels::EncodeSums>& sums, const double* unit) {
  EncodeError error;
  for (const kernels::EncodeSums& group : sums) {
    if (std::isfinite(group.norm)) {
      error.error += *unit * group.error;
      error.norm += *unit * group.norm;
    } else {
      error.finite = false;
    }
    ++unit;
  }
  return error;
}

}  // namespace

EncodeError encode(const EncodeArgs& a) {
  const kernels::Matrix stored = stored_matrix(a.target, a.rows, a.cols, a.plain, a.values, a.scales);
  const std::size_t group = stored.block_cols;
  const GroupImportance importance = group_importance(a.importance, a.cols, group);
  const bool blocks = a.target.encoding == Encoding::fp8;
  std::vector<kernels::EncodeSums> sums(blocks ? 1 : stored.scale_cols);
  std::vector<std::uint8_t> scratch(a.cols + 64);
  const std::vector<StoredPart> parts = stored_parts(a.target, 1, a.cols, a.plain);
  const std::size_t scale_row = parts[1].bytes;

  kernels::EncodeArgs args;
  args.plain = float_format(a.plain);
  args.search = a.rule == ScaleRule::mse;
  args.x_stride = a.cols;
  args.value_stride = stored.row_bytes;
  args.sums = sums.data();
  args.scratch = scratch.data();
  EncodeError error;
  if (blocks) {
    for (std::size_t row = 0; row < a.rows; row += fp8_block) {
      args.rows = std::min(fp8_block, a.rows - row);
      for (std::size_t c = 0; c < a.cols; c += fp8_block) {
        args.x = a.weights + row * a.cols + c;
        args.cols = args.group = std::min(fp8_block, a.cols - c);
        args.importance = a.importance ? importance.weights.data() + c : nullptr;
        args.values = a.values + row * stored.row_bytes + c;
        args.scales = a.scales + row / fp8_block * scale_row + c / fp8_block * sizeof(float);
        a.kernels->encode.fp8(args);
        error += total(sums, importance.unit.data() + c / fp8_block);
      }
    }
    return error;
  }
  const kernels::Encoders& encode = a.kernels->encode;
  const auto encode_row = a.target.encoding == Encoding::int8    ? encode.int8
                          : a.target.encoding == Encoding::mxfp4 ? encode.mxfp4
                                                                 : encode.int4;
  args.cols = a.cols;
  args.group = group;
  args.importance = a.importance ? importance.weights.data() : nullptr;
  for (std::size_t row = 0; row < a.rows; ++row) {
    args.x = a.weights + row * a.cols;
    args.values = a.values + row * stored.row_bytes;
    args.scales = a.scales + row * scale_row;
    encode_row(args);
    error += total(sums, importance.unit.data());
  }
  return error;
}

}  // namespace baleen
