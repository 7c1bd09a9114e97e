// Stored rows as vectors of float32. The headers in this folder are the kernels that all vector instruction
// sets share, templates over a type V of the instruction set's file:
//   V::F, V::lanes                 a vector of float32 and how many it holds
//   V::load, store, fma, ...       one instruction or a few; load and store also take a count of lanes
//   V::decode<format>              V::chunk (two vectors of) stored values, widened
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

constexpr std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }
constexpr std::size_t larger(std::size_t a, std::size_t b) { return a > b ? a : b; }

constexpr bool is_plain(Format f) { return f == Format::f32 || f == Format::f16 || f == Format::bf16; }
constexpr bool is_integer(Format f) { return f == Format::int8 || f == Format::int4; }

constexpr std::size_t value_bits(Format f) {
  if (f == Format::f32) return 32;
  if (f == Format::f16 || f == Format::bf16) return 16;
  return f == Format::int4 ? 4 : 8;
}

constexpr std::size_t value_bytes(Format f, std::size_t count) { return (count * value_bits(f) + 7) / 8; }

// What turns the stored values of one group of columns into weights: (value - zero) * scale.
template <class V>
struct Group {
  typename V::F scale;
  typename V::F zero;  // integer formats only
};

// Bytes ahead of the loads to prefetch: a few hundred nanoseconds at the speed of memory.
constexpr std::size_t prefetch_bytes = 2048;

// One stored row.
template <class V, Format format>
struct Row {
  const std::byte* values = nullptr;
  const std::byte* scales = nullptr;  // of this row's first group; null: 1
  const std::byte* zeros = nullptr;   // null: the offset
  unsigned zero_shift = 0;
  Format scale_format = Format::f32;

  Row() = default;
  Row(const Matrix& m, std::size_t row) : values(m.values + row * m.row_bytes), scale_format(m.scale_format) {
    if (!is_plain(format) && m.scales) {
      const std::size_t scale_bytes = value_bytes(m.scale_format, 1);
      scales = m.scales + row / m.block_rows * m.scale_cols * scale_bytes;
    }
    if (is_integer(format) && m.zeros) {
      constexpr std::size_t per_word = 32 / value_bits(format);
      zeros = m.zeros + row / per_word * m.scale_cols * 4;
      zero_shift = static_cast<unsigned>(row % per_word * value_bits(format));
    }
  }

  const std::byte* at(std::size_t col) const { return values + value_bytes(format, col); }

  Group<V> group(std::size_t g) const {
    return {V::set1(scales ? V::number(scale_format, scales, g) : 1.0f), V::set1(zero(g))};
  }

  float zero(std::size_t g) const {
    if (!is_integer(format)) return 0;
    constexpr std::uint32_t offset = 1u << (value_bits(format) - 1);
    if (!zeros) return offset;
    std::uint32_t word;
    std::memcpy(&word, zeros + 4 * g, sizeof word);
    return static_cast<float>(static_cast<int>(word >> zero_shift & (2 * offset - 1)));
  }
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

// The last `count` values of a row, less than a chunk of them; zeros beyond.
template <class V, Format format>
void decode_tail(const std::byte* values, std::size_t count, const Group<V>& group, typename V::F out[2]) {
  std::byte padded_values[value_bytes(format, V::chunk)] = {};
  std::memcpy(padded_values, values, value_bytes(format, count));
  V::template decode<format>(padded_values, group, out);
  for (std::size_t u = 0; u < 2; ++u) {
    const std::size_t begin = u * V::lanes;
    out[u] = V::keep(out[u], count > begin ? smaller(count - begin, V::lanes) : 0);
  }
}

// out[0, cols) = the row's weights, for a decodable matrix.
template <class V, Format format>
void decode_row(const Matrix& m, std::size_t index, float* out) {
  const Row<V, format> row(m, index);
  const std::size_t whole = m.cols / V::chunk * V::chunk;
  const std::size_t step = group_cols<format>(m);
  typename V::F w[2];
  for (std::size_t c = 0, g = 0; c < whole; ++g) {
    const Group<V> group = row.group(g);
    const std::size_t end = whole - c > step ? c + step : whole;
    for (; c < end; c += V::chunk) {
      __builtin_prefetch(row.at(c) + prefetch_bytes);
      V::template decode<format>(row.at(c), group, w);
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

// Scratch from a cache line's boundary on; the sizes in tables.h leave room for it.
inline float* aligned(float* scratch) {
  const std::size_t bytes = scratch_align * sizeof(float);
  const std::size_t past = reinterpret_cast<std::uintptr_t>(scratch) % bytes;
  return past ? scratch + (bytes - past) / sizeof(float) : scratch;
}

}  // namespace
}  // namespace baleen::kernels
