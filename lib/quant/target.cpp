#include "quant/target.h"

#include "checkpoint/quantized.h"

namespace baleen {
namespace {

using kernels::Format;

constexpr std::size_t bits(Encoding encoding) {
  return encoding == Encoding::int4 || encoding == Encoding::mxfp4 ? 4 : 8;
}

std::size_t ceil_div(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}

StoredPart part(std::string_view suffix, DType dtype, std::size_t rows, std::size_t cols) {
  return {suffix, dtype, {{rows, cols}, 2}, std::uint64_t{rows} * cols * dtype_bytes(dtype)};
}

// Bytes of a row of values; packed integers come in whole words.
std::size_t row_bytes(Encoding encoding, std::size_t cols) {
  switch (encoding) {
    case Encoding::fp8:
      return cols;
    case Encoding::mxfp4:
      return cols / 2;
    default:
      return ceil_div(cols * bits(encoding), 32) * sizeof(std::int32_t);
  }
}

}  // namespace

bool same_format(const Target& a, const Target& b) {
  const bool own_group = a.encoding == Encoding::fp8 || a.encoding == Encoding::mxfp4;
  return a.encoding == b.encoding && (own_group || a.group == b.group);
}

std::string target_name(const Target& target) {
  switch (target.encoding) {
    case Encoding::fp8:
      return "fp8 128x128";
    case Encoding::mxfp4:
      return "mxfp4";
    default:
      const std::string name = "int" + std::to_string(bits(target.encoding));
      return name + (target.group == whole_row ? " channel" : " group " + std::to_string(target.group));
  }
}

std::size_t group_cols(const Target& target, std::size_t cols) {
  switch (target.encoding) {
    case Encoding::fp8:
      return fp8_block;
    case Encoding::mxfp4:
      return mxfp4_group;
    default:
      return target.group == whole_row ? cols : target.group;
  }
}

bool fits(const Target& target, std::size_t cols) {
  return target.encoding == Encoding::fp8 || cols % group_cols(target, cols) == 0;
}

std::vector<StoredPart> stored_parts(const Target& target, std::size_t rows, std::size_t cols, DType plain) {
  const std::size_t groups = ceil_div(cols, group_cols(target, cols));
  if (target.encoding == Encoding::fp8)
    return {part(".weight", DType::f8_e4m3, rows, cols),
            part(".weight_scale_inv", DType::f32, ceil_div(rows, fp8_block), groups)};
  if (target.encoding == Encoding::mxfp4)
    return {part(".weight_packed", DType::u8, rows, cols / 2),
            part(".weight_scale", DType::u8, rows, groups)};
  return {part(".weight_packed", DType::i32, rows, row_bytes(target.encoding, cols) / sizeof(std::int32_t)),
          part(".weight_scale", plain, rows, groups),
          {".weight_shape", DType::i64, {{2}, 1}, 2 * sizeof(std::int64_t)}};
}

kernels::Matrix stored_matrix(const Target& target, std::size_t rows, std::size_t cols, DType plain,
                              const std::byte* values, const std::byte* scales) {
  kernels::Matrix m;
  m.rows = rows;
  m.cols = cols;
  m.row_bytes = row_bytes(target.encoding, cols);
  m.values = values;
  m.scales = scales;
  m.block_rows = target.encoding == Encoding::fp8 ? fp8_block : 1;
  m.block_cols = group_cols(target, cols);
  m.scale_cols = ceil_div(cols, m.block_cols);
  switch (target.encoding) {
    case Encoding::int4:
      m.format = Format::int4;
      m.scale_format = float_format(plain);
      break;
    case Encoding::int8:
      m.format = Format::int8;
      m.scale_format = float_format(plain);
      break;
    case Encoding::fp8:
      m.format = Format::fp8_e4m3;
      m.scale_format = Format::f32;
      break;
    case Encoding::mxfp4:
      m.format = Format::mxfp4;
      m.scale_format = Format::e8m0;
      break;
  }
  return m;
}

}  // namespace baleen
