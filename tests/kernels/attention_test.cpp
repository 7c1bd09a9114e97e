// Attention and the KV cache's rows: against softmax in double, and against itself, as a query's result must
// not depend on the other queries and positions of a call.
#include "kernels/support.h"

namespace baleen::kernels {
namespace {

constexpr auto exact = static_cast<std::size_t>(Path::exact);

constexpr KvFormat kv_formats[] = {KvFormat::f32, KvFormat::bf16, KvFormat::int8};

// A KV cache of random rows: at odd addresses, or at multiples of four, where kernels may take f32 rows as
// they lie.
struct Cache {
  Cache(KvFormat f, std::size_t count, std::size_t row_width, unsigned seed, bool odd = true)
      : format(f),
        width(row_width),
        row_bytes(kv_row_bytes(f, row_width) + (odd ? 3 : 0)),
        begin(odd ? 0 : 3),
        bytes(begin + count * row_bytes) {
    for (std::size_t p = 0; p < count; ++p) store(p, random_floats(width, seed + static_cast<unsigned>(p)));
  }

  const std::byte* row(std::size_t position) const { return bytes.data() + begin + position * row_bytes; }

  void store(std::size_t position, const std::vector<float>& values) {
    scalar().kv_store(format, values.data(), width, bytes.data() + begin + position * row_bytes);
  }

  KvFormat format;
  std::size_t width;
  std::size_t row_bytes;
  std::size_t begin;
  OddBytes bytes;
};

// What `width` stored numbers read back as: attention over this row alone, whose only weight is 1.
std::vector<float> read_back(const Kernels& kernels, KvFormat format, const std::byte* row,
                             std::size_t width) {
  const float zero = 0;
  const std::uint32_t first = 0;
  const std::uint32_t last = 1;
  SoftmaxState state;
  std::vector<float> out(width);
  std::vector<float> scratch(attention_scratch(1, 1, width));
  kernels.attention[exact]({.q = &zero,
                            .q_stride = 1,
                            .queries = 1,
                            .first = &first,
                            .last = &last,
                            .kv_format = format,
                            .keys = row,
                            .k_dim = 1,
                            .values = row,
                            .v_dim = width,
                            .begin = 0,
                            .end = 1,
                            .state = &state,
                            .out = out.data(),
                            .out_stride = width,
                            .scratch = scratch.data()});
  return out;
}

struct Result {
  std::vector<SoftmaxState> state;
  std::vector<float> out;  // [queries, v_dim]
};

struct Call {
  std::vector<float> q;  // [queries, k_dim]
  std::vector<std::uint32_t> first, last;
  std::size_t begin = 0;
  std::size_t end = 0;
  float scale = 0.2f;
};

Result attend(const Kernels& kernels, const Call& call, const Cache& keys, std::size_t k_dim,
              const Cache& values, std::size_t v_dim, Path path = Path::exact) {
  const std::size_t queries = call.first.size();
  Result result{std::vector<SoftmaxState>(queries), std::vector<float>(queries * v_dim, nan)};
  std::vector<float> scratch(attention_scratch(queries, k_dim, v_dim));
  kernels.attention[static_cast<std::size_t>(path)]({.q = call.q.data(),
                                                     .q_stride = k_dim,
                                                     .queries = queries,
                                                     .first = call.first.data(),
                                                     .last = call.last.data(),
                                                     .kv_format = keys.format,
                                                     .keys = keys.row(0),
                                                     .key_row_bytes = keys.row_bytes,
                                                     .k_dim = k_dim,
                                                     .values = values.row(0),
                                                     .value_row_bytes = values.row_bytes,
                                                     .v_dim = v_dim,
                                                     .begin = call.begin,
                                                     .end = call.end,
                                                     .scale = call.scale,
                                                     .state = result.state.data(),
                                                     .out = result.out.data(),
                                                     .out_stride = v_dim,
                                                     .scratch = scratch.data()});
  return result;
}

// Query `index` of a call as a call of its own.
Call alone(const Call& call, std::size_t index, std::size_t k_dim) {
  Call one = call;
  const auto from = call.q.begin() + static_cast<std::ptrdiff_t>(index * k_dim);
  one.q.assign(from, from + static_cast<std::ptrdiff_t>(k_dim));
  one.first = {call.first[index]};
  one.last = {call.last[index]};
  return one;
}

bool same_query(const Result& a, std::size_t i, const Result& b, std::size_t j, std::size_t v_dim) {
  bool equal = same(a.state[i].maximum, b.state[j].maximum) && same(a.state[i].sum, b.state[j].sum);
  for (std::size_t c = 0; c < v_dim; ++c) equal = equal && same(a.out[i * v_dim + c], b.out[j * v_dim + c]);
  return equal;
}

// Softmax in double. A score is a float32 sum of k_dim products, off by at most delta = scale * (k_dim + 2) *
// 2^-24
// * sum |q k|; so a weight is off by the factor e^(2 delta) at most (its own score and the maximum), and
// besides by the roundings of exp and of the sums over positions.
void check_softmax(const Call& call, const Result& result, std::size_t query,
                   const std::vector<std::vector<float>>& keys, const std::vector<std::vector<float>>& values,
                   std::size_t k_dim, std::size_t v_dim, Path path) {
  // Paths but the exact one may round queries, keys, weights and values to bf16.
  const double rounding = path == Path::exact ? 0 : 0x1p-8;
  const std::size_t begin = std::max<std::size_t>(call.begin, call.first[query]);
  const std::size_t end = std::min<std::size_t>(call.end, call.last[query]);
  if (begin >= end) {
    CHECK(result.state[query].maximum == -infinity);
    CHECK(result.state[query].sum == 0);
    for (std::size_t c = 0; c < v_dim; ++c) CHECK(result.out[query * v_dim + c] == 0);
    return;
  }
  std::vector<double> score;
  double maximum = -infinity;
  double delta = 0;
  for (std::size_t p = begin; p < end; ++p) {
    double sum = 0;
    double absolute = 0;
    for (std::size_t i = 0; i < k_dim; ++i) {
      const double product = static_cast<double>(call.q[query * k_dim + i]) * keys[p][i];
      sum += product;
      absolute += std::fabs(product);
    }
    score.push_back(call.scale * sum);
    maximum = std::max(maximum, score.back());
    delta =
        std::max(delta, call.scale * ((static_cast<double>(k_dim) + 2) * 0x1p-24 + 2 * rounding) * absolute);
  }
  double sum = 0;
  for (double& s : score) sum += s = std::exp(s - maximum);
  // The bound on a factor e^x is e^x - 1.
  const double relative =
      std::expm1(2 * delta) + 2 * rounding + (static_cast<double>(end - begin) + 8) * 0x1p-23;
  CHECK(std::fabs(result.state[query].maximum - maximum) <= delta + std::fabs(maximum) * 0x1p-23);
  CHECK(std::fabs(result.state[query].sum - sum) <= relative * sum);
  std::size_t wrong = 0;
  for (std::size_t c = 0; c < v_dim; ++c) {
    double expected = 0;
    double absolute = 0;
    for (std::size_t p = begin; p < end; ++p) {
      expected += score[p - begin] * values[p][c];
      absolute += score[p - begin] * std::fabs(values[p][c]);
    }
    wrong += !(std::fabs(result.out[query * v_dim + c] - expected) <= relative * absolute);
  }
  CHECK(wrong == 0);
}

template <class Test>
void for_each_isa(const Test& test) {
  test(scalar());
  for_each_vector_isa(test);
}

// With every kernel for attention that a table has on some path, once: paths but the exact one share its
// kernel or have a wider bound, and a table may have those of a plainer one.
template <class Test>
void for_each_path(const Test& test) {
  std::vector<std::pair<void (*)(const AttentionArgs&), bool>> tested;
  for_each_isa([&](const Kernels& kernels) {
    for (const Path path : {Path::exact, Path::batch, Path::stream}) {
      const auto kernel = kernels.attention[static_cast<std::size_t>(path)];
      if (path != Path::exact && kernel == kernels.attention[exact]) continue;
      const std::pair entry(kernel, path == Path::exact);
      if (std::find(tested.begin(), tested.end(), entry) != tested.end()) continue;
      tested.push_back(entry);
      INFO("path " << static_cast<int>(path));
      test(kernels, path);
    }
  });
}

TEST_CASE("kv_store: f32 and bf16 rows") {
  const std::vector<float> row = {0.0f,    -0.0f,  1.0f,     1.00390625f, 1.01171875f, -3.0e38f,
                                  3.4e38f, 1e-45f, infinity, -infinity,   nan};
  for_each_isa([&](const Kernels& kernels) {
    std::vector<std::byte> bytes(row.size() * 4);
    kernels.kv_store(KvFormat::f32, row.data(), row.size(), bytes.data());
    CHECK(std::memcmp(bytes.data(), row.data(), bytes.size()) == 0);
    kernels.kv_store(KvFormat::bf16, row.data(), row.size(), bytes.data());
    // Halfway cases go to the even neighbour, beyond the largest number lies infinity, NaN stays.
    const std::vector<std::uint16_t> expected = {0x0000, 0x8000, 0x3f80, 0x3f80, 0x3f82,
                                                 0xff62, 0x7f80, 0x0000, 0x7f80, 0xff80};
    CHECK(std::memcmp(bytes.data(), expected.data(), expected.size() * 2) == 0);
    CHECK(std::isnan(read_back(kernels, KvFormat::bf16, bytes.data() + 20, 1)[0]));
  });
}

TEST_CASE("kv_store: int8 rows are within half a step of maximum / 127 of each group, any width") {
  for (std::size_t width = 1; width <= 100; ++width) {
    auto row = random_floats(width, static_cast<unsigned>(width));
    if (width > 40) std::fill(row.begin() + 32, row.end(), 0.0f);
    OddBytes bytes(kv_row_bytes(KvFormat::int8, width));
    for_each_isa([&](const Kernels& kernels) {
      kernels.kv_store(KvFormat::int8, row.data(), width, bytes.data());
      const auto back = read_back(kernels, KvFormat::int8, bytes.data(), width);
      for (std::size_t i = 0; i < width; ++i) {
        float maximum = 0;
        for (std::size_t k = i / kv_group * kv_group; k < std::min(width, (i / kv_group + 1) * kv_group);
             ++k) {
          maximum = std::max(maximum, std::fabs(row[k]));
        }
        CHECK(std::fabs(back[i] - row[i]) <= maximum / 127 * 0.5001f);
      }
    });
  }
}

TEST_CASE("kv_store: int8 groups of extremes") {
  for (const float special : {nan, infinity, -infinity}) {
    std::vector<float> row(70, 1.0f);
    row[40] = special;
    std::vector<std::byte> bytes(kv_row_bytes(KvFormat::int8, row.size()));
    for_each_isa([&](const Kernels& kernels) {
      kernels.kv_store(KvFormat::int8, row.data(), row.size(), bytes.data());
      const auto back = read_back(kernels, KvFormat::int8, bytes.data(), row.size());
      for (std::size_t i = 0; i < row.size(); ++i) CHECK(std::isnan(back[i]) == (i / 32 == 1));
    });
  }
  for (const float size : {1e-45f, 1e-43f, 1e-39f, 3e38f}) {
    const std::vector<float> row = {size, -size, size / 2, 0};
    std::vector<std::byte> bytes(kv_row_bytes(KvFormat::int8, row.size()));
    for_each_isa([&](const Kernels& kernels) {
      kernels.kv_store(KvFormat::int8, row.data(), row.size(), bytes.data());
      const auto back = read_back(kernels, KvFormat::int8, bytes.data(), row.size());
      // Scales among the denormals are coarse: half of the smallest one, times 127, is lost at most.
      for (std::size_t i = 0; i < 4; ++i) CHECK(std::fabs(back[i] - row[i]) <= size / 250 + 64 * 0x1p-149f);
    });
  }
}

TEST_CASE("kv_load: what attention reads of a row, any width and alignment") {
  for (const KvFormat format : {KvFormat::f32, KvFormat::bf16, KvFormat::int8}) {
    for (std::size_t width = 1; width <= 100; ++width) {
      const auto row = random_floats(width, static_cast<unsigned>(width));
      OddBytes bytes(kv_row_bytes(format, width));
      for_each_isa([&](const Kernels& kernels) {
        kernels.kv_store(format, row.data(), width, bytes.data());
        std::vector<float> loaded(width + 1, 7.0f);
        kernels.kv_load(format, bytes.data(), width, loaded.data());
        CHECK(loaded.back() == 7.0f);
        loaded.pop_back();
        CHECK(loaded == read_back(kernels, format, bytes.data(), width));
      });
    }
  }
}

// Queries with empty, short, long and sliding ranges over positions [0, 150); more than 15 have them in turn.
Call mixed_call(std::size_t k_dim, unsigned seed, std::size_t queries = 15) {
  constexpr std::uint32_t first[] = {0, 0, 0, 0, 0, 10, 31, 32, 33, 64, 100, 149, 70, 0, 90};
  constexpr std::uint32_t last[] = {150, 150, 150, 150, 1, 75, 33, 64, 97, 96, 120, 150, 70, 0, 80};
  Call call;
  for (std::size_t q = 0; q < queries; ++q) {
    call.first.push_back(first[q % std::size(first)]);
    call.last.push_back(last[q % std::size(last)]);
  }
  call.q = random_floats(queries * k_dim, seed);
  call.end = 150;
  return call;
}

TEST_CASE("attention: softmax of the positions each query sees") {
  for (const KvFormat format : kv_formats) {
    for (const std::size_t k_dim : {1, 7, 16, 31, 64, 70, 192}) {
      for (const std::size_t v_dim : {1, 16, 33, 100}) {
        const Cache keys(format, 150, k_dim, 1);
        const Cache values(format, 150, v_dim, 1000);
        std::vector<std::vector<float>> k, v;
        for (std::size_t p = 0; p < 150; ++p) {
          k.push_back(read_back(scalar(), format, keys.row(p), k_dim));
          v.push_back(read_back(scalar(), format, values.row(p), v_dim));
        }
        const Call call = mixed_call(k_dim, 5);
        for_each_path([&](const Kernels& kernels, Path path) {
          INFO("k_dim " << k_dim << " v_dim " << v_dim);
          const Result result = attend(kernels, call, keys, k_dim, values, v_dim, path);
          for (std::size_t q = 0; q < call.first.size(); ++q)
            check_softmax(call, result, q, k, v, k_dim, v_dim, path);
        });
      }
    }
  }
}

TEST_CASE("attention: a query's result does not depend on the call's other queries and positions") {
  const std::size_t k_dim = 70;
  const std::size_t v_dim = 50;
  for (const KvFormat format : kv_formats) {
    const Cache keys(format, 150, k_dim, 1);
    const Cache values(format, 150, v_dim, 1000);
    const Call call = mixed_call(k_dim, 6);
    for_each_path([&](const Kernels& kernels, Path path) {
      const Result together = attend(kernels, call, keys, k_dim, values, v_dim, path);
      for (std::size_t q = 0; q < call.first.size(); ++q) {
        Call one = alone(call, q, k_dim);
        CHECK(same_query(together, q, attend(kernels, one, keys, k_dim, values, v_dim, path), 0, v_dim));
        // Only what the query sees, and other bounds around it.
        for (const std::size_t margin : {0, 5, 40}) {
          one.begin = one.first[0] > margin ? one.first[0] - margin : 0;
          one.end = std::min<std::size_t>(150, one.last[0] + margin);
          CHECK(same_query(together, q, attend(kernels, one, keys, k_dim, values, v_dim, path), 0, v_dim));
        }
      }
      // Queries split between two calls.
      for (std::size_t split = 1; split < call.first.size(); split += 3) {
        Call rest = call;
        rest.q.erase(rest.q.begin(), rest.q.begin() + static_cast<std::ptrdiff_t>(split * k_dim));
        rest.first.erase(rest.first.begin(), rest.first.begin() + static_cast<std::ptrdiff_t>(split));
        rest.last.erase(rest.last.begin(), rest.last.begin() + static_cast<std::ptrdiff_t>(split));
        const Result part = attend(kernels, rest, keys, k_dim, values, v_dim, path);
        for (std::size_t q = split; q < call.first.size(); ++q)
          CHECK(same_query(together, q, part, q - split, v_dim));
      }
    });
  }
}

TEST_CASE("attention: of many queries each gets what it gets alone") {
  const std::size_t k_dim = 70;
  const std::size_t v_dim = 50;
  // Twice what kernels on tiles take at once, and more than half of that besides.
  const std::size_t queries = 83;
  for (const KvFormat format : kv_formats) {
    const Cache keys(format, 150, k_dim, 1);
    const Cache values(format, 150, v_dim, 1000);
    const Call call = mixed_call(k_dim, 9, queries);
    for_each_path([&](const Kernels& kernels, Path path) {
      const Result together = attend(kernels, call, keys, k_dim, values, v_dim, path);
      std::size_t different = 0;
      for (std::size_t q = 0; q < queries; ++q) {
        const Result one = attend(kernels, alone(call, q, k_dim), keys, k_dim, values, v_dim, path);
        different += !same_query(together, q, one, 0, v_dim);
      }
      CHECK(different == 0);
    });
  }
}

TEST_CASE("attention: values that are the keys' rows give what copies of them give") {
  const std::size_t k_dim = 72;
  for (const KvFormat format : kv_formats) {
    const Cache latent(format, 150, k_dim, 1);
    const Cache copy = latent;
    const Call call = mixed_call(k_dim, 7);
    for (const std::size_t v_dim : {1, 40, 64, 72}) {
      for_each_path([&](const Kernels& kernels, Path path) {
        const Result shared = attend(kernels, call, latent, k_dim, latent, v_dim, path);
        const Result separate = attend(kernels, call, latent, k_dim, copy, v_dim, path);
        for (std::size_t q = 0; q < call.first.size(); ++q) CHECK(same_query(shared, q, separate, q, v_dim));
      });
    }
  }
}

TEST_CASE("attention: rows give the same wherever they lie, any width and number of queries") {
  for (const KvFormat format : kv_formats) {
    for (const std::size_t dim : {1, 4, 8, 16, 48, 176, 320, 576}) {
      const Cache odd(format, 150, dim, 1);
      const Cache even(format, 150, dim, 1, false);
      Call call = mixed_call(dim, 8);
      for (std::size_t queries = call.first.size(); queries > 0; --queries) {
        call.first.resize(queries);
        call.last.resize(queries);
        for_each_path([&](const Kernels& kernels, Path path) {
          const Result expected = attend(kernels, call, odd, dim, odd, dim, path);
          const Result result = attend(kernels, call, even, dim, even, dim, path);
          for (std::size_t q = 0; q < queries; ++q) CHECK(same_query(expected, q, result, q, dim));
        });
      }
    }
  }
}

TEST_CASE("attention: rows that a query does not see leave no trace in it, NaN included") {
  const std::size_t dim = 40;
  for (const KvFormat format : kv_formats) {
    const Cache clean(format, 150, dim, 1);
    Cache dirty = clean;
    for (const std::size_t p : {0, 9, 75, 76, 149}) dirty.store(p, std::vector<float>(dim, nan));
    Call call;
    call.first = {10, 0, 77, 1, 74};
    call.last = {75, 150, 149, 9, 75};
    call.q = random_floats(5 * dim, 3);
    call.end = 150;
    for_each_path([&](const Kernels& kernels, Path path) {
      const Result expected = attend(kernels, call, clean, dim, clean, dim, path);
      const Result result = attend(kernels, call, dirty, dim, dirty, dim, path);
      for (const std::size_t q : {0, 2, 3, 4}) CHECK(same_query(expected, q, result, q, dim));
      CHECK(std::isnan(result.state[1].sum));
      CHECK(std::isnan(result.out[dim]));
    });
  }
}

TEST_CASE("attention: infinite scores") {
  const std::size_t dim = 1;
  Cache keys(KvFormat::f32, 64, dim, 1);
  Cache values(KvFormat::f32, 64, dim, 1);
  for (std::size_t p = 0; p < 64; ++p) {
    keys.store(p, {p < 40 ? -infinity : static_cast<float>(p == 50)});
    values.store(p, {1.0f});
  }
  Call call;
  call.q = {1, 1};
  call.first = {0, 0};
  call.last = {64, 20};
  call.end = 64;
  call.scale = 1;
  for_each_path([&](const Kernels& kernels, Path path) {
    const Result result = attend(kernels, call, keys, dim, values, dim, path);
    // Positions at -infinity count for nothing; a query that has only those has an empty sum.
    CHECK(result.state[0].maximum == 1);
    const double epsilon = path == Path::exact ? 1e-6 : 0x1p-8;
    CHECK(result.state[0].sum == doctest::Approx(1 + 23 * std::exp(-1.0)).epsilon(epsilon));
    CHECK(result.out[0] == doctest::Approx(result.state[0].sum).epsilon(1e-6));
    CHECK(result.state[1].maximum == -infinity);
    CHECK(result.state[1].sum == 0);
  });
}

// Two positions with scores 0 and x <= 0: the second one's weight is exp(x) itself.
TEST_CASE("attention: exp within 2 units in the last place, and 0 among the denormals") {
  Cache values(KvFormat::f32, 2, 1, 1);
  values.store(0, {0.0f});
  values.store(1, {1.0f});
  Cache keys(KvFormat::f32, 2, 1, 1);
  keys.store(0, {0.0f});
  Call call;
  call.q = {1};
  call.first = {0};
  call.last = {2};
  call.end = 2;
  call.scale = 1;
  for_each_vector_isa([&](const Kernels& kernels) {
    double worst = 0;
    std::size_t not_zero = 0;
    for (float x = 0; x > -105; x = x * 1.0007f - 0.0011f) {
      keys.store(1, {x});
      const double weight = attend(kernels, call, keys, 1, values, 1).out[0];
      const double expected = std::exp(static_cast<double>(x));
      if (x < -87) {
        not_zero += weight != 0;
      } else {
        worst = std::max(worst, std::fabs(weight - expected) / std::ldexp(1.0, std::ilogb(expected) - 23));
      }
    }
    CHECK(worst <= 2);
    CHECK(not_zero == 0);
  });
}

}  // namespace
}  // namespace baleen::kernels
