#include "checkpoint/quantized.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "checkpoint/quantization_rules.h"

namespace baleen {

namespace {

using kernels::Format;
using kernels::Matrix;

std::size_t ceil_div(std::size_t a, std::size_t b) {
  return (a + b - 1) / b;
}

Shape shape_of(std::initializer_list<std::size_t> dims) {
  Shape shape;
  for (const std::size_t dim : dims) shape.dim[shape.rank++] = dim;
  return shape;
}

std::uint64_t element_count(const Shape& shape) {
  std::uint64_t count = 1;  // cannot overflow: the shape's bytes lie in a file
  for (std::size_t i = 0; i < shape.rank; ++i) count *= shape.dim[i];
  return count;
}

template <typename T>
T load(const std::byte* bytes, std::size_t i) {  // files align nothing
  T value;
  std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
  return value;
}

// Finds and checks the tensors of one module.
class ModuleReader {
 public:
  ModuleReader(const Checkpoint& checkpoint, const Quantization::Rules& rules, std::string_view module,
               std::size_t rows, std::size_t cols, std::vector<std::string>& problems)
      : checkpoint_(checkpoint),
        rules_(rules),
        module_(module),
        rows_(rows),
        cols_(cols),
        problems_(problems) {}

  std::optional<Weight> read();

 private:
  const Tensor* find(std::string_view suffix);
  const Tensor* require(std::string_view suffix, std::string_view what);
  bool expect(const Tensor&, std::initializer_list<DType> dtypes, const Shape& shape);
  bool expect_dtype(const Tensor&, std::initializer_list<DType> dtypes);
  bool expect_shape(const Tensor&, const Shape& shape);
  void refuse_beside(const Tensor& tensor, std::initializer_list<std::string_view> suffixes);
  void problem(const Tensor&, const std::string& what);
  void count(const Tensor& tensor) {
    weight_.bytes += tensor.bytes;
    ++weight_.tensors;
  }

  void read_plain(const Tensor& values);
  void read_fp8(const Tensor& values);
  void read_packed(const Tensor& values);
  void read_mxfp4(const Tensor& values, const PackedScheme&);
  void read_packed_scales(const PackedScheme&, std::size_t scale_cols);
  void read_zero_points(const PackedScheme&, std::size_t scale_cols);
  void read_group_index(const PackedScheme&, std::size_t groups);
  void check_weight_shape();

  const Checkpoint& checkpoint_;
  const Quantization::Rules& rules_;
  std::string_view module_;
  std::size_t rows_;
  std::size_t cols_;
  std::vector<std::string>& problems_;
  std::string name_;
  Weight weight_;
};

std::optional<Weight> ModuleReader::read() {
  const std::size_t problems_before = problems_.size();
  weight_.matrix.rows = rows_;
  weight_.matrix.cols = cols_;
  const Tensor* packed = find(".weight_packed");
  const Tensor* values = find(".weight");
  if (packed != nullptr && values != nullptr)
    problem(*packed, "beside " + std::string(values->name) + ", expected one of them");
  else if (packed != nullptr)
    read_packed(*packed);
  else if (values == nullptr)
    problems_.push_back(std::string(module_) + ".weight: missing, expected " +
                        to_string(shape_of({rows_, cols_})));
  else if (dtype_bytes(values->dtype) == 1)
    read_fp8(*values);
  else
    read_plain(*values);
  if (problems_.size() > problems_before) return std::nullopt;
  return weight_;
}

const Tensor* ModuleReader::find(std::string_view suffix) {
  name_.assign(module_).append(suffix);
  return checkpoint_.find(name_);
}

const Tensor* ModuleReader::require(std::string_view suffix, std::string_view what) {
  const Tensor* tensor = find(suffix);
  if (tensor == nullptr) problems_.push_back(name_ + ": missing, expected " + std::string(what));
  return tensor;
}

void ModuleReader::problem(const Tensor& tensor, const std::string& what) {
  problems_.push_back(std::string(tensor.file) + ": " + std::string(tensor.name) + ": " + what);
}

bool ModuleReader::expect_dtype(const Tensor& tensor, std::initializer_list<DType> dtypes) {
  if (std::find(dtypes.begin(), dtypes.end(), tensor.dtype) != dtypes.end()) return true;
  std::string list;
  for (const DType dtype : dtypes) list.append(list.empty() ? "" : " or ").append(dtype_name(dtype));
  problem(tensor, "dtype " + std::string(dtype_name(tensor.dtype)) + ", expected " + list);
  return false;
}

bool ModuleReader::expect_shape(const Tensor& tensor, const Shape& shape) {
  if (tensor.shape == shape) return true;
  problem(tensor, "shape " + to_string(tensor.shape) + ", expected " + to_string(shape));
  return false;
}

bool ModuleReader::expect(const Tensor& tensor, std::initializer_list<DType> dtypes, const Shape& shape) {
  const bool good_dtype = expect_dtype(tensor, dtypes);
  const bool good = expect_shape(tensor, shape) && good_dtype;
  if (good) count(tensor);
  return good;
}

// Tensors that would change what the weight means must not be there unused.
void ModuleReader::refuse_beside(const Tensor& tensor, std::initializer_list<std::string_view> suffixes) {
  for (const std::string_view suffix : suffixes)
    if (const Tensor* other = find(suffix))
      problem(*other, "beside " + std::string(dtype_name(tensor.dtype)) + " " + std::string(tensor.name) +
                          ", expected none");
}

void ModuleReader::read_plain(const Tensor& values) {
  if (!expect(values, {DType::bf16, DType::f16, DType::f32}, shape_of({rows_, cols_}))) return;
  refuse_beside(values, {".weight_scale_inv", ".weight_scale"});
  weight_.matrix.format = float_format(values.dtype);
  weight_.matrix.values = values.data;
  weight_.matrix.row_bytes = cols_ * dtype_bytes(values.dtype);
  weight_.format_name = values.dtype == DType::bf16 ? "bf16" : values.dtype == DType::f16 ? "f16" : "f32";
}

// W = value * weight_scale_inv of its block; blocks at the right and lower edge may be partial
// (DeepSeek-V3's inference/kernel.py, weight_dequant).
void ModuleReader::read_fp8(const Tensor& values) {
  if (!expect(values, {DType::f8_e4m3}, shape_of({rows_, cols_}))) return;
  if (rules_.method != QuantMethod::fp8)
    return problem(values, "F8_E4M3, but config.json has no quantization_config with quant_method fp8");
  if (rules_.ignore.contains_or_parent(module_))
    return problem(values, "F8_E4M3, but quantization_config lists it as not converted");
  Matrix& m = weight_.matrix;
  const bool per_tensor = rules_.block_rows == 0;
  m.block_rows = per_tensor ? rows_ : rules_.block_rows;
  m.block_cols = per_tensor ? cols_ : rules_.block_cols;
  m.scale_cols = ceil_div(cols_, m.block_cols);
  const Shape blocks = shape_of({ceil_div(rows_, m.block_rows), m.scale_cols});
  const Tensor* scales =
      require(".weight_scale_inv", "scales " + to_string(blocks) + " of an F8_E4M3 weight");
  if (scales == nullptr) return;
  // One scale may have any number of dimensions of size 1.
  const bool one = per_tensor && element_count(scales->shape) == 1;
  if (!expect(*scales, {DType::f32, DType::bf16, DType::f16}, one ? scales->shape : blocks)) return;
  m.format = Format::fp8_e4m3;
  m.values = values.data;
  m.row_bytes = cols_;
  m.scale_format = float_format(scales->dtype);
  m.scales = scales->data;
  weight_.format_name = rules_.fp8_label;
}

// compressed-tensors' pack_to_int32: value + 2^(bits - 1) in int32 words, lowest bits first, rows padded.
void ModuleReader::read_packed(const Tensor& values) {
  if (rules_.method != QuantMethod::pack_quantized)
    return problem(values,
                   "packed, but config.json has no quantization_config with quant_method compressed-tensors");
  if (rules_.ignore.contains(module_))
    return problem(values, "packed, but on quantization_config's ignore list");
  const PackedScheme* scheme = rules_.scheme_of(module_);
  if (scheme == nullptr)
    return problem(values,
                   "packed, but no config group of quantization_config targets " + std::string(module_));
  const bool in_groups = scheme->strategy == Strategy::group;
  if (in_groups && cols_ % scheme->group_size != 0)
    return problem(values, "group_size " + std::to_string(scheme->group_size) +
                               " does not divide the input size " + std::to_string(cols_));
  if (scheme->is_mxfp4) return read_mxfp4(values, *scheme);
  const std::size_t words = ceil_div(cols_ * scheme->bits, 32);
  if (!expect(values, {DType::i32}, shape_of({rows_, words}))) return;
  Matrix& m = weight_.matrix;
  m.format = scheme->bits == 4 ? Format::int4 : Format::int8;
  m.values = values.data;
  m.row_bytes = words * sizeof(std::int32_t);
  m.block_rows = scheme->strategy == Strategy::tensor ? rows_ : 1;
  m.block_cols = in_groups ? scheme->group_size : cols_;
  m.scale_cols = cols_ / m.block_cols;
  weight_.format_name = scheme->label;
  read_packed_scales(*scheme, m.scale_cols);
  read_zero_points(*scheme, m.scale_cols);
  read_group_index(*scheme, m.scale_cols);
  check_weight_shape();
}

// compressed-tensors' mxfp4-pack-quantized: two e2m1 codes to a byte, and the exponents of the groups'
// scales. It stores no shape: the bytes say it.
void ModuleReader::read_mxfp4(const Tensor& values, const PackedScheme& scheme) {
  if (!expect(values, {DType::u8}, shape_of({rows_, cols_ / 2}))) return;
  refuse_beside(values, {".weight_zero_point", ".weight_g_idx", ".weight_global_scale"});
  Matrix& m = weight_.matrix;
  m.block_cols = scheme.group_size;
  m.scale_cols = cols_ / m.block_cols;
  const Shape groups = shape_of({rows_, m.scale_cols});
  const Tensor* scales = require(".weight_scale", "scales " + to_string(groups) + " of a packed weight");
  if (scales == nullptr || !expect(*scales, {DType::u8}, groups)) return;
  m.format = Format::mxfp4;
  m.values = values.data;
  m.row_bytes = cols_ / 2;
  m.scale_format = Format::e8m0;
  m.scales = scales->data;
  weight_.format_name = scheme.label;
}

void ModuleReader::read_packed_scales(const PackedScheme& scheme, std::size_t scale_cols) {
  const bool per_tensor = scheme.strategy == Strategy::tensor;
  const Shape expected = per_tensor ? shape_of({1}) : shape_of({rows_, scale_cols});
  const Tensor* scales = require(".weight_scale", "scales " + to_string(expected) + " of a packed weight");
  if (scales == nullptr) return;
  const bool one = per_tensor && element_count(scales->shape) == 1;
  expect(*scales, {DType::bf16, DType::f16, DType::f32}, one ? scales->shape : expected);
  weight_.matrix.scale_format = float_format(scales->dtype);
  weight_.matrix.scales = scales->data;
}

// Zero points are packed like values, but down the rows: [ceil(rows * bits / 32), groups].
void ModuleReader::read_zero_points(const PackedScheme& scheme, std::size_t scale_cols) {
  if (scheme.symmetric) {
    if (const Tensor* zeros = find(".weight_zero_point"))
      problem(*zeros, "zero points, but quantization_config says symmetric");
    return;
  }
  const Shape expected = shape_of({ceil_div(rows_ * scheme.bits, 32), scale_cols});
  const Tensor* zeros = require(".weight_zero_point", "zero points " + to_string(expected));
  if (zeros != nullptr && expect(*zeros, {DType::i32}, expected)) weight_.matrix.zeros = zeros->data;
}

// Which group each column belongs to; all -1 means that it was never set, and groups lie in order
// (compressed_tensors up to 0.19).
void ModuleReader::read_group_index(const PackedScheme& scheme, std::size_t groups) {
  const Tensor* index = find(".weight_g_idx");
  if (index == nullptr) {
    if (scheme.has_group_index)
      problems_.push_back(name_ + ": missing, expected the groups of " + std::to_string(cols_) +
                          " columns, as quantization_config's actorder asks");
    return;
  }
  if (!expect(*index, {DType::i32}, shape_of({cols_}))) return;
  std::size_t unset = 0;
  for (std::size_t c = 0; c < cols_; ++c) {
    const auto group = load<std::int32_t>(index->data, c);
    if (group == -1)
      ++unset;
    else if (group < 0 || static_cast<std::size_t>(group) >= groups)
      return problem(*index, "column " + std::to_string(c) + " in group " + std::to_string(group) +
                                 ", expected 0 to " + std::to_string(groups - 1));
  }
  if (unset != 0 && unset != cols_)
    return problem(*index,
                   std::to_string(unset) + " of " + std::to_string(cols_) + " columns without a group");
  if (unset == 0) weight_.matrix.group_index = index->data;
}

// The size before packing: packed words alone leave the last few columns open.
void ModuleReader::check_weight_shape() {
  const Tensor* stored = require(".weight_shape", "the size [2] of a packed weight");
  if (stored == nullptr || !expect(*stored, {DType::i64, DType::i32}, shape_of({2}))) return;
  const auto size = [&](std::size_t i) {
    return stored->dtype == DType::i64 ? load<std::int64_t>(stored->data, i)
                                       : load<std::int32_t>(stored->data, i);
  };
  if (size(0) != static_cast<std::int64_t>(rows_) || size(1) != static_cast<std::int64_t>(cols_))
    problem(*stored, "says [" + std::to_string(size(0)) + ", " + std::to_string(size(1)) + "], expected " +
                         to_string(shape_of({rows_, cols_})));
}

}  // namespace

Format float_format(DType dtype) {
  if (dtype == DType::f16) return Format::f16;
  return dtype == DType::bf16 ? Format::bf16 : Format::f32;
}

std::optional<Weight> find_weight(const Checkpoint& checkpoint, const Quantization& quantization,
                                  std::string_view module, std::size_t rows, std::size_t cols,
                                  std::vector<std::string>& problems) {
  return ModuleReader(checkpoint, quantization.rules(), module, rows, cols, problems).read();
}

bool content_is_read(std::string_view tensor) {
  return tensor.ends_with(".weight_shape") || tensor.ends_with(".weight_g_idx");
}

}  // namespace baleen
