// What the kernel tests share: the instruction sets of this machine and matrices of every storage format.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/dispatch.h"

namespace baleen::kernels {

inline constexpr Format all_formats[] = {Format::f32,  Format::f16,  Format::bf16, Format::fp8_e4m3,
                                         Format::int8, Format::int4, Format::mxfp4};
inline constexpr std::size_t index_of(Format format) {
  return static_cast<std::size_t>(format);
}
inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float nan = std::numeric_limits<float>::quiet_NaN();

// Calls `test` with every table but scalar's that this machine can use; an instruction set it lacks is
// reported.
template <class Test>
void for_each_vector_isa(const Test& test) {
  for (const IsaInfo& isa : instruction_sets()) {
    if (!isa.available) MESSAGE(std::string(isa.name) << ": skipped, this machine does not have it");
  }
  for (const UsableTable& table : usable_tables()) {
    if (table.isa == "scalar") continue;
    INFO("isa " << std::string(table.isa) << " (" << table.features << ")");
    test(*table.kernels);
  }
}

inline const Kernels& scalar() {
  return *find_kernels("scalar");
}

// Calls `test` with one table for each different kernel that `kernel_of(table)` names: a table takes over
// most kernels from a plainer one, and a kernel is a pure function. The plainest table that has it stands for
// it.
template <class KernelOf, class Test>
void for_each_kernel(const KernelOf& kernel_of, const Test& test) {
  std::vector<decltype(kernel_of(scalar()))> tested;
  const auto tables = usable_tables();
  for (auto table = tables.rbegin(); table != tables.rend(); ++table) {
    if (table->isa == "scalar") continue;
    const auto kernel = kernel_of(*table->kernels);
    if (std::find(tested.begin(), tested.end(), kernel) != tested.end()) continue;
    tested.push_back(kernel);
    INFO("isa " << std::string(table->isa) << " (" << table->features << ")");
    test(*table->kernels);
  }
}

// With each different kernel for products with `m`.
template <class Test>
void for_each_matmul(Path path, const Matrix& m, const Test& test) {
  for_each_kernel(
      [&](const Kernels& kernels) {
        const Matmul& matmul = kernels.matmul(path, m);
        return std::pair(matmul.packing, matmul.multiply);
      },
      test);
}

inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// The same number, the sign of zero included; any NaN equals any other.
inline bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || bits_of(a) == bits_of(b);
}

inline std::vector<float> random_floats(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// Bytes that begin at an odd address, with nothing allocated behind them: a read past the end is ASan's to
// find.
class OddBytes {
 public:
  explicit OddBytes(std::size_t size = 0) : bytes_(size + 1) {}
  std::byte* data() { return bytes_.data() + 1; }
  const std::byte* data() const { return bytes_.data() + 1; }
  std::size_t size() const { return bytes_.size() - 1; }

 private:
  std::vector<std::byte> bytes_;
};

// Activations as a kernel reads them, with not a byte behind the last slot.
class PackedRows {
 public:
  PackedRows(const Packing& packing, PackArgs args) {
    const std::size_t slots = (args.tokens + packing.slot_tokens - 1) / packing.slot_tokens;
    const std::size_t bytes = slots * packing.slot_bytes(args.cols);
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(pack_align, bytes)));
    args.packed = memory_.get();
    packing.pack(args);
  }
  std::byte* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
};

struct Shape {
  Format format = Format::f32;
  std::size_t rows = 1;
  std::size_t cols = 1;
  Format scale_format = Format::f32;
  std::size_t block_rows = 1;
  std::size_t block_cols = 0;  // 0: no scales
  bool zeros = false;
  bool group_index = false;
};

inline void put_number(Format format, float value, std::byte* at) {
  std::uint32_t bits = bits_of(value);
  if (format == Format::e8m0) {  // the power of two below; what is not finite is NaN
    *at = static_cast<std::byte>(bits >> 23);
  } else if (format == Format::f32) {
    std::memcpy(at, &bits, 4);
  } else if (format == Format::bf16) {
    std::memcpy(at, reinterpret_cast<const std::byte*>(&bits) + 2, 2);
  } else {
    // Truncated to f16; the tests' numbers are normal there.
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    const auto half = static_cast<std::uint16_t>(sign | (((bits & 0x7fffffffu) >> 13) - (112u << 10)));
    std::memcpy(at, &half, 2);
  }
}

inline std::size_t bits_per_value(Format format) {
  constexpr std::size_t bits[] = {32, 16, 16, 8, 8, 4, 4, 8};
  return bits[index_of(format)];
}

// A matrix of random numbers of unit size that owns its bytes.
class StoredMatrix {
 public:
  StoredMatrix(const Shape& shape, unsigned seed) {
    std::mt19937 random(seed);
    view.format = shape.format;
    view.scale_format = shape.scale_format;
    view.rows = shape.rows;
    view.cols = shape.cols;
    const bool words = shape.format == Format::int8 || shape.format == Format::int4;
    const std::size_t unit = words ? 32 : 8;
    view.row_bytes = (shape.cols * bits_per_value(shape.format) + unit - 1) / unit * unit / 8;
    fill_values(shape, random);
    if (shape.block_cols) fill_scales(shape, random);
  }

  Matrix view;
  OddBytes values, scales, zeros, group_index;

 private:
  void fill_values(const Shape& shape, std::mt19937& random) {
    values = OddBytes(shape.rows * view.row_bytes);
    view.values = values.data();
    const std::size_t size = bits_per_value(shape.format) / 8;
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < values.size();) {
      if (size >= 2) {
        float value = normal(random);
        if (std::fabs(value) < 1e-3f) value = 1e-3f;
        put_number(shape.format, value, values.data() + i);
        i += size;
      } else {
        auto code = static_cast<std::uint8_t>(random());
        // NaN has tests of its own; large fp8 codes would hide the others.
        if (shape.format == Format::fp8_e4m3) code = static_cast<std::uint8_t>((code & 0x80) | (code % 0x48));
        std::memcpy(values.data() + i++, &code, 1);
      }
    }
  }

  void fill_scales(const Shape& shape, std::mt19937& random) {
    view.block_rows = shape.block_rows;
    view.block_cols = shape.block_cols;
    view.scale_cols = (shape.cols + shape.block_cols - 1) / shape.block_cols;
    const std::size_t scale_rows = (shape.rows + shape.block_rows - 1) / shape.block_rows;
    const std::size_t size = bits_per_value(shape.scale_format) / 8;
    scales = OddBytes(scale_rows * view.scale_cols * size);
    view.scales = scales.data();
    std::uniform_real_distribution<float> uniform(0.01f, 0.2f);
    for (std::size_t i = 0; i < scales.size(); i += size) {
      put_number(shape.scale_format, uniform(random), scales.data() + i);
    }
    if (shape.zeros) {
      const std::size_t per_word = 32 / bits_per_value(shape.format);
      zeros = OddBytes((shape.rows + per_word - 1) / per_word * view.scale_cols * 4);
      for (std::size_t i = 0; i < zeros.size(); ++i) zeros.data()[i] = static_cast<std::byte>(random());
      view.zeros = zeros.data();
    }
    if (shape.group_index) {
      group_index = OddBytes(shape.cols * 4);
      for (std::size_t c = 0; c < shape.cols; ++c) {
        const auto group = static_cast<std::uint32_t>(random() % view.scale_cols);
        std::memcpy(group_index.data() + 4 * c, &group, 4);
      }
      view.group_index = group_index.data();
    }
  }
};

// Every nth of a list, from a place that `seed` chooses, where the environment's BALEEN_TEST_EVERY is n: an
// emulator would take too long for all. Lists of neighbouring sizes have different ones left out; one at
// least is kept.
template <class T>
std::vector<T> thinned(const std::vector<T>& list, std::size_t seed) {
  const char* every = std::getenv("BALEEN_TEST_EVERY");
  const std::size_t n = every ? std::max(1, std::atoi(every)) : 1;
  std::vector<T> kept;
  if (list.empty()) return kept;
  for (std::size_t i = seed % std::min(n, list.size()); i < list.size(); i += n) kept.push_back(list[i]);
  return kept;
}

// The kernels, for every path and table, that multiply a matrix of this shape.
inline std::vector<decltype(Matmul::multiply)> kernels_for(const Shape& shape) {
  static constexpr std::byte something{};
  const Matrix outline{.format = shape.format,
                       .scale_format = shape.scale_format,
                       .rows = shape.rows,
                       .cols = shape.cols,
                       .values = &something,
                       .scales = shape.block_cols ? &something : nullptr,
                       .block_rows = shape.block_rows,
                       .block_cols = std::max<std::size_t>(shape.block_cols, 1),
                       .zeros = shape.zeros ? &something : nullptr,
                       .group_index = shape.group_index ? &something : nullptr};
  std::vector<decltype(Matmul::multiply)> list;
  for (const UsableTable& table : usable_tables()) {
    for (const Path path : {Path::exact, Path::batch, Path::stream}) {
      list.push_back(table.kernels->matmul(path, outline).multiply);
    }
  }
  return list;
}

// Likewise of the shapes that each format and kernel gets: none is left without.
inline std::vector<Shape> thinned_shapes(const std::vector<Shape>& shapes, std::size_t seed) {
  std::map<std::pair<Format, std::vector<decltype(Matmul::multiply)>>, std::vector<Shape>> groups;
  for (const Shape& shape : shapes) groups[{shape.format, kernels_for(shape)}].push_back(shape);
  std::vector<Shape> kept;
  for (const auto& [key, group] : groups) {
    for (const Shape& shape : thinned(group, seed)) kept.push_back(shape);
  }
  return kept;
}

// Every way of storing a matrix that the contract allows, for one size.
inline std::vector<Shape> all_shapes(std::size_t rows, std::size_t cols) {
  std::vector<Shape> shapes;
  for (const Format format : all_formats) shapes.push_back({.format = format, .rows = rows, .cols = cols});
  for (const Format scale : {Format::f32, Format::f16, Format::bf16}) {
    for (const std::size_t block : {std::size_t{128}, std::size_t{24}, std::size_t{3}}) {
      shapes.push_back({Format::fp8_e4m3, rows, cols, scale, block, block});
    }
    for (const Format format : {Format::int8, Format::int4}) {
      for (const std::size_t group :
           {std::size_t{16}, std::size_t{24}, std::size_t{32}, std::size_t{64}, std::size_t{128}, cols}) {
        shapes.push_back({format, rows, cols, scale, 1, group});
        shapes.push_back({format, rows, cols, scale, 1, group, true});
        shapes.push_back({format, rows, cols, scale, 1, group, true, true});
        shapes.push_back({format, rows, cols, scale, 1, group, false, true});
      }
      shapes.push_back({format, rows, cols, scale, rows, cols});  // one scale for all
    }
  }
  for (const std::size_t group : {std::size_t{32}, std::size_t{24}, std::size_t{64}, cols}) {
    shapes.push_back({Format::mxfp4, rows, cols, Format::e8m0, 1, group});
  }
  return thinned_shapes(shapes, cols);
}

inline std::string describe(const Shape& s) {
  static const char* const names[] = {"f32", "f16", "bf16", "fp8", "int8", "int4", "mxfp4", "e8m0"};
  std::string text = names[index_of(s.format)];
  text += " [" + std::to_string(s.rows) + ", " + std::to_string(s.cols) + "]";
  if (s.block_cols) {
    text += std::string(" scales ") + names[index_of(s.scale_format)] + " by " +
            std::to_string(s.block_rows) + "x" + std::to_string(s.block_cols);
  }
  if (s.zeros) text += " zeros";
  if (s.group_index) text += " group_index";
  return text;
}

}  // namespace baleen::kernels
