// The reference: float32 arithmetic in the order of the definition, one number after the other. It is what
// the other instruction sets are compared with, so it is kept obvious, never fast.
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/tables.h"

namespace baleen::kernels {
namespace {

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

float float_from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31u;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31) return float_from_bits(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) return (sign ? -0x1p-24f : 0x1p-24f) * static_cast<float>(mantissa);
  return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

float bf16_to_float(std::uint16_t bits) {
  return float_from_bits(static_cast<std::uint32_t>(bits) << 16);
}

// e4m3 without infinities: exponent bias 7, the code of all ones is NaN.
float fp8_to_float(std::uint8_t bits) {
  const std::uint32_t sign = (bits & 0x80u) << 24;
  const std::uint32_t exponent = (bits >> 3) & 15u;
  const std::uint32_t mantissa = bits & 7u;
  if ((bits & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  if (exponent == 0) return (sign ? -0x1p-9f : 0x1p-9f) * static_cast<float>(mantissa);
  return float_from_bits(sign | (exponent + 120) << 23 | mantissa << 20);
}

// e2m1: exponent bias 1, no infinities, no NaN. Codes in the order of columns, low bits first.
float e2m1_to_float(const std::byte* row, std::size_t col) {
  constexpr float magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  const unsigned code = std::to_integer<unsigned>(row[col / 2]) >> (4 * (col % 2)) & 15u;
  return code & 8u ? -magnitudes[code & 7u] : magnitudes[code & 7u];
}

float e8m0_to_float(std::uint8_t bits) {
  if (bits == 255) return std::numeric_limits<float>::quiet_NaN();
  return std::ldexp(1.0f, bits - 127);
}

std::uint16_t float_to_bf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// Number `index` of an array of plain numbers.
float plain_number(Format format, const std::byte* array, std::size_t index) {
  switch (format) {
    case Format::f16:
      return f16_to_float(load<std::uint16_t>(array + 2 * index));
    case Format::bf16:
      return bf16_to_float(load<std::uint16_t>(array + 2 * index));
    case Format::e8m0:
      return e8m0_to_float(load<std::uint8_t>(array + index));
    default:
      return load<float>(array + 4 * index);
  }
}

// (value - zero) of an int8 or int4 weight in group `group`.
template <Format format>
float integer_value(const Matrix& m, std::size_t row, std::size_t col, std::size_t group) {
  constexpr unsigned bits = format == Format::int8 ? 8 : 4;
  constexpr unsigned per_word = 32 / bits;
  constexpr std::uint32_t mask = (1u << bits) - 1;
  const auto word = load<std::uint32_t>(m.values + row * m.row_bytes + col / per_word * 4);
  const int value = static_cast<int>(word >> (bits * (col % per_word)) & mask);
  int zero = 1 << (bits - 1);
  if (m.zeros) {
    const auto zeros = load<std::uint32_t>(m.zeros + 4 * (row / per_word * m.scale_cols + group));
    zero = static_cast<int>(zeros >> (bits * (row % per_word)) & mask);
  }
  return static_cast<float>(value - zero);
}

template <Format format>
float weight(const Matrix& m, std::size_t row, std::size_t col) {
  if constexpr (format == Format::f32 || format == Format::f16 || format == Format::bf16) {
    return plain_number(format, m.values + row * m.row_bytes, col);
  } else {
    std::size_t group = col / m.block_cols;
    if (m.group_index) group = load<std::uint32_t>(m.group_index + 4 * col);
    const float scale =
        m.scales ? plain_number(m.scale_format, m.scales, row / m.block_rows * m.scale_cols + group) : 1.0f;
    if constexpr (format == Format::fp8_e4m3) {
      return fp8_to_float(load<std::uint8_t>(m.values + row * m.row_bytes + col)) * scale;
    } else if constexpr (format == Format::mxfp4) {
      return e2m1_to_float(m.values + row * m.row_bytes, col) * scale;
    } else {
      return integer_value<format>(m, row, col, group) * scale;
    }
  }
}

template <Format format>
void widen_row(const Matrix& m, std::size_t row, float* out) {
  for (std::size_t c = 0; c < m.cols; ++c) out[c] = weight<format>(m, row, c);
}

template <Format format>
void matmul(const MatmulArgs& a) {
  for (std::size_t row = a.row_begin; row < a.row_end; ++row) {
    widen_row<format>(*a.matrix, row, a.scratch);
    for (std::size_t t = 0; t < a.tokens; ++t) {
      const float* x = activations(a, t);
      float sum = 0;
      for (std::size_t c = 0; c < a.matrix->cols; ++c) sum += x[c] * a.scratch[c];
      a.out[t * a.out_stride + row - a.row_begin] = sum;
    }
  }
}

// Rows of float32, as they come.
void pack_f32(const PackArgs& a) {
  for (std::size_t t = 0; t < a.tokens; ++t) {
    const float* x = row_to_pack(a, t);
    std::memcpy(a.packed + t * f32_slot_bytes(a.cols) + a.col_begin * sizeof(float), x,
                (a.col_end - a.col_begin) * sizeof(float));
  }
}

void axpy(float a, const float* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] += a * x[i];
}

template <Format format>
void matmul_transposed(const TransposedArgs& a) {
  const std::size_t cols = a.matrix->cols;
  for (std::size_t t = 0; t < a.tokens; ++t) {
    for (std::size_t c = 0; c < cols; ++c) a.out[t * a.out_stride + c] = 0;
  }
  for (std::size_t row = a.row_begin; row < a.row_end; ++row) {
    widen_row<format>(*a.matrix, row, a.scratch);
    for (std::size_t t = 0; t < a.tokens; ++t) {
      axpy(a.x[t * a.x_stride + row - a.row_begin], a.scratch, a.out + t * a.out_stride, cols);
    }
  }
}

void rms_norm(const float* x, const std::byte* gain, Format gain_format, std::size_t width, float eps,
              float* out) {
  float squares = 0;
  for (std::size_t i = 0; i < width; ++i) squares += x[i] * x[i];
  const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
  for (std::size_t i = 0; i < width; ++i) out[i] = plain_number(gain_format, gain, i) * (x[i] * inverse);
}

void silu_mul(float* gate, const float* up, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) gate[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

constexpr std::size_t kv_group_bytes = sizeof(float) + kv_group;

// Number `index` of a KV cache row.
float kv_number(KvFormat format, const std::byte* row, std::size_t index) {
  if (format == KvFormat::f32) return plain_number(Format::f32, row, index);
  if (format == KvFormat::bf16) return plain_number(Format::bf16, row, index);
  const std::byte* group = row + index / kv_group * kv_group_bytes;
  const auto value = load<std::uint8_t>(group + sizeof(float) + index % kv_group);
  return static_cast<float>(value - 128) * load<float>(group);
}

// Folds positions [begin, end), all within one block, into the running softmax of query q. scores has room
// for a block. With every score at -infinity the shift is 0, so that exp gives 0 and not NaN.
void attend_block(const AttentionArgs& a, std::size_t q, std::size_t begin, std::size_t end, float* scores) {
  SoftmaxState& state = a.state[q];
  float maximum = state.maximum;
  for (std::size_t p = begin; p < end; ++p) {
    float sum = 0;
    for (std::size_t i = 0; i < a.k_dim; ++i) {
      sum += a.q[q * a.q_stride + i] * kv_number(a.kv_format, a.keys + p * a.key_row_bytes, i);
    }
    scores[p - begin] = a.scale * sum;
    if (scores[p - begin] > maximum) maximum = scores[p - begin];
  }
  const float shift = maximum == -std::numeric_limits<float>::infinity() ? 0.0f : maximum;
  const float rescale = std::exp(state.maximum - shift);
  float* out = a.out + q * a.out_stride;
  for (std::size_t i = 0; i < a.v_dim; ++i) out[i] *= rescale;
  state.sum *= rescale;
  state.maximum = maximum;
  for (std::size_t p = begin; p < end; ++p) {
    const float share = std::exp(scores[p - begin] - shift);
    state.sum += share;
    for (std::size_t i = 0; i < a.v_dim; ++i) {
      out[i] += share * kv_number(a.kv_format, a.values + p * a.value_row_bytes, i);
    }
  }
}

void attention(const AttentionArgs& a) {
  for (std::size_t q = 0; q < a.queries; ++q) {
    a.state[q] = {-std::numeric_limits<float>::infinity(), 0};
    for (std::size_t i = 0; i < a.v_dim; ++i) a.out[q * a.out_stride + i] = 0;
    std::size_t p = a.begin > a.first[q] ? a.begin : a.first[q];
    const std::size_t last = a.end < a.last[q] ? a.end : a.last[q];
    while (p < last) {
      const std::size_t block_end = (p / attention_block + 1) * attention_block;
      const std::size_t end = block_end < last ? block_end : last;
      attend_block(a, q, p, end, a.scratch);
      p = end;
    }
  }
}

void store_int8_group(const float* x, std::size_t n, std::byte* group) {
  float maximum = 0;
  bool finite = true;
  for (std::size_t i = 0; i < n; ++i) {
    finite = finite && std::isfinite(x[i]);
    maximum = std::fmax(maximum, std::fabs(x[i]));
  }
  const float scale = finite ? maximum / 127.0f : std::numeric_limits<float>::quiet_NaN();
  std::memcpy(group, &scale, sizeof scale);
  for (std::size_t i = 0; i < n; ++i) {
    // A scale among the denormals is inexact: the quotient may leave the range.
    const float quotient = scale > 0 ? std::nearbyint(x[i] / scale) : 0.0f;
    const auto value = static_cast<std::uint8_t>(128 + std::fmin(std::fmax(quotient, -127.0f), 127.0f));
    std::memcpy(group + sizeof scale + i, &value, 1);
  }
}

void kv_store(KvFormat format, const float* x, std::size_t width, std::byte* row) {
  if (format == KvFormat::f32) {
    std::memcpy(row, x, width * sizeof(float));
  } else if (format == KvFormat::bf16) {
    for (std::size_t i = 0; i < width; ++i) {
      const std::uint16_t bits = float_to_bf16(x[i]);
      std::memcpy(row + 2 * i, &bits, sizeof bits);
    }
  } else {
    for (std::size_t i = 0; i < width; i += kv_group) {
      const std::size_t n = width - i < kv_group ? width - i : kv_group;
      store_int8_group(x + i, n, row + i / kv_group * kv_group_bytes);
    }
  }
}

void kv_load(KvFormat format, const std::byte* row, std::size_t width, float* x) {
  if (format == KvFormat::f32) {
    std::memcpy(x, row, width * sizeof(float));
  } else {
    for (std::size_t i = 0; i < width; ++i) x[i] = kv_number(format, row, i);
  }
}

// Eight sums that do not wait for each other; each converges to 2.
double peak(std::size_t rounds) {
  constexpr std::size_t sums = 8;
  float sum[sums] = {0, 1, 2, 3, 4, 5, 6, 7};
  volatile float half = 0.5f;  // or the compiler would know the result
  const float factor = half;
  for (std::size_t r = 0; r < rounds; ++r) {
    for (float& s : sum) s = s * factor + 1.0f;
  }
  volatile float sink = 0;  // or it would see that nobody wants it
  for (const float s : sum) sink = sink + s;
  return 2.0 * static_cast<double>(rounds * sums);
}

template <Format... formats>
Kernels make_table() {
  return {.name = "scalar",
          .matmul = [](Path, const Matrix& m) -> const Matmul& {
            static constexpr Matmul list[] = {{&f32_packing, matmul<formats>}...};
            return list[static_cast<std::size_t>(m.format)];
          },
          .matmul_transposed = {{matmul_transposed<formats>...},
                                {matmul_transposed<formats>...},
                                {matmul_transposed<formats>...}},
          .widen_row = {widen_row<formats>...},
          .rms_norm = rms_norm,
          .silu_mul = silu_mul,
          .axpy = axpy,
          .attention = {attention, attention, attention},
          .attention_floats = block_attention_floats,
          .kv_store = kv_store,
          .kv_load = kv_load,
          .encode = scalar_encoders,
          .peak = peak};
}

}  // namespace

const Packing f32_packing = {.slot_tokens = 1, .slot_bytes = f32_slot_bytes, .pack = pack_f32};

const Kernels& scalar_kernels() {
  static const Kernels table = make_table<Format::f32, Format::f16, Format::bf16, Format::fp8_e4m3,
                                          Format::int8, Format::int4, Format::mxfp4>();
  return table;
}

}  // namespace baleen::kernels
