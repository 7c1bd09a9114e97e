// What NEON's tables do with rounded activations: products against sums in double of the numbers as they are
// rounded, so that only the rounding of sums is left to a tolerance. And what AddressSanitizer would find if
// it ran under QEMU: reads behind the last byte of a matrix.
#if defined(__aarch64__)

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/support.h"

namespace baleen::kernels {
namespace {

// What a table rounds activations to on a path; to bf16 the weights as well.
enum class Rounded { to_bf16, to_groups };

// A table and a path on which it rounds activations.
struct Rounding {
  const Kernels& kernels;
  Path path;
  Rounded activations;
  std::size_t lanes;  // that share a sum's groups
};

const Kernels* table_of(std::string_view features) {
  for (const UsableTable& table : usable_tables()) {
    if (table.isa == "neon" && table.features == features) return table.kernels;
  }
  MESSAGE(std::string(features) << ": skipped, this machine does not have it");
  return nullptr;
}

// Calls `test` with every table that rounds activations, and how it does.
template <class Test>
void for_each_rounding(const Test& test) {
  if (const Kernels* dotprod = table_of("asimd asimddp")) {
    test(Rounding{*dotprod, Path::stream, Rounded::to_groups, 4});
  }
  if (const Kernels* bf16 = table_of("asimd asimddp bf16")) {
    test(Rounding{*bf16, Path::batch, Rounded::to_bf16, 1});
  }
  if (const Kernels* i8mm = table_of("asimd asimddp bf16 i8mm")) {
    test(Rounding{*i8mm, Path::batch, Rounded::to_groups, 1});
  }
}

float round_to_bf16(float value) {
  if (!std::isfinite(value)) return value;
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
  float result;
  std::memcpy(&result, &rounded, sizeof result);
  return result;
}

// A row as int8 groups of 32 hold it: half a step of maximum / 127 away at most.
std::vector<double> round_to_groups(const float* x, std::size_t cols) {
  std::vector<double> rounded(cols);
  for (std::size_t begin = 0; begin < cols; begin += 32) {
    const std::size_t end = std::min(cols, begin + 32);
    float maximum = 0;
    for (std::size_t c = begin; c < end; ++c) {
      maximum = std::isnan(x[c]) ? infinity : std::max(maximum, std::fabs(x[c]));
      if (std::isinf(maximum)) break;
    }
    const float scale = std::isinf(maximum) ? nan : maximum / 127.0f;
    for (std::size_t c = begin; c < end; ++c) {
      const float steps = scale == 0 ? 0 : std::clamp(std::nearbyint(x[c] / scale), -128.0f, 127.0f);
      rounded[c] = static_cast<double>(steps) * scale;
    }
  }
  return rounded;
}

std::vector<double> rounded_activations(const Rounding& how, const float* x, std::size_t cols) {
  if (how.activations == Rounded::to_groups) return round_to_groups(x, cols);
  std::vector<double> rounded(cols);
  for (std::size_t c = 0; c < cols; ++c) rounded[c] = round_to_bf16(x[c]);
  return rounded;
}

std::vector<float> rounded_weights(const Rounding& how, const Matrix& m, std::size_t row) {
  std::vector<float> w(m.cols);
  scalar().widen_row[index_of(m.format)](m, row, w.data());
  if (how.activations == Rounded::to_bf16) std::transform(w.begin(), w.end(), w.begin(), round_to_bf16);
  return w;
}

struct Sum {
  double value = 0;
  double absolute = 0;
};

Sum dot(const std::vector<float>& w, const std::vector<double>& x) {
  Sum sum;
  for (std::size_t c = 0; c < w.size(); ++c) {
    sum.value += w[c] * x[c];
    sum.absolute += std::fabs(w[c] * x[c]);
  }
  return sum;
}

// Groups: their scaled sums are rounded twice and added by a fused multiply-add, each lane its share of the
// groups, four lanes by a tree of two; the reference's weights are rounded once. bf16: every addition rounds
// to odd, by 2^-23 at most, and what is below 2^-126 may be dropped.
double tolerance(const Rounding& how, std::size_t cols, const Sum& sum) {
  const auto n = static_cast<double>(cols);
  if (how.activations == Rounded::to_bf16) return n * (0x1p-23 * sum.absolute + 0x1p-126);
  const auto additions = static_cast<double>((cols + 32 * how.lanes - 1) / (32 * how.lanes));
  return (additions + 5) * 0x1p-24 * sum.absolute + n * 0x1p-149;
}

// Activations packed into memory that held NaN and small NaN-like codes before: what a kernel reads must have
// been written.
class DirtyRows {
 public:
  DirtyRows(const Packing& packing, const PackArgs& shape)
      : packing_(packing),
        bytes_((shape.tokens + packing.slot_tokens - 1) / packing.slot_tokens *
               packing.slot_bytes(shape.cols)),
        memory_(static_cast<std::byte*>(std::aligned_alloc(pack_align, std::max(bytes_, pack_align))),
                std::free) {
    std::memset(memory_.get(), 0xff, bytes_);
  }
  void pack(PackArgs args) {
    args.packed = memory_.get();
    packing_.pack(args);
  }
  const std::byte* data() const { return memory_.get(); }

 private:
  const Packing& packing_;
  std::size_t bytes_;
  std::unique_ptr<std::byte, void (*)(void*)> memory_;
};

struct Rows {
  std::size_t begin;
  std::size_t end;
};

// [tokens, rows]
std::vector<float> multiply(const Kernels& kernels, Path path, const Matrix& m, Rows rows,
                            const std::byte* packed, std::size_t tokens,
                            const std::uint32_t* slots = nullptr) {
  std::vector<float> out(tokens * (rows.end - rows.begin), nan);
  std::vector<float> scratch(matmul_scratch(m.cols));
  kernels.matmul(path, m).multiply({.matrix = &m,
                                    .row_begin = rows.begin,
                                    .row_end = rows.end,
                                    .packed = packed,
                                    .slots = slots,
                                    .tokens = tokens,
                                    .out = out.data(),
                                    .out_stride = rows.end - rows.begin,
                                    .scratch = scratch.data()});
  return out;
}

std::vector<float> multiply(const Kernels& kernels, Path path, const Matrix& m, const std::vector<float>& x,
                            std::size_t tokens) {
  const PackArgs pack{
      .x = x.data(), .x_stride = x.size() / tokens, .tokens = tokens, .cols = m.cols, .col_end = m.cols};
  DirtyRows packed(*kernels.matmul(path, m).packing, pack);
  packed.pack(pack);
  return multiply(kernels, path, m, {0, m.rows}, packed.data(), tokens);
}

std::vector<std::size_t> widths() {
  std::vector<std::size_t> list;
  for (std::size_t n = 1; n <= 40; ++n) list.push_back(n);
  for (const std::size_t n : {63,  64,  65,  95,  96,  97,  127, 128, 129,  130,  159,
                              160, 161, 224, 255, 256, 257, 352, 513, 1024, 2049, 2080})
    list.push_back(n);
  return list;
}

// The matrices that a path rounds activations for.
std::vector<Shape> rounding_shapes(Rounded activations, std::size_t rows, std::size_t cols) {
  std::vector<Shape> shapes;
  for (const Format format : {Format::int8, Format::int4}) {
    shapes.push_back({.format = format, .rows = rows, .cols = cols});
    for (const std::size_t group : {std::size_t{32}, std::size_t{64}, std::size_t{96}, std::size_t{128},
                                    std::size_t{160}, std::size_t{256}, cols}) {
      shapes.push_back({format, rows, cols, Format::bf16, 1, group});
    }
    shapes.push_back({format, rows, cols, Format::f16, 1, 32});
    shapes.push_back({format, rows, cols, Format::f32, 1, 128});
  }
  for (const std::size_t group : {std::size_t{32}, std::size_t{96}}) {
    shapes.push_back({Format::mxfp4, rows, cols, Format::e8m0, 1, group});
  }
  if (activations == Rounded::to_bf16) {
    shapes.push_back({.format = Format::bf16, .rows = rows, .cols = cols});
    shapes.push_back({.format = Format::fp8_e4m3, .rows = rows, .cols = cols});
    shapes.push_back({Format::fp8_e4m3, rows, cols, Format::f32, 128, 128});
    shapes.push_back({Format::int4, rows, cols, Format::bf16, 1, 24, true, true});
  }
  return shapes;
}

TEST_CASE("neon: which matrices have their activations rounded") {
  for_each_rounding([&](const Rounding& how) {
    const auto& [kernels, path, activations, lanes] = how;
    const auto rounds = [&](const Shape& shape, Path asked) {
      const StoredMatrix m(shape, 1);
      const Packing* exact = kernels.matmul(Path::exact, m.view).packing;
      CHECK(exact == scalar().matmul(Path::exact, m.view).packing);
      return kernels.matmul(asked, m.view).packing != exact;
    };
    for (const Shape& shape : rounding_shapes(activations, 3, 320)) {
      INFO(describe(shape));
      CHECK(rounds(shape, path));
      CHECK(!rounds(shape, Path::exact));
    }
    for (const Format format : {Format::f32, Format::f16}) {
      CHECK(!rounds({.format = format, .rows = 3, .cols = 320}, path));
    }
    if (activations == Rounded::to_bf16) return;
    // What has no groups of 32 columns is multiplied as without integer products.
    const Kernels& plain = *table_of(path == Path::stream ? "asimd" : "asimd asimddp bf16");
    const Shape others[] = {{Format::int4, 3, 320, Format::bf16, 1, 24},
                            {Format::int4, 3, 320, Format::bf16, 1, 32, true},
                            {Format::int8, 3, 320, Format::bf16, 1, 32, false, true},
                            {Format::int8, 3, 320, Format::bf16, 3, 320},
                            {Format::fp8_e4m3, 3, 320, Format::bf16, 128, 128},
                            {.format = Format::bf16, .rows = 3, .cols = 320}};
    for (const Shape& shape : others) {
      INFO(describe(shape));
      const StoredMatrix m(shape, 1);
      CHECK(&kernels.matmul(path, m.view) == &plain.matmul(path, m.view));
    }
  });
}

TEST_CASE("neon: products of rounded activations, any size, alone or together") {
  constexpr std::size_t rows = 19;
  constexpr std::size_t tokens = 9;
  for_each_rounding([&](const Rounding& how) {
    const auto& [kernels, path, activations, lanes] = how;
    for (const std::size_t cols : widths()) {
      const auto x = random_floats(tokens * cols, static_cast<unsigned>(cols));
      std::vector<std::vector<double>> rounded;
      for (std::size_t t = 0; t < tokens; ++t) {
        rounded.push_back(rounded_activations(how, x.data() + t * cols, cols));
      }
      for (const Shape& shape : thinned_shapes(rounding_shapes(activations, rows, cols), cols)) {
        INFO(describe(shape));
        const StoredMatrix m(shape, static_cast<unsigned>(cols));
        const auto together = multiply(kernels, path, m.view, x, tokens);
        std::size_t wrong = 0;
        for (std::size_t r = 0; r < rows; ++r) {
          const auto w = rounded_weights(how, m.view, r);
          for (std::size_t t = 0; t < tokens; ++t) {
            const Sum sum = dot(w, rounded[t]);
            wrong += !(std::fabs(together[t * rows + r] - sum.value) <= tolerance(how, cols, sum));
          }
        }
        CHECK(wrong == 0);
        std::size_t different = 0;
        for (std::size_t n = 1; n < tokens; ++n) {
          const PackArgs pack{.x = x.data() + (tokens - n) * cols,
                              .x_stride = cols,
                              .tokens = n,
                              .cols = cols,
                              .col_end = cols};
          DirtyRows packed(*kernels.matmul(path, m.view).packing, pack);
          packed.pack(pack);
          const Rows part = {n, std::min(rows, 2 * n + 3)};
          const auto out = multiply(kernels, path, m.view, part, packed.data(), n);
          const std::size_t width = part.end - part.begin;
          for (std::size_t i = 0; i < out.size(); ++i) {
            const std::size_t token = tokens - n + i / width;
            different += !same(out[i], together[token * rows + part.begin + i % width]);
          }
        }
        CHECK(different == 0);
      }
    }
  });
}

TEST_CASE("neon: columns packed in ranges, tokens gathered when packed and by their slots") {
  constexpr std::size_t cols = 331;
  constexpr std::size_t rows = 5;
  const auto x = random_floats(8 * cols, 1);
  const std::uint32_t gather[] = {7, 0, 3, 3, 6, 1, 2};
  constexpr std::size_t tokens = std::size(gather);
  for_each_rounding([&](const Rounding& how) {
    const auto& [kernels, path, activations, lanes] = how;
    const StoredMatrix m({Format::int4, rows, cols, Format::bf16, 1, 64}, 2);
    const Packing& packing = *kernels.matmul(path, m.view).packing;
    const auto all = multiply(kernels, path, m.view, x, 8);
    const auto check = [&](const std::vector<float>& out) {
      for (std::size_t i = 0; i < tokens * rows; ++i) {
        CHECK(same(out[i], all[gather[i / rows] * rows + i % rows]));
      }
    };
    const PackArgs whole{
        .x = x.data(), .x_stride = cols, .x_rows = gather, .tokens = tokens, .cols = cols, .col_end = cols};
    DirtyRows packed(packing, whole);
    for (const std::size_t begin : {320, 64, 0, 32}) {  // in any order
      PackArgs part = whole;
      part.col_begin = begin;
      part.col_end = begin == 0 ? 32 : begin == 32 ? 64 : begin == 64 ? 320 : cols;
      part.x = x.data() + begin;
      packed.pack(part);
    }
    check(multiply(kernels, path, m.view, {0, rows}, packed.data(), tokens));
    if (packing.slot_tokens > 1) return;
    const PackArgs plain{.x = x.data(), .x_stride = cols, .tokens = 8, .cols = cols, .col_end = cols};
    DirtyRows slots(packing, plain);
    slots.pack(plain);
    check(multiply(kernels, path, m.view, {0, rows}, slots.data(), tokens, gather));
  });
}

TEST_CASE("neon: extreme activations concern their own token alone") {
  constexpr std::size_t rows = 5;
  constexpr std::size_t tokens = 5;
  for (const float special : {nan, infinity, -infinity, 0.0f, -0.0f, 1e-45f, 1e-39f, 1e30f, 3e38f}) {
    for (const std::size_t cols : {1, 31, 33, 70, 300}) {
      const auto clean = random_floats(tokens * cols, 3);
      for (std::size_t at = 0; at < cols; at += 7) {
        auto x = clean;
        x[2 * cols + at] = special;
        for_each_rounding([&](const Rounding& how) {
          const auto& [kernels, path, activations, lanes] = how;
          INFO("special " << special << " at " << at << " of " << cols);
          const StoredMatrix m({Format::int8, rows, cols, Format::bf16, 1, 32}, 4);
          const auto expected = multiply(kernels, path, m.view, clean, tokens);
          const auto out = multiply(kernels, path, m.view, x, tokens);
          const auto rounded = rounded_activations(how, x.data() + 2 * cols, cols);
          for (std::size_t i = 0; i < out.size(); ++i) {
            if (i / rows != 2) {
              CHECK(same(out[i], expected[i]));
              continue;
            }
            const Sum sum = dot(rounded_weights(how, m.view, i % rows), rounded);
            const bool close = std::fabs(out[i] - sum.value) <= tolerance(how, cols, sum);
            CHECK((close || same(out[i], static_cast<float>(sum.value))));
          }
        });
      }
    }
  }
}

TEST_CASE("neon: groups of zeros and of denormals") {
  for (const float size : {0.0f, 1e-45f, 1e-43f, 1e-39f, 1e-36f}) {
    const std::vector<float> x = {size, -size, size / 2, 0, -size / 3};
    for_each_rounding([&](const Rounding& how) {
      const auto& [kernels, path, activations, lanes] = how;
      const StoredMatrix m({.format = Format::int8, .rows = 3, .cols = x.size()}, 4);
      const auto out = multiply(kernels, path, m.view, x, 1);
      const auto rounded = rounded_activations(how, x.data(), x.size());
      for (std::size_t r = 0; r < 3; ++r) {
        const Sum sum = dot(rounded_weights(how, m.view, r), rounded);
        // BFMMLA takes a denormal for zero before it multiplies by up to 128.
        const double lost = activations == Rounded::to_bf16 ? 128 * 5 * 0x1p-126 : 0;
        CHECK(std::fabs(out[r] - sum.value) <= tolerance(how, x.size(), sum) + lost);
      }
    });
  }
}

TEST_CASE("neon: infinite and NaN scales reach the outputs of their own rows") {
  constexpr std::size_t cols = 200;
  const auto x = random_floats(3 * cols, 3);
  for (const float special : {nan, infinity}) {
    for (std::size_t group = 0; group < 7; ++group) {
      StoredMatrix m({Format::int4, 5, cols, Format::f32, 1, 32}, 4);
      const StoredMatrix clean = StoredMatrix({Format::int4, 5, cols, Format::f32, 1, 32}, 4);
      put_number(Format::f32, special, m.scales.data() + (2 * 7 + group) * 4);
      for_each_rounding([&](const Rounding& how) {
        const auto& [kernels, path, activations, lanes] = how;
        Matrix before = m.view;
        before.scales = clean.scales.data();
        const auto expected = multiply(kernels, path, before, x, 3);
        const auto out = multiply(kernels, path, m.view, x, 3);
        for (std::size_t i = 0; i < out.size(); ++i) {
          if (i % 5 == 2) {
            CHECK(!std::isfinite(out[i]));
          } else {
            CHECK(same(out[i], expected[i]));
          }
        }
      });
    }
  }
}

// Bytes whose last one is followed by a page that may not be touched.
class GuardedBytes {
 public:
  explicit GuardedBytes(const OddBytes& from) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t room = (from.size() + page - 1) / page * page;
    size_ = room + page;
    void* memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    start_ = static_cast<std::byte*>(memory);
    REQUIRE(mprotect(start_ + room, page, PROT_NONE) == 0);
    data_ = start_ + room - from.size();
    std::memcpy(data_, from.data(), from.size());
  }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  ~GuardedBytes() { munmap(start_, size_); }
  const std::byte* data() const { return data_; }

 private:
  std::size_t size_ = 0;
  std::byte* start_ = nullptr;
  std::byte* data_ = nullptr;
};

TEST_CASE("neon: nothing is read behind a matrix, on any path") {
  constexpr std::size_t rows = 5;
  for (const std::size_t cols : {1, 2, 3, 7, 8, 9, 15, 17, 31, 33, 64, 65, 127, 129, 161, 260}) {
    const auto x = random_floats(3 * cols, 1);
    for (const Shape& shape : all_shapes(rows, cols)) {
      const StoredMatrix m(shape, 1);
      const GuardedBytes values(m.values), scales(m.scales), zeros(m.zeros), group_index(m.group_index);
      Matrix guarded = m.view;
      guarded.values = values.data();
      if (m.view.scales) guarded.scales = scales.data();
      if (m.view.zeros) guarded.zeros = zeros.data();
      if (m.view.group_index) guarded.group_index = group_index.data();
      for (const UsableTable& table : usable_tables()) {
        INFO(describe(shape) << " " << table.features);
        for (const Path path : {Path::batch, Path::stream, Path::exact}) {
          const auto expected = multiply(*table.kernels, path, m.view, x, 3);
          const auto out = multiply(*table.kernels, path, guarded, x, 3);
          std::size_t different = 0;
          for (std::size_t i = 0; i < out.size(); ++i) different += !same(out[i], expected[i]);
          CHECK(different == 0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace baleen::kernels

#endif
