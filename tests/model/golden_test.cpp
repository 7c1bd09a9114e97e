// The forward pass against transformers: every case of tests/golden, for every instruction set.
#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "golden.h"
#include "kernels/dispatch.h"
#include "model/model.h"
#include "runtime/session.h"

using namespace baleen;
using namespace baleen::testing;
using kernels::KvFormat;
using kernels::Phase;

namespace {

std::vector<std::filesystem::path> all_cases() {
  auto cases = golden_cases("models");
  const auto switches = golden_cases("switches");
  cases.insert(cases.end(), switches.begin(), switches.end());
  return cases;
}

std::vector<TokenId> ids_of(const Expected& expected, std::string_view name) {
  std::vector<TokenId> ids;
  for (const std::int64_t id : expected.get<std::int64_t>(name)) ids.push_back(static_cast<TokenId>(id));
  return ids;
}

// What a run over a case's prompt and greedy continuation gave.
struct Run {
  std::vector<float> logits;                        // [T, vocab] of the prompt
  std::vector<float> greedy_logits;                 // [G, vocab]
  std::map<std::size_t, std::vector<float>> hidden;  // of the prompt, by layer
  std::map<std::size_t, std::vector<Choice>> choices;
};

struct Setup {
  std::string_view isa = "scalar";
  std::size_t threads = 2;
  std::size_t chunk = 2048;
  KvFormat kv_format = KvFormat::f32;
};

// The prompt in prefill, then the reference's own continuation in decode.
Run run(const Model& model, const Expected& expected, const Setup& setup) {
  ThreadPool pool(setup.threads);
  SessionOptions options;
  options.kernels = kernels::find_kernels(setup.isa);
  options.chunk = setup.chunk;
  options.kv_format = setup.kv_format;
  Session session(model, pool, options);
  Run result;
  Observer observer;
  observer.hidden = [&](std::size_t layer, std::span<const float> rows) {
    auto& all = result.hidden[layer];
    all.insert(all.end(), rows.begin(), rows.end());
  };
  observer.route = [&](std::size_t layer, std::span<const TokenInput>, std::span<const Choice> choices) {
    auto& all = result.choices[layer];
    all.insert(all.end(), choices.begin(), choices.end());
  };
  const auto keep = [](std::vector<float>& rows) {
    return [&rows](std::size_t, std::span<const float> row) { rows.insert(rows.end(), row.begin(), row.end()); };
  };
  const auto prompt = ids_of(expected, "input_ids");
  const auto greedy = ids_of(expected, "greedy_ids");
  session.feed(prompt, Phase::prefill, Session::Want::all, keep(result.logits), {}, &observer);
  const std::size_t vocab = model.config().vocab_size;
  result.greedy_logits.assign(result.logits.end() - static_cast<std::ptrdiff_t>(vocab), result.logits.end());
  for (std::size_t i = 0; i + 1 < greedy.size(); ++i)
    session.feed({&greedy[i], 1}, Phase::decode, Session::Want::last, keep(result.greedy_logits));
  return result;
}

float largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  float most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const float d = std::fabs(a[i] - b[i]);
    if (!(d <= most)) most = d;  // NaN stays
  }
  return most;
}

std::size_t argmax(std::span<const float> row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// Mean over the rows of KL(reference || other), in nats.
double mean_kl(std::span<const float> reference, std::span<const float> other, std::size_t vocab) {
  double sum = 0;
  for (std::size_t row = 0; row < reference.size(); row += vocab) {
    const auto log_sum = [&](std::span<const float> x) {
      const double top = *std::max_element(x.begin(), x.end());
      double s = 0;
      for (const float v : x) s += std::exp(v - top);
      return top + std::log(s);
    };
    const auto p = reference.subspan(row, vocab);
    const auto q = other.subspan(row, vocab);
    const double lp = log_sum(p), lq = log_sum(q);
    for (std::size_t i = 0; i < vocab; ++i) sum += std::exp(p[i] - lp) * ((p[i] - lp) - (q[i] - lq));
  }
  return sum / static_cast<double>(reference.size() / vocab);
}

}  // namespace

TEST_CASE("scalar: logits, hidden states, experts and greedy continuation are transformers'") {
  for (const auto& dir : all_cases()) {
    CAPTURE(dir.filename().string());
    const Model model = Model::open(dir);
    const Expected expected(dir);
    const Run got = run(model, expected, {});
    const std::size_t vocab = model.config().vocab_size;
    CHECK(largest_difference(got.logits, expected.get<float>("logits")) < 1e-3f);
    CHECK(largest_difference(got.greedy_logits, expected.get<float>("greedy_logits")) < 1e-3f);
    const auto greedy = ids_of(expected, "greedy_ids");
    for (std::size_t i = 0; i < greedy.size(); ++i)
      CHECK(argmax(std::span(got.greedy_logits).subspan(i * vocab, vocab)) == static_cast<std::size_t>(greedy[i]));
    for (const auto& [layer, rows] : got.hidden) {
      CAPTURE(layer);
      const std::string name = "hidden." + std::to_string(layer);
      if (expected.has(name)) CHECK(largest_difference(rows, expected.get<float>(name)) < 1e-3f);
    }
    for (const auto& [layer, choices] : got.choices) {
      CAPTURE(layer);
      const std::string name = "router." + std::to_string(layer);
      const auto experts = expected.get<std::int64_t>(name + ".experts");
      const auto weights = expected.get<float>(name + ".weights");
      REQUIRE(choices.size() == experts.size());
      for (std::size_t i = 0; i < choices.size(); ++i) {
        CHECK(choices[i].expert == static_cast<std::uint32_t>(experts[i]));
        CHECK(choices[i].weight == doctest::Approx(weights[i]).epsilon(1e-4));
      }
    }
  }
}

TEST_CASE("every instruction set keeps within the bound of the reference") {
  for (const auto& isa : kernels::instruction_sets()) {
    if (!isa.available) {
      MESSAGE("skipped: this machine has no ", std::string(isa.name));
      continue;
    }
    for (const KvFormat kv : {KvFormat::f32, KvFormat::bf16}) {
      double worst = 0;
      for (const auto& dir : all_cases()) {
        CAPTURE(isa.name);
        CAPTURE(dir.filename().string());
        const Model model = Model::open(dir);
        const Expected expected(dir);
        Setup setup;
        setup.isa = isa.name;
        setup.kv_format = kv;
        const Run got = run(model, expected, setup);
        const std::size_t vocab = model.config().vocab_size;
        const double kl = mean_kl(expected.get<float>("logits"), got.logits, vocab);
        worst = std::max(worst, kl);
        CHECK(kl < 1e-3);
        CHECK(mean_kl(expected.get<float>("greedy_logits"), got.greedy_logits, vocab) < 1e-3);
      }
      MESSAGE(std::string(isa.name), kv == KvFormat::f32 ? ", f32" : ", bf16", " cache: worst mean KL ", worst);
    }
  }
}

TEST_CASE("one result: threads and chunks change no bit") {
  for (const auto& isa : kernels::instruction_sets()) {
    if (!isa.available) continue;
    for (const auto& dir : all_cases()) {
      CAPTURE(isa.name);
      CAPTURE(dir.filename().string());
      const Model model = Model::open(dir);
      const Expected expected(dir);
      Setup setup;
      setup.isa = isa.name;
      setup.kv_format = KvFormat::bf16;
      const Run reference = run(model, expected, setup);
      for (const auto& [threads, chunk] : {std::pair<std::size_t, std::size_t>{1, 2048}, {3, 5}, {2, 1}}) {
        setup.threads = threads;
        setup.chunk = chunk;
        const Run other = run(model, expected, setup);
        CHECK(other.logits == reference.logits);
        CHECK(other.greedy_logits == reference.greedy_logits);
      }
    }
  }
}
