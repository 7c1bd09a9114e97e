#include "bench/speed.h"

#include <doctest/doctest.h>

#include <atomic>

#include "benching/fixture.h"
#include "golden.h"

using namespace baleen;
using namespace baleen::test;

namespace {

SpeedOptions scalar_options() {
  return {.kernels = kernels::find_kernels("scalar"), .repetitions = 3, .layer_counts = {}};
}

}  // namespace

TEST_CASE("the tests that lists ask for") {
  const std::vector<std::uint64_t> prompts = {8, 0, 2};
  const std::vector<std::uint64_t> depths = {0, 5};
  const std::vector<std::uint64_t> batches = {1, 3};
  const auto tests = speed_tests(prompts, 4, depths, batches);
  REQUIRE(tests.size() == 2 + 4);
  CHECK(tests[1].tokens == 2);
  CHECK(tests[3].batch == 3);
  CHECK(tests[4].depth == 5);
  CHECK(cached_tokens(tests) == 3 * 9);
  CHECK(speed_tests(prompts, 0, depths, batches).size() == 2);
}

TEST_CASE("work is that of the passes that were run") {
  ThreadPool pool(2);
  const Model model = tiny_model(WeightFormat::bf16, pool);
  const auto tests = speed_tests(std::vector<std::uint64_t>{20}, 4, std::vector<std::uint64_t>{6},
                                 std::vector<std::uint64_t>{2});
  SpeedBench bench(model, pool, scalar_options(), tests);
  int runs = 0;
  const SpeedResult prefill = bench.measure(tests[0], [&] { ++runs; });
  CHECK(runs == 4);
  CHECK(prefill.seconds.size() == 3);
  CHECK(prefill.median_seconds() > 0);
  CHECK(prefill.passes == 1);
  CHECK(prefill.unique_experts > 2);
  const Stretch prompt{.begin = 0, .count = 20};
  const KvLayout kv(model.config(), kernels::KvFormat::f32);
  const std::vector<bool> none(8);
  const Work least = outer_work(model, 20, 1) +
                     layer_work(model.config(), model.layers()[0], kv, {&prompt, 1}, {}) +
                     layer_work(model.config(), model.layers()[1], kv, {&prompt, 1}, none);
  CHECK(prefill.work.operations == least.operations);
  CHECK(prefill.work.kv_bytes == least.kv_bytes);
  CHECK(prefill.work.weight_bytes == least.weight_bytes + prefill.unique_experts * 3 * 32 * 64 * 2);

  const SpeedResult decode = bench.measure(tests[1], [] {});
  CHECK(decode.passes == 4);
  CHECK(decode.test.total_tokens() == 8);
  CHECK(decode.unique_experts >= 2);
  CHECK(decode.unique_experts <= 4);
  // Two sequences at positions 6 to 9, two layers, 40 numbers of 4 bytes each.
  CHECK(decode.work.kv_bytes == 2 * 2 * (7 + 8 + 9 + 10) * 40 * 4);
}

TEST_CASE("layers stand for others") {
  ThreadPool pool(1);
  const Model model = tiny_model(WeightFormat::bf16, pool);
  const auto tests = speed_tests(std::vector<std::uint64_t>{}, 2, std::vector<std::uint64_t>{0},
                                 std::vector<std::uint64_t>{1});
  SpeedOptions options = scalar_options();
  SpeedBench once(model, pool, options, tests);
  options.layer_counts = {1, 1000};
  SpeedBench often(model, pool, options, tests);
  const SpeedResult a = once.measure(tests[0], [] {});
  const SpeedResult b = often.measure(tests[0], [] {});
  const double head = 2 * (100 * 64 + 64) * 2;
  CHECK(b.work.operations > 500 * (a.work.operations - head) / 2);
  CHECK(b.median_seconds() > 10 * a.median_seconds());
  CHECK(a.unique_experts == 2);
  CHECK(b.unique_experts == 2);
}

TEST_CASE("figures") {
  SpeedResult result{.test = {.kind = SpeedTest::Kind::decode, .tokens = 10, .depth = 0, .batch = 2},
                     .seconds = {2, 2, 2},
                     .work = {.weight_bytes = 90, .kv_bytes = 10, .operations = 300},
                     .passes = 10};
  const SpeedFigures figures = speed_figures(result, {.bandwidth = 100, .peak = 1000});
  CHECK(figures.tokens_per_second == 10);
  CHECK(figures.pass.weight_bytes == doctest::Approx(9));
  CHECK(figures.bytes_per_second == 50);
  CHECK(figures.operations_per_second == 150);
  CHECK(figures.roofline_share == 0.5);
  CHECK(figures.memory_bound);
  CHECK_FALSE(figures.suspect());
  CHECK_FALSE(figures.scattered());
  CHECK(speed_figures(result, {.bandwidth = 40, .peak = 1000}).suspect());
  result.seconds = {1, 2, 3};
  CHECK(speed_figures(result, {.bandwidth = 100, .peak = 1000}).scattered());
}

TEST_CASE("what a cache did") {
  SpeedResult result{.test = {.kind = SpeedTest::Kind::decode, .tokens = 5, .depth = 0, .batch = 2},
                     .seconds = {1, 3},
                     .work = {.weight_bytes = 90, .kv_bytes = 10, .operations = 300},
                     .passes = 5,
                     .cache = ExpertCacheTotals{.asked = 80,
                                                .hits = 40,
                                                .by_guess = 32,
                                                .misses = 8,
                                                .guesses = {{{50, 40, 24, 20}, {30, 15, 16, 12}}},
                                                .bytes_needed = 4000,
                                                .bytes_read = 5000,
                                                .read_seconds = 2.5,
                                                .stall_seconds = 1}};
  const Roofline roofline{.bandwidth = 100, .peak = 1000};  // 1 s
  const CacheFigures f = cache_figures(result, roofline, 2500);
  CHECK(f.hit_rate == 0.5);
  CHECK(f.guess_rate == 0.4);
  CHECK(f.miss_rate == 0.1);
  CHECK(f.guess_precision == std::array{0.8, 0.5});
  CHECK(f.guess_read_precision == 0.8);
  CHECK(f.bytes_read_per_token == 250);
  CHECK(f.bytes_needed_per_token == 200);
  CHECK(f.disk_bytes_per_second == 2000);
  CHECK(f.disk_share == 0.5);
  CHECK(f.stall_share == 0.25);
  // The disk needs 0.8 s for the 2,000 bytes of a repetition, the memory 1 s for its 100.
  CHECK_FALSE(f.disk_bound);
  CHECK(f.bound_seconds == 1);
  CHECK(f.bound_share == 0.5);
  CHECK_FALSE(f.suspect());
  const CacheFigures slow = cache_figures(result, roofline, 1250);
  CHECK(slow.disk_bound);
  CHECK(slow.bound_seconds == 1.6);
  CHECK(slow.bound_share == 0.8);
  CHECK(cache_figures(result, roofline, 500).suspect());
  // Nothing asked for, nothing read, nothing known of the disk.
  result.cache = ExpertCacheTotals();
  const CacheFigures none = cache_figures(result, roofline, 0);
  CHECK(none.hit_rate == 0);
  CHECK(none.guess_precision[0] == 0);
  CHECK(none.disk_share == 0);
  CHECK(none.bound_seconds == 1);
}

TEST_CASE(
    "with a cache every repetition has tokens of its own, and the cache's work is that of repetitions") {
  const std::filesystem::path folder = testing::golden_dir() / "models" / "deepseek_v3-moonlight";
  const Model model = Model::open(folder);
  std::size_t moe_layers = 0;
  for (const Layer& layer : model.layers()) moe_layers += layer.experts.empty() ? 0 : 1;
  ThreadPool pool(1);
  const auto tests = speed_tests(std::vector<std::uint64_t>{}, 3, std::vector<std::uint64_t>{5},
                                 std::vector<std::uint64_t>{2});
  SpeedOptions options = scalar_options();
  options.repetitions = 2;
  SpeedBench same(model, pool, options, tests);
  const SpeedResult once = same.measure(tests[0], [] {});
  CHECK_FALSE(once.cache);
  CHECK(once.work.weight_bytes == same.measure(tests[0], [] {}).work.weight_bytes);

  ExpertCache experts(model, folder, 4);
  options.experts = &experts;
  SpeedBench fresh(model, pool, options, tests);
  const SpeedResult first = fresh.measure(tests[0], [] {});
  REQUIRE(first.cache);
  CHECK(first.passes == 3);
  CHECK(first.cache->asked == first.cache->hits + first.cache->by_guess + first.cache->misses);
  // Every expert that a pass touches is asked for once.
  CHECK(static_cast<double>(first.cache->asked) ==
        doctest::Approx(first.unique_experts * static_cast<double>(moe_layers * 3 * 2)));
  CHECK(first.cache->bytes_needed > 0);
  CHECK(first.cache->bytes_read > 0);
  const ExpertCacheTotals all = experts.totals();
  CHECK(all.asked > first.cache->asked);  // the context's and the warm-up's
  const SpeedResult second = fresh.measure(tests[0], [] {});
  CHECK(second.work.weight_bytes != first.work.weight_bytes);
  CHECK(second.work.kv_bytes == first.work.kv_bytes);
}

TEST_CASE("which tests stand for service") {
  std::vector<SpeedResult> results;
  for (const std::size_t tokens : {8, 32, 16})
    results.push_back(
        {.test = {.kind = SpeedTest::Kind::prefill, .tokens = tokens}, .seconds = {1}, .work = {}});
  CHECK(largest_batch(results) == nullptr);
  for (const std::size_t depth : {0, 9})
    for (const std::size_t batch : {4, 1})
      results.push_back(
          {.test = {.kind = SpeedTest::Kind::decode, .tokens = 1, .depth = depth, .batch = batch},
           .seconds = {1},
           .work = {}});
  CHECK(longest_prompt(results)->test.tokens == 32);
  CHECK(largest_batch(results)->test.batch == 4);
  CHECK(largest_batch(results)->test.depth == 9);
}

TEST_CASE("a cancelled benchmark throws") {
  ThreadPool pool(1);
  const Model model = tiny_model(WeightFormat::bf16, pool);
  const auto tests = speed_tests(std::vector<std::uint64_t>{4}, 0, {}, {});
  const std::atomic<bool> cancel{true};
  SpeedOptions options = scalar_options();
  options.cancel = &cancel;
  SpeedBench bench(model, pool, options, tests);
  CHECK_THROWS_AS(bench.measure(tests[0], [] {}), Cancelled);
  CHECK_THROWS_AS(touch_weights(model, pool, &cancel), Cancelled);
}
