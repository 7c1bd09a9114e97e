// Stored rows as vectors of float32. The headers in this folder are the kernels that all vector instruction
// sets share, templates over a type V of the instruction set's file:
//   V::F, V::lanes                 a vector of float32 and how many it holds
//   V::load, store, fma, ...       one instruction or a few; load and store also take a count of lanes
//   V::from_f16                    the number that 16 bits mean
//   V::decode<format>              V::chunk (two vectors of) stored values, widened, in the order of lanes
//   that
//                                  suits the format; V::to_order and V::from_order<format> lead there and
//                                  back
//   V::row_block, token_block      rows and tokens whose sums fill the registers
//   V::fused_tokens                up to so many tokens share a widened vector without a trip through scratch
// Everything is in unnamed namespaces and free of the standard library: a function emitted here is compiled
// for one instruction set and must not become the linker's copy for all of them.
//
// Widened rows lie in scratch with zeros up to a multiple of scratch_align, so only activations need masks.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/tables.h"

namespace baleen::kernels {
namespace {

constexpr std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}
constexpr std::size_t larger(std::size_t a, std::size_t b) {
  return a > b ? a : b;
}

// unrolled<N>(f) calls f(0) ... f(N - 1) with constants, so that arrays indexed by them can live in
// registers.
template <std::size_t i>
struct Index {
  constexpr operator std::size_t() const { return i; }
};

template <std::size_t N, class F, std::size_t i = 0>
[[gnu::always_inline]] inline void unrolled(const F& f) {
  if constexpr (i < N) {
    f(Index<i>{});
    unrolled<N, F, i + 1>(f);
  }
}

constexpr bool is_plain(Format f) {
  return f == Format::f32 || f == Format::f16 || f == Format::bf16;
}
constexpr bool is_integer(Format f) {
  return f == Format::int8 || f == Format::int4;
}

constexpr std::size_t value_bits(Format f) {
  if (f == Format::f32) return 32;
  if (f == Format::f16 || f == Format::bf16) return 16;
  return f == Format::int4 || f == Format::mxfp4 ? 4 : 8;
}

constexpr std::size_t value_bytes(Format f, std::size_t count) {
  return (count * value_bits(f) + 7) / 8;
}

// decode makes 2^-8 of an fp8 value; its scale makes up for it. (So scales from 2^120 on overflow.)
constexpr float scale_factor(Format f) {
  return f == Format::fp8_e4m3 ? 256.0f : 1.0f;
}

// 2^(code - 127) by its bits: what float32 has for an exponent, but for 2^-127, which is among the denormals,
// and 255, which is NaN: both have the highest bit of the mantissa.
inline float e8m0_to_float(std::byte code) {
  const auto exponent = static_cast<std::uint32_t>(code);
  const std::uint32_t bits = exponent << 23 | (exponent == 0 || exponent == 255 ? 1u << 22 : 0u);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Number `index` of an array of f32, f16 or bf16.
template <class V>
float number(Format format, const std::byte* array, std::size_t index) {
  float value;
  if (format == Format::f32) {
    std::memcpy(&value, array + 4 * index, sizeof value);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, array + 2 * index, sizeof bits);
  if (format == Format::f16) return V::from_f16(bits);
  const std::uint32_t upper = std::uint32_t{bits} << 16;
  std::memcpy(&value, &upper, sizeof value);
  return value;
}

// What turns the stored values of one group of columns into weights: (value - zero) * scale.
template <class V>
struct Group {
  typename V::F scale;  // times scale_factor
  typename V::F zero;   // integer formats only
};

// Bytes ahead of the loads to prefetch: a few hundred nanoseconds at the speed of memory.
constexpr std::size_t prefetch_bytes = 2048;

// One stored row.
template <class V, Format format>
struct Row {
  static constexpr Format value_format = format;
  const std::byte* values = nullptr;
  const std::byte* scales = nullptr;  // of this row's first group; null: 1
  const std::byte* zeros = nullptr;   // null: the offset
  unsigned zero_shift = 0;
  Format scale_format = Format::f32;

  Row() = default;
  Row(const Matrix& m, std::size_t row) : values(m.values + row * m.row_bytes), scale_format(m.scale_format) {
    if (!is_plain(format) && m.scales) {
      const std::size_t scale_bytes = value_bytes(m.scale_format, 1);
      const std::size_t block = m.block_rows == 1 ? row : row / m.block_rows;
      scales = m.scales + block * m.scale_cols * scale_bytes;
    }
    if (is_integer(format) && m.zeros) {
      constexpr std::size_t per_word = 32 / value_bits(format);
      zeros = m.zeros + row / per_word * m.scale_cols * 4;
      zero_shift = static_cast<unsigned>(row % per_word * value_bits(format));
    }
  }

  const std::byte* at(std::size_t col) const { return values + value_bytes(format, col); }

  Group<V> group(std::size_t g) const { return {V::set1(scale(g) * scale_factor(format)), V::set1(zero(g))}; }

  float scale(std::size_t g) const {
    if (!scales) return 1;
    if constexpr (format == Format::mxfp4) return e8m0_to_float(scales[g]);
    return number<V>(scale_format, scales, g);
  }

  float zero(std::size_t g) const {
    if (!zeros) return offset;
    std::uint32_t word;
    std::memcpy(&word, zeros + 4 * g, sizeof word);
    constexpr std::uint32_t mask = (1u << value_bits(format) % 32) - 1;
    return static_cast<float>(static_cast<int>(word >> zero_shift & mask));
  }

  // The zero where none is stored.
  static constexpr float offset = is_integer(format) ? 1u << (value_bits(format) - 1) : 0;
};

// Whether V::decode can walk the matrix: a chunk of columns never crosses into another group.
template <class V, Format format>
bool is_decodable(const Matrix& m) {
  if (is_plain(format) || (!m.scales && !m.zeros)) return true;
  return !m.group_index && (m.block_cols % V::chunk == 0 || m.block_cols >= m.cols);
}

template <Format format>
std::size_t group_cols(const Matrix& m) {
  return is_plain(format) || (!m.scales && !m.zeros) ? m.cols : m.block_cols;
}

// V::chunk stored values, widened, lane by lane.
template <class V, Format format>
void decode_chunk(const std::byte* values, const Group<V>& group, typename V::F out[2]) {
  V::template decode<format>(values, group, out);
  out[0] = V::template from_order<format>(out[0]);
  out[1] = V::template from_order<format>(out[1]);
}

// The last `count` values of a row, less than a chunk of them; zeros beyond.
template <class V, Format format>
void decode_tail(const std::byte* values, std::size_t count, const Group<V>& group, typename V::F out[2]) {
  std::byte padded_values[value_bytes(format, V::chunk)] = {};
  std::memcpy(padded_values, values, value_bytes(format, count));
  decode_chunk<V, format>(padded_values, group, out);
  out[0] = V::keep(out[0], smaller(count, V::lanes));
  out[1] = V::keep(out[1], count > V::lanes ? count - V::lanes : 0);
}

// The groups of R rows, widened V::chunk groups at a time: where groups are small, widening the scales one by
// one would take longer than widening the values. Without stored zeros the zero is a constant that decode can
// fold.
template <class V, Format format, std::size_t R, bool stored_zeros>
struct Groups {
  float scales[R * V::chunk];
  float zeros[stored_zeros ? R * V::chunk : 1];

  // Makes group g of each row, one of `count`, available; to be called for ascending g.
  void seek(const Row<V, format>* rows, std::size_t g, std::size_t count) {
    if (is_plain(format) || g % V::chunk != 0) return;
    for (std::size_t r = 0; r < R; ++r) {
      const std::size_t n = smaller(count - g, V::chunk);
      load(rows[r], g, n, scales + r * V::chunk);
      for (std::size_t i = 0; stored_zeros && i < n; ++i) zeros[r * V::chunk + i] = rows[r].zero(g + i);
    }
  }

  Group<V> of(std::size_t r, std::size_t g) const {
    if constexpr (is_plain(format)) return Group<V>();
    const std::size_t at = g % V::chunk;
    const float zero = stored_zeros ? (zeros + at)[r * V::chunk] : Row<V, format>::offset;
    return {V::set1((scales + at)[r * V::chunk]), V::set1(zero)};
  }

 private:
  static void load(const Row<V, format>& row, std::size_t g, std::size_t count, float* scale) {
    if constexpr (format == Format::mxfp4) {
      for (std::size_t i = 0; i < count; ++i) scale[i] = row.scale(g + i);
      return;
    }
    typename V::F wide[2] = {V::set1(1), V::set1(1)};
    if (row.scales && row.scale_format == Format::f32) decode<Format::f32>(row.scales, g, count, wide);
    if (row.scales && row.scale_format == Format::f16) decode<Format::f16>(row.scales, g, count, wide);
    if (row.scales && row.scale_format == Format::bf16) decode<Format::bf16>(row.scales, g, count, wide);
    V::store(scale, V::mul(wide[0], V::set1(scale_factor(format))));
    V::store(scale + V::lanes, V::mul(wide[1], V::set1(scale_factor(format))));
  }

  template <Format stored>
  static void decode(const std::byte* scales, std::size_t g, std::size_t count, typename V::F out[2]) {
    const Group<V> unscaled = {};
    const std::byte* at = scales + value_bytes(stored, g);
    if (count == V::chunk) {
      decode_chunk<V, stored>(at, unscaled, out);
    } else {
      decode_tail<V, stored>(at, count, unscaled, out);
    }
  }
};

// out[0, cols) = the row's weights, for a decodable matrix.
template <class V, Format format>
void decode_row(const Matrix& m, std::size_t index, float* out) {
  const Row<V, format> row(m, index);
  const std::size_t whole = m.cols / V::chunk * V::chunk;
  const std::size_t step = group_cols<format>(m);
  Groups<V, format, 1, is_integer(format)> groups;
  typename V::F w[2];
  for (std::size_t c = 0, g = 0; c < whole; ++g) {
    groups.seek(&row, g, (m.cols + step - 1) / step);
    const Group<V> group = groups.of(0, g);
    const std::size_t end = whole - c > step ? c + step : whole;
    for (; c < end; c += V::chunk) {
      __builtin_prefetch(row.at(c) + prefetch_bytes);
      decode_chunk<V, format>(row.at(c), group, w);
      V::store(out + c, w[0]);
      V::store(out + c + V::lanes, w[1]);
    }
  }
  if (const std::size_t rest = m.cols - whole) {
    decode_tail<V, format>(row.at(whole), rest, row.group(whole / step), w);
    V::store(out + whole, w[0], smaller(rest, V::lanes));
    if (rest > V::lanes) V::store(out + whole + V::lanes, w[1], rest - V::lanes);
  }
}

template <class V, Format format>
void widen_row(const Matrix& m, std::size_t row, float* out) {
  if (is_decodable<V, format>(m)) {
    decode_row<V, format>(m, row, out);
  } else {
    scalar_kernels().widen_row[static_cast<std::size_t>(format)](m, row, out);
  }
}

// Widens rows [begin, end) into scratch, each padded with zeros.
template <class V, Format format>
void widen_rows(const Matrix& m, std::size_t begin, std::size_t end, float* scratch) {
  for (std::size_t row = begin; row < end; ++row, scratch += padded(m.cols)) {
    widen_row<V, format>(m, row, scratch);
    for (std::size_t c = m.cols; c < padded(m.cols); ++c) scratch[c] = 0;
  }
}

// Whether every group of pack_cols columns has one scale, and the zero is the offset: what kernels need that
// multiply integers group by group.
inline bool has_whole_groups(const Matrix& m) {
  if (m.zeros || m.group_index) return false;
  return !m.scales || m.block_cols % pack_cols == 0 || m.block_cols >= m.cols;
}

// The group of columns from c on where it is whole, else a copy with zeros behind `end`.
inline const float* whole_group(const float* x, std::size_t c, std::size_t end, float* copy) {
  if (c + pack_cols <= end) return x;
  for (std::size_t i = 0; i < pack_cols; ++i) copy[i] = 0;
  if (c < end) std::memcpy(copy, x, (end - c) * sizeof(float));
  return copy;
}

// Scratch from a cache line's boundary on; the sizes in tables.h leave room for it.
inline float* aligned(float* scratch) {
  const std::size_t bytes = scratch_align * sizeof(float);
  const std::size_t past = reinterpret_cast<std::uintptr_t>(scratch) % bytes;
  return past ? scratch + (bytes - past) / sizeof(float) : scratch;
}

}  // namespace
}  // namespace baleen::kernels
