#include "quant/calibration.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

#include "benching/fixture.h"
#include "error.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "model/forward.h"
#include "quant/gptq.h"
#include "quant/in_memory.h"
#include "runtime/session.h"

using namespace baleen;
using namespace baleen::testing;
using kernels::Matrix;

namespace {

std::vector<TokenId> ids_of(const Expected& expected) {
  std::vector<TokenId> ids;
  for (const std::int64_t id : expected.get<std::int64_t>("input_ids"))
    ids.push_back(static_cast<TokenId>(id));
  return ids;
}

std::vector<TokenId> some_ids(std::size_t count) {
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>((i * 37 + i / 7 * 11) % 100));
  return ids;
}

struct Guided {
  std::vector<float> importance;
  std::vector<float> factor;
  std::size_t tokens = 0;
  bool operator==(const Guided&) const = default;
};

// Every module's guide, by name, with nothing replaced.
std::map<std::string, Guided> guides(const Model& model, std::span<const TokenId> ids, ThreadPool& pool,
                                     CalibrationOptions options) {
  if (!options.kernels) options.kernels = kernels::find_kernels("scalar");
  Calibration calibration(model, ids, pool, options);
  std::map<std::string, Guided> all;
  std::mutex mutex;
  while (calibration.next())
    calibration.for_each_site([&](const Site& site, std::size_t lane) {
      const Guide guide = calibration.guide(site, lane);
      Guided copy{{guide.importance.begin(), guide.importance.end()}, {}, site.tokens};
      if (guide.factor) copy.factor.assign(guide.factor, guide.factor + site.cols * site.cols);
      const std::lock_guard lock(mutex);
      for (const Site::Module& module : site.modules) all[module.name] = copy;
    });
  return all;
}

// Mean square of each column of x [tokens, cols].
std::vector<double> mean_square(const std::vector<float>& x, std::size_t cols) {
  std::vector<double> mean(cols);
  const std::size_t tokens = x.size() / cols;
  for (std::size_t i = 0; i < x.size(); ++i)
    mean[i % cols] += double{x[i]} * x[i] / static_cast<double>(tokens);
  return mean;
}

void check_near(const std::vector<float>& found, const std::vector<double>& expected, double tolerance) {
  REQUIRE(found.size() == expected.size());
  const double most = *std::max_element(expected.begin(), expected.end());
  for (std::size_t c = 0; c < found.size(); ++c) CHECK(std::fabs(found[c] - expected[c]) <= tolerance * most);
}

std::vector<float> widened(const Matrix& matrix) {
  std::vector<float> w(matrix.rows * matrix.cols);
  for (std::size_t r = 0; r < matrix.rows; ++r)
    kernels::find_kernels("scalar")->widen_row[static_cast<std::size_t>(matrix.format)](
        matrix, r, w.data() + r * matrix.cols);
  return w;
}

// x / sqrt(mean(x^2) + eps) * gain of the first gain.cols numbers of every row.
std::vector<float> normed(const std::vector<float>& x, std::size_t stride, const Matrix& gain, double eps) {
  const std::vector<float> g = widened(gain);
  std::vector<float> out;
  for (std::size_t row = 0; row < x.size(); row += stride) {
    double square = 0;
    for (std::size_t c = 0; c < g.size(); ++c) square += double{x[row + c]} * x[row + c];
    const double scale = 1 / std::sqrt(square / static_cast<double>(g.size()) + eps);
    for (std::size_t c = 0; c < g.size(); ++c) out.push_back(static_cast<float>(x[row + c] * scale * g[c]));
  }
  return out;
}

std::vector<float> product(const std::vector<float>& x, const Matrix& matrix) {
  const std::vector<float> w = widened(matrix);
  std::vector<float> out;
  for (std::size_t row = 0; row < x.size(); row += matrix.cols)
    for (std::size_t r = 0; r < matrix.rows; ++r) {
      double sum = 0;
      for (std::size_t c = 0; c < matrix.cols; ++c) sum += double{x[row + c]} * w[r * matrix.cols + c];
      out.push_back(static_cast<float>(sum));
    }
  return out;
}

// What a forward pass over windows of the text says: the residual stream [layers][tokens, hidden], and
// choices.
struct Seen {
  std::map<std::size_t, std::vector<float>> hidden;
  std::map<std::size_t, std::vector<Choice>> choices;
};
Seen forward(const Model& model, std::span<const TokenId> ids, std::size_t window, ThreadPool& pool) {
  Seen seen;
  Observer observer;
  observer.hidden = [&](std::size_t layer, std::span<const float> rows) {
    seen.hidden[layer].insert(seen.hidden[layer].end(), rows.begin(), rows.end());
  };
  observer.route = [&](std::size_t layer, std::span<const TokenInput>, std::span<const Choice> choices) {
    seen.choices[layer].insert(seen.choices[layer].end(), choices.begin(), choices.end());
  };
  for (std::size_t begin = 0; begin < ids.size(); begin += window) {
    Session session(
        model, pool,
        {.context = window, .kv_format = kernels::KvFormat::f32, .kernels = kernels::find_kernels("scalar")});
    session.feed(
        ids.subspan(begin, std::min(window, ids.size() - begin)), kernels::Path::batch, Session::Want::none,
        [](std::size_t, std::span<const float>) {}, &observer);
  }
  return seen;
}

// A matrix in f32 whose values lie in `values`.
Matrix plain(const std::vector<float>& values, std::size_t rows, std::size_t cols) {
  Matrix m;
  m.rows = rows;
  m.cols = cols;
  m.row_bytes = cols * sizeof(float);
  m.values = reinterpret_cast<const std::byte*>(values.data());
  return m;
}

}  // namespace

TEST_CASE("the inputs of attention and its latents are those of transformers' hidden states") {
  ThreadPool pool(2);
  for (const auto& dir : golden_cases("models")) {
    CAPTURE(dir.filename().string());
    const Model model = Model::open(dir);
    const Expected expected(dir);
    const auto ids = ids_of(expected);
    const auto all = guides(model, ids, pool, {.window = ids.size(), .least_tokens = 1});
    const Config& c = model.config();
    const bool mla = c.attention == AttentionKind::mla;
    for (std::size_t l = 0; l < c.num_hidden_layers; ++l) {
      const std::string name = "hidden." + std::to_string(l);
      if (!expected.has(name)) continue;
      const Weights& w = model.layers()[l].weights;
      const std::string attention = "model.layers." + std::to_string(l) + ".self_attn.";
      const auto x =
          normed(expected.get<float>(name), c.hidden_size, w[Role::input_layernorm], c.rms_norm_eps);
      check_near(all.at(attention + (mla ? "kv_a_proj_with_mqa" : "k_proj")).importance,
                 mean_square(x, c.hidden_size), 2e-3);
      if (!mla) continue;
      const auto latent = normed(product(x, w[Role::kv_a_proj_with_mqa]), c.kv_lora_rank + c.qk_rope_head_dim,
                                 w[Role::kv_a_layernorm], 1e-6);
      if (!c.attention_bias)
        check_near(all.at(attention + "kv_b_proj").importance, mean_square(latent, c.kv_lora_rank), 2e-3);
      if (c.q_lora_rank == 0 || c.attention_bias) continue;
      const auto q_a = normed(product(x, w[Role::q_a_proj]), c.q_lora_rank, w[Role::q_a_layernorm], 1e-6);
      check_near(all.at(attention + "q_b_proj").importance, mean_square(q_a, c.q_lora_rank), 2e-3);
    }
  }
}

TEST_CASE("experts are guided by the tokens that go to them") {
  ThreadPool pool(2);
  const Model model = test::tiny_model(WeightFormat::bf16, pool);
  const auto ids = some_ids(150);
  const auto all = guides(model, ids, pool, {.window = 40, .least_tokens = 1});
  const Seen seen = forward(model, ids, 40, pool);
  std::map<std::size_t, std::size_t> tokens;
  for (const Choice& choice : seen.choices.at(1)) ++tokens[choice.expert];
  std::size_t sum = 0;
  for (std::size_t e = 0; e < 8; ++e) {
    const std::string name = "model.layers.1.mlp.experts." + std::to_string(e);
    for (const char* projection : {".gate_proj", ".up_proj", ".down_proj"})
      CHECK(all.at(name + projection).tokens == tokens[e]);
    CHECK(all.at(name + ".up_proj") == all.at(name + ".gate_proj"));
    sum += tokens[e];
  }
  CHECK(sum == 2 * ids.size());
  CHECK(all.at("model.layers.1.mlp.shared_experts.down_proj").tokens == ids.size());
  CHECK(all.contains("model.layers.0.mlp.down_proj"));
  CHECK_FALSE(all.contains("model.layers.1.mlp.gate"));
  CHECK(all.size() == 2 * 4 + 3 + 3 + 8 * 3);
}

// A projection that is a unit matrix lets what it reads be seen in the residual stream.
TEST_CASE("the inputs of output and down projections are what a unit matrix in their place shows") {
  ThreadPool pool(2);
  Model model = test::tiny_model(WeightFormat::bf16, pool);
  const auto ids = some_ids(90);
  const Config& c = model.config();
  const std::size_t hidden = c.hidden_size;
  const auto all = guides(model, ids, pool, {.window = 30, .least_tokens = 1});
  std::vector<std::vector<float>> kept;
  const auto unit = [&](const Matrix& like) {
    std::vector<float>& values = kept.emplace_back(like.rows * like.cols);
    for (std::size_t i = 0; i < std::min(like.rows, like.cols); ++i) values[i * like.cols + i] = 1;
    return plain(values, like.rows, like.cols);
  };
  const auto zero = [&](const Matrix& like) {
    return plain(kept.emplace_back(like.rows * like.cols), like.rows, like.cols);
  };
  // What layer 0 adds to the residual stream, [tokens, hidden]. It is dense; layer 1 stays out of it.
  const auto added = [&](const Model& changed) {
    const Seen seen = forward(changed, ids, 30, pool);
    std::vector<float> difference(seen.hidden.at(1));
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= seen.hidden.at(0)[i];
    return difference;
  };
  // The first `cols` columns of rows.
  const auto front = [&](const std::vector<float>& rows, std::size_t cols) {
    std::vector<float> out;
    for (std::size_t row = 0; row < rows.size(); row += hidden)
      out.insert(out.end(), rows.begin() + static_cast<std::ptrdiff_t>(row),
                 rows.begin() + static_cast<std::ptrdiff_t>(row + cols));
    return out;
  };
  Weights& w = model.layers()[0].weights;
  const Weights before = w;

  w[Role::o_proj] = unit(before[Role::o_proj]);
  w[Role::down_proj] = zero(before[Role::down_proj]);
  const std::size_t attended = before[Role::o_proj].cols;
  check_near(all.at("model.layers.0.self_attn.o_proj").importance,
             mean_square(front(added(model), attended), attended), 1e-4);

  // Without attention, then, both runs read the same residual stream.
  w[Role::o_proj] = zero(before[Role::o_proj]);
  w[Role::down_proj] = before[Role::down_proj];
  const auto unattended = guides(model, ids, pool, {.window = 30, .least_tokens = 1});
  w[Role::down_proj] = unit(before[Role::down_proj]);
  const auto& inner = unattended.at("model.layers.0.mlp.down_proj").importance;
  check_near({inner.begin(), inner.begin() + static_cast<std::ptrdiff_t>(hidden)},
             mean_square(added(model), hidden), 1e-4);
}

TEST_CASE("what is replaced is what comes later reads") {
  ThreadPool pool(2);
  const Model model = test::tiny_model(WeightFormat::bf16, pool);
  const auto ids = some_ids(64);
  const std::vector<float> zeros(96 * 64);
  const Blas blas;
  CalibrationOptions options{.kernels = kernels::find_kernels("scalar"), .window = 32, .blas = &blas};
  Calibration calibration(model, ids, pool, options);
  REQUIRE(calibration.next());
  REQUIRE(calibration.next());
  CHECK(calibration.layer() == 0);
  REQUIRE(calibration.sites().size() == 1);
  CHECK(calibration.sites()[0].modules.size() == 2);
  calibration.replace(calibration.sites()[0], Role::up_proj, plain(zeros, 96, 64));
  REQUIRE(calibration.next());
  calibration.for_each_site([&](const Site& site, std::size_t lane) {
    CHECK(site.modules[0].name == "model.layers.0.mlp.down_proj");
    const Guide guide = calibration.guide(site, lane);
    REQUIRE(guide.importance.size() == 96);
    for (const float i : guide.importance) CHECK(i == 0);
    CHECK(guide.factor == nullptr);
  });
}

TEST_CASE("the same bits for any number of threads and any memory") {
  ThreadPool one(1);
  const Model model = test::tiny_model(WeightFormat::bf16, one);
  const auto ids = some_ids(700);
  const Blas blas;
  const Target target{Encoding::int4, 32};
  const auto run = [&](std::size_t threads, std::uint64_t memory) {
    ThreadPool pool(threads);
    CalibrationOptions options{.kernels = kernels::find_kernels("scalar"), .window = 48, .blas = &blas};
    options.memory = memory;
    return quantize_in_memory(model, ids, pool, target, options, Method::gptq);
  };
  CalibrationOptions options{.window = 48, .blas = &blas};
  const auto memory = Calibration::memory(model, ids.size(), 2, options);
  CHECK(memory.least < memory.comfortable);
  const auto expected = run(1, 0);
  CHECK(expected.modules.size() == 38);
  CHECK(expected.same_bytes(run(3, 0)));
  CHECK(expected.same_bytes(run(2, memory.least)));  // activations in a file, one module at a time
}

TEST_CASE("modules that too few tokens reach have no guide") {
  ThreadPool pool(2);
  const Model model = test::tiny_model(WeightFormat::bf16, pool);
  const auto ids = some_ids(60);
  const auto all = guides(model, ids, pool, {.window = 30, .least_tokens = 20});
  std::size_t without = 0;
  for (const auto& [name, guide] : all) {
    CHECK(guide.importance.empty() == (guide.tokens < 20));
    without += guide.importance.empty() ? 1 : 0;
  }
  CHECK(without > 0);
  CHECK(without < all.size());
}

TEST_CASE("too little memory, no text and a cancelled run") {
  ThreadPool pool(2);
  const Model model = test::tiny_model(WeightFormat::bf16, pool);
  const auto ids = some_ids(100);
  const Blas blas;
  CalibrationOptions options{.kernels = kernels::find_kernels("scalar"), .window = 50, .blas = &blas};
  options.memory = Calibration::memory(model, ids.size(), pool.size(), options).least - 1;
  CHECK_THROWS_WITH_AS(Calibration(model, ids, pool, options), doctest::Contains("needs at least"), Error);
  options.memory = 0;
  CHECK_THROWS_AS(Calibration(model, std::span(ids).first(1), pool, options), Error);
  CHECK_THROWS_WITH_AS(Calibration(model, std::vector<TokenId>{1, 100}, pool, options),
                       "token 100 is outside the vocabulary of 100", Error);
  std::atomic<bool> cancel{true};
  options.cancel = &cancel;
  Calibration calibration(model, ids, pool, options);
  CHECK_THROWS_AS(calibration.next(), Cancelled);
}
