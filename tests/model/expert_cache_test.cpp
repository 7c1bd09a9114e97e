// The expert cache: what is computed does not depend on what it holds, when reads arrive or what was guessed;
// and a read that fails ends the pass.
#include "runtime/expert_cache.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "error.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "model/forward.h"
#include "model/model.h"

using namespace baleen;
using namespace baleen::testing;
namespace fs = std::filesystem;
using kernels::KvFormat;
using kernels::Path;

namespace {

using Rows = std::vector<std::vector<float>>;

std::vector<TokenId> random_ids(std::size_t count, std::size_t vocab, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % vocab);
  return ids;
}

// A prompt in two chunks, some tokens after it, and a pass that holds a second prompt beside a generated
// token.
Rows run_passes(const Model& model, const kernels::Kernels& table, std::size_t threads,
                ExpertCache* experts) {
  const Config& c = model.config();
  ThreadPool pool(threads);
  Forward forward(model, pool, table, nullptr, experts);
  const KvLayout layout(c, KvFormat::f32);
  KvCache a(layout, c.num_hidden_layers, 200);
  KvCache b(layout, c.num_hidden_layers, 200);
  Rows rows;
  const auto inputs = [&](std::span<const TokenId> ids, KvCache& into, Path path) {
    std::vector<TokenInput> tokens;
    for (const TokenId id : ids)
      tokens.push_back({id, &into, static_cast<std::uint32_t>(into.length() + tokens.size()), path, true});
    return tokens;
  };
  const auto run = [&](std::span<const TokenInput> tokens) {
    forward.run(tokens,
                [&](std::size_t, std::span<const float> row) { rows.emplace_back(row.begin(), row.end()); });
  };
  const auto ids = random_ids(80, c.vocab_size, 5);
  run(inputs(std::span(ids).first(40), a, Path::batch));
  run(inputs(std::span(ids).subspan(40, 9), a, Path::batch));
  for (std::size_t i = 49; i < 60; ++i) run(inputs(std::span(ids).subspan(i, 1), a, Path::stream));
  auto mixed = inputs(std::span(ids).subspan(60, 19), b, Path::batch);
  mixed.push_back(inputs(std::span(ids).subspan(79, 1), a, Path::stream)[0]);
  run(mixed);
  return rows;
}

std::size_t all_experts(const Model& model) {
  std::size_t count = 0;
  for (const Layer& layer : model.layers()) count += layer.experts.size();
  return count;
}

const char* const model_names[] = {"deepseek_v2-lite",
                                   "deepseek_v3-fp8",
                                   "deepseek_v3-grouped-yarn",
                                   "deepseek_v3-int4",
                                   "deepseek_v3-int8",
                                   "deepseek_v3-moonlight",
                                   "mixtral",
                                   "olmoe",
                                   "qwen3_moe"};

// A copy of a model that a test may damage.
class Copy {
 public:
  explicit Copy(const char* name)
      : folder_(fs::temp_directory_path() / ("baleen_expert_cache_" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::copy(golden_dir() / "models" / name, folder_);
  }
  ~Copy() { fs::remove_all(folder_); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  const fs::path& folder() const { return folder_; }

 private:
  fs::path folder_;
};

}  // namespace

TEST_CASE("whatever the cache holds, results are those of a model in memory") {
  for (const char* const name : model_names) {
    CAPTURE(name);
    const fs::path folder = golden_dir() / "models" / name;
    const Model model = Model::open(folder);
    const kernels::Kernels& table = *kernels::find_kernels("auto");
    const Rows expected = run_passes(model, table, 2, nullptr);
    const std::size_t all = all_experts(model);
    for (const std::size_t slots : {std::size_t{2}, std::size_t{3}, std::size_t{5}, all / 3, all}) {
      CAPTURE(slots);
      ExpertCache cache(model, folder, slots);
      CHECK(run_passes(model, table, 3, &cache) == expected);
      const ExpertCacheTotals totals = cache.totals();
      CHECK(totals.hits + totals.by_guess + totals.misses == totals.asked);
      CHECK(totals.misses + totals.by_guess > 0);
      for (const auto& guesses : totals.guesses) {
        CHECK(guesses.right <= guesses.made);
        CHECK(guesses.useful <= guesses.reads);
      }
      // A second time, with what is left in the slots.
      CHECK(run_passes(model, table, 1, &cache) == expected);
      if (slots == all) CHECK(cache.totals().hits > totals.hits);
      if (slots == all) CHECK(cache.totals().bytes_read <= totals.bytes_read + totals.bytes_read / 8);
    }
  }
}

TEST_CASE("the same in every instruction set") {
  const fs::path folder = golden_dir() / "models/deepseek_v3-moonlight";
  const Model model = Model::open(folder);
  for (const auto& table : kernels::usable_tables()) {
    CAPTURE(table.isa);
    CAPTURE(table.features);
    ExpertCache cache(model, folder, all_experts(model) / 4);
    CHECK(run_passes(model, *table.kernels, 2, &cache) == run_passes(model, *table.kernels, 2, nullptr));
  }
}

TEST_CASE("reads that come late, short and out of order change nothing") {
  const fs::path folder = golden_dir() / "models/deepseek_v3-int4";
  const Model model = Model::open(folder);
  const kernels::Kernels& table = *kernels::find_kernels("auto");
  const Rows expected = run_passes(model, table, 2, nullptr);
  for (const ReadEngine engine : {ReadEngine::automatic, ReadEngine::pread}) {
    for (const unsigned seed : {1U, 2U, 3U}) {
      CAPTURE(seed);
      std::atomic<unsigned> reads{seed};
      ExpertCacheOptions options;
      options.reader.engine = engine;
      options.reader.piece = 4096;
      options.lookahead = seed - 1;
      options.reader.spoil = [&](const ReadAttempt&, ssize_t result) {
        const unsigned hash = (reads.fetch_add(1) * 2654435761U) >> 20U;
        if (hash % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(hash % 300));
        if (hash % 8 == 1) return static_cast<ssize_t>(-EINTR);
        if (hash % 8 == 2 && result > 1) return result / 2;
        return result;
      };
      ExpertCache cache(model, folder, all_experts(model) / 3, options);
      CHECK(run_passes(model, table, 2, &cache) == expected);
    }
  }
}

TEST_CASE("what is known of the model's preferences is read beside the passes and changes no result") {
  const fs::path folder = golden_dir() / "models/qwen3_moe";
  const Model model = Model::open(folder);
  const kernels::Kernels& table = *kernels::find_kernels("auto");
  ExpertShares shares;
  shares.tokens = 1000;
  for (const Layer& layer : model.layers()) {
    auto& own = shares.layers.emplace_back(layer.experts.size(), 0.01);
    if (!own.empty()) own.back() = 0.9;
  }
  ExpertCache cache(model, folder, all_experts(model) / 2);
  cache.seed(shares);
  CHECK(run_passes(model, table, 2, &cache) == run_passes(model, table, 2, nullptr));
}

TEST_CASE("a read that fails ends the pass with file, tensor and offset; the cache can be given up") {
  const fs::path folder = golden_dir() / "models/deepseek_v3-fp8";
  const Model model = Model::open(folder);
  for (const int fails_at : {0, 7, 60}) {
    CAPTURE(fails_at);
    std::atomic<int> reads{0};
    ExpertCacheOptions options;
    options.reader.spoil = [&](const ReadAttempt&, ssize_t result) {
      return reads.fetch_add(1) >= fails_at ? static_cast<ssize_t>(-EIO) : result;
    };
    ExpertCache cache(model, folder, 8, options);
    std::string message;
    try {
      run_passes(model, *kernels::find_kernels("auto"), 2, &cache);
    } catch (const Error& error) {
      message = error.what();
    }
    CAPTURE(message);
    CHECK(message.find("model.safetensors: model.layers.") != message.npos);
    CHECK(message.find("offset ") != message.npos);
    CHECK(message.find("Input/output error") != message.npos);
  }
}

TEST_CASE("a file cut short under the run is an error, never a wrong token") {
  const Copy copy("deepseek_v3-moonlight");
  const Model model = Model::open(copy.folder());
  const fs::path file = copy.folder() / "model.safetensors";
  ExpertCache cache(model, copy.folder(), 8);
  // From half of the routed experts on there is nothing any more; weights outside of them are not touched:
  // the test only asks what the cache does.
  std::size_t least = fs::file_size(file);
  for (const Tensor& tensor : model.checkpoint().tensors()) {
    if (tensor.name.find(".experts.") == tensor.name.npos) continue;
    least = std::min<std::size_t>(
        least, static_cast<std::size_t>(tensor.data - model.checkpoint().file(0).bytes.data()));
  }
  REQUIRE(least < fs::file_size(file));
  fs::resize_file(file, least + 4096);
  std::vector<ExpertTokens> asked;
  for (std::uint32_t e = 0; e < model.config().n_routed_experts; ++e) asked.push_back({e, 1});
  for (std::size_t l = 0; l < model.layers().size(); ++l) {
    if (model.layers()[l].experts.empty()) continue;
    const auto visit = cache.visit(l, asked, 4);
    CHECK_THROWS_WITH_AS(
        [&] {
          std::vector<std::size_t> places;
          while (places.size() < asked.size()) {
            const std::size_t before = places.size();
            visit->arrived(places, true);
            for (std::size_t i = before; i < places.size(); ++i) (void)(*visit)[places[i]];
            if (visit->crowded()) visit->release(places.size());
          }
        }(),
        doctest::Contains("the file ends"), Error);
    break;
  }
}
