// One result: a token's logits do not depend on its neighbours, however many segments of attention it takes.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>

#include "golden.h"
#include "kernels/dispatch.h"
#include "model/model.h"
#include "runtime/session.h"

using namespace baleen;
using namespace baleen::testing;
using kernels::KvFormat;
using kernels::Path;

namespace {

std::vector<TokenId> random_ids(std::size_t count, std::size_t vocab, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % vocab);
  return ids;
}

// The logits of the last 50 of `ids`, fed in chunks.
std::vector<float> last_logits(const Model& model, std::span<const TokenId> ids, const kernels::Kernels* kernels,
                               std::size_t threads, std::size_t chunk) {
  ThreadPool pool(threads);
  SessionOptions options;
  options.kernels = kernels;
  options.context = ids.size();
  options.chunk = chunk;
  Session session(model, pool, options);
  std::vector<float> rows;
  session.feed(ids.first(ids.size() - 50), Path::batch, Session::Want::none, {});
  session.feed(ids.last(50), Path::batch, Session::Want::all,
               [&](std::size_t, std::span<const float> row) { rows.insert(rows.end(), row.begin(), row.end()); });
  return rows;
}

const std::string long_cases[] = {"models/deepseek_v3-moonlight", "models/qwen3_moe", "switches/mixtral-sliding_window"};

// Rows of logits that differ by less than rounding to bf16 allows; one whose expert was nearly tied may go
// another way.
std::size_t close_rows(std::span<const float> a, std::span<const float> b, std::size_t vocab) {
  std::size_t close = 0;
  for (std::size_t row = 0; row < a.size(); row += vocab) {
    float most = 0;
    for (std::size_t i = row; i < row + vocab; ++i) most = std::max(most, std::fabs(a[i] - b[i]));
    close += most < 0.05f;
  }
  return close;
}

}  // namespace

TEST_CASE("contexts of several segments: the same bits for any threads and chunks, the scalar result for any kernels") {
  for (const std::string& name : long_cases) {
    CAPTURE(name);
    const Model model = Model::open(golden_dir() / name);
    // Two whole segments and a part: attention takes time by the square of the length.
    const auto ids = random_ids(2 * kernels::attention_segment + 77, model.config().vocab_size, 7);
    const auto scalar = last_logits(model, ids, kernels::find_kernels("scalar"), 2, 2048);
    for (const auto& table : kernels::usable_tables()) {
      const std::string isa = std::string(table.isa) + " " + table.features;
      CAPTURE(isa);
      const auto reference = table.isa == "scalar" ? scalar : last_logits(model, ids, table.kernels, 2, 2048);
      CHECK(close_rows(scalar, reference, model.config().vocab_size) >= 45);
      CHECK(last_logits(model, ids, table.kernels, 1, 700) == reference);
      CHECK(last_logits(model, ids, table.kernels, 3, 65) == reference);
    }
  }
}

TEST_CASE("a window that hides a token changes nothing behind it") {
  // Two layers of window W look back 2 (W - 1) positions at most: what lies before may differ.
  const Model model = Model::open(golden_dir() / "switches/mixtral-sliding_window");
  const std::size_t window = model.layers()[0].sliding_window;
  REQUIRE(window > 0);
  const std::size_t reach = model.layers().size() * (window - 1);
  auto ids = random_ids(2 * kernels::attention_segment + 60, model.config().vocab_size, 3);
  REQUIRE(reach + 50 < ids.size());
  const auto reference = last_logits(model, ids, kernels::find_kernels("auto"), 2, 2048);
  for (std::size_t i = 0; i + 50 + reach < ids.size(); ++i) ids[i] = static_cast<TokenId>((ids[i] + 1) % 50);
  CHECK(last_logits(model, ids, kernels::find_kernels("auto"), 2, 2048) == reference);
  ids[ids.size() - 50] = static_cast<TokenId>((ids[ids.size() - 50] + 1) % 50);
  CHECK(last_logits(model, ids, kernels::find_kernels("auto"), 2, 2048) != reference);
}

TEST_CASE("sequences in one pass, some in prefill and some in decode, get what each gets alone") {
  for (const char* name : {"models/deepseek_v3-grouped-yarn", "models/qwen3_moe", "models/deepseek_v3-int4"}) {
    const Model model = Model::open(golden_dir() / name);
    const Config& c = model.config();
    for (const char* isa : {"scalar", "avx2", "avx512", "amx", "neon"}) {
      const kernels::Kernels* table = kernels::find_kernels(isa);
      if (!table) continue;
      CAPTURE(name);
      CAPTURE(isa);
      ThreadPool pool(3);
      Forward forward(model, pool, *table);
      const KvLayout layout(c, KvFormat::bf16);
      const auto cache = [&] { return KvCache(layout, c.num_hidden_layers, 200); };
      const auto tokens = [](std::span<const TokenId> ids, KvCache& into, Path path) {
        std::vector<TokenInput> inputs;
        for (const TokenId id : ids)
          inputs.push_back({id, &into, static_cast<std::uint32_t>(into.length() + inputs.size()), path, true});
        return inputs;
      };
      const auto run = [&](std::span<const TokenInput> inputs) {
        std::vector<std::vector<float>> rows;
        forward.run(inputs, [&](std::size_t, std::span<const float> row) { rows.emplace_back(row.begin(), row.end()); });
        return rows;
      };
      const auto a = random_ids(90, c.vocab_size, 1), b = random_ids(31, c.vocab_size, 2), d = random_ids(2, c.vocab_size, 4);
      KvCache a1 = cache(), b1 = cache(), b2 = cache(), d1 = cache(), d2 = cache(), a2 = cache();
      for (KvCache* fed : {&b1, &b2}) run(tokens(std::span(b).first(30), *fed, Path::batch));
      for (KvCache* fed : {&d1, &d2}) run(tokens(std::span(d).first(1), *fed, Path::batch));
      const auto alone_a = run(tokens(a, a1, Path::batch));
      const auto alone_b = run(tokens(std::span(b).last(1), b1, Path::stream));
      const auto alone_d = run(tokens(std::span(d).last(1), d1, Path::stream));

      auto all = tokens(a, a2, Path::batch);
      for (const auto& more : {tokens(std::span(b).last(1), b2, Path::stream), tokens(std::span(d).last(1), d2, Path::stream)})
        all.insert(all.end(), more.begin(), more.end());
      const auto together = run(all);
      REQUIRE(together.size() == a.size() + 2);
      for (std::size_t i = 0; i < a.size(); ++i) CHECK(together[i] == alone_a[i]);
      CHECK(together[a.size()] == alone_b[0]);
      CHECK(together[a.size() + 1] == alone_d[0]);
    }
  }
}
