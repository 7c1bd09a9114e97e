// The expert cache: what is computed does not depend on what it holds, when reads arrive or what was guessed;
// and a read that fails ends the pass.
#include "runtime/expert_cache.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "error.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "model/forward.h"
#include "model/model.h"
#include "model/weight_files.h"

using namespace baleen;
using namespace baleen::testing;
namespace fs = std::filesystem;
using kernels::KvFormat;
using kernels::Matrix;
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

TEST_CASE("a read that fails ends the pass with file, tensor and offset; the next asks again") {
  const fs::path folder = golden_dir() / "models/deepseek_v3-fp8";
  const Model model = Model::open(folder);
  const kernels::Kernels& table = *kernels::find_kernels("auto");
  const Rows expected = run_passes(model, table, 2, nullptr);
  for (const int fails_at : {0, 7, 60}) {
    CAPTURE(fails_at);
    std::atomic<int> reads{0};
    std::atomic<bool> repaired{false};
    ExpertCacheOptions options;
    options.reader.spoil = [&](const ReadAttempt&, ssize_t result) {
      return reads.fetch_add(1) >= fails_at && !repaired ? static_cast<ssize_t>(-EIO) : result;
    };
    ExpertCache cache(model, folder, 8, options);
    std::string message;
    try {
      run_passes(model, table, 2, &cache);
    } catch (const Error& error) {
      message = error.what();
    }
    CAPTURE(message);
    CHECK(message.find("model.safetensors: model.layers.") != message.npos);
    CHECK(message.find("offset ") != message.npos);
    CHECK(message.find("Input/output error") != message.npos);
    repaired = true;
    CHECK(run_passes(model, table, 2, &cache) == expected);
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

TEST_CASE("what a pass guessed that was given up is a hit of the next pass, not a guess") {
  const fs::path folder = golden_dir() / "models/deepseek_v3-moonlight";
  const Model model = Model::open(folder);
  const auto layer =
      static_cast<std::size_t>(std::find_if(model.layers().begin(), model.layers().end(),
                                            [](const Layer& l) { return !l.experts.empty(); }) -
                               model.layers().begin());
  ExpertCache cache(model, folder, 8);
  std::vector<FileRange> ranges;
  for (const Matrix* matrix :
       {&model.layers()[layer].experts[5].gate_proj, &model.layers()[layer].experts[5].up_proj,
        &model.layers()[layer].experts[5].down_proj})
    WeightFiles(model.checkpoint(), folder).add_ranges(*matrix, ranges);
  std::uint64_t bytes = 0;
  for (const FileRange& range : ranges) bytes += range.bytes;

  cache.begin_pass();
  cache.guess(layer, 1, std::vector<std::uint32_t>{5});
  while (cache.totals().bytes_read < bytes) std::this_thread::sleep_for(std::chrono::microseconds(100));
  cache.begin_pass();
  cache.guess(layer, 1, std::vector<std::uint32_t>{5});
  cache.visit(layer, std::vector<ExpertTokens>{{5, 1}}, 1);
  const ExpertCacheTotals totals = cache.totals();
  CHECK(totals.hits == 1);
  CHECK(totals.by_guess == 0);
  CHECK(totals.guesses[0].made == 1);
  CHECK(totals.guesses[0].reads == 1);
  CHECK(totals.guesses[0].useful == 0);
}

namespace {

// What a matrix points to, as WeightFiles has it.
constexpr const std::byte* Matrix::*pointers[] = {&Matrix::values, &Matrix::scales, &Matrix::zeros,
                                                  &Matrix::group_index};

// Whether the tensors of an expert in a slot hold what the mapped files do.
bool same_bytes(const Model& model, const WeightFiles& files, const Mlp& stored, const Mlp& read) {
  for (const auto matrix : {&Mlp::gate_proj, &Mlp::up_proj, &Mlp::down_proj}) {
    std::vector<FileRange> ranges;
    files.add_ranges(stored.*matrix, ranges);
    auto range = ranges.begin();
    for (const auto pointer : pointers) {
      const std::byte* const mapped = stored.*matrix.*pointer;
      if (mapped == nullptr) continue;
      const std::byte* const tensor = model.checkpoint().file(range->file).bytes.data() + range->offset;
      const std::byte* const copy = read.*matrix.*pointer - (mapped - tensor);
      if (!std::equal(tensor, tensor + range->bytes, copy)) return false;
      ++range;
    }
  }
  return true;
}

// A cache of random size whose reads come late, short and, if told so, not at all.
struct Stress {
  Stress(const char* name, unsigned seed, bool reads_fail)
      : folder(golden_dir() / "models" / name),
        model(Model::open(folder)),
        files(model.checkpoint(), folder),
        random(seed),
        attempts(seed * 1000) {
    ExpertCacheOptions options;
    options.reader.engine = seed % 2 == 0 ? ReadEngine::automatic : ReadEngine::pread;
    options.reader.threads = 1 + seed % 3;
    options.reader.piece = 4096;
    options.reader.in_flight = std::size_t{4096} << seed % 5;
    options.reader.ahead_in_flight = std::size_t{4096} << seed % 3;
    options.reader.spoil = [this, reads_fail](const ReadAttempt&, ssize_t result) -> ssize_t {
      if (result == -EFAULT) ++faults;  // memory that is not there
      const unsigned hash = (attempts.fetch_add(1) * 2654435761U) >> 16U;
      if (hash % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(hash % 200));
      if (hash % 16 == 1) return -EINTR;
      if (hash % 16 == 2 && result > 1) return result / 2;
      if (reads_fail && hash % 512 == 3) return -EIO;
      return result;
    };
    const std::size_t all = all_experts(model);
    cache = std::make_unique<ExpertCache>(model, folder, 2 + below(seed % 4 == 0 ? all - 1 : 10), options);
  }

  std::size_t below(std::size_t end) {
    return std::uniform_int_distribution<std::size_t>(0, end - 1)(random);
  }
  bool chance(unsigned percent) { return below(100) < percent; }

  // Distinct experts, a few of them or many, the low ones more often.
  std::vector<std::uint32_t> some_experts() {
    const std::size_t experts = model.config().n_routed_experts;
    const std::size_t percent = 5 + below(95);
    std::vector<std::uint32_t> some;
    for (std::uint32_t e = 0; e < experts; ++e)
      if (below(100 * (e + 1)) < percent * (experts - e) / 2) some.push_back(e);
    if (some.empty()) some.push_back(static_cast<std::uint32_t>(below(experts)));
    return some;
  }

  void seed_shares() {
    ExpertShares shares;
    shares.tokens = 1 + below(2000);
    for (const Layer& layer : model.layers()) {
      auto& own = shares.layers.emplace_back(layer.experts.size());
      for (double& share : own) share = static_cast<double>(below(101)) / 100;
    }
    cache->seed(shares);
  }

  // What guess() gets is partly what the layer asks for then.
  void guess(std::size_t layer, std::size_t distance) {
    if (layer + distance >= model.layers().size()) return;
    std::vector<std::uint32_t> experts = chance(70) ? wanted[layer + distance] : some_experts();
    std::shuffle(experts.begin(), experts.end(), random);
    if (!experts.empty()) cache->guess(layer + distance, distance, experts);
  }

  // A layer at work, as the forward pass does it; some are given up in the middle.
  void visit(std::size_t layer) {
    const std::vector<Mlp>& experts = model.layers()[layer].experts;
    const std::uint64_t tokens = 1 + below(9);
    std::vector<ExpertTokens> asked;
    for (const std::uint32_t e : wanted[layer])
      asked.push_back({e, static_cast<std::uint32_t>(1 + below(tokens))});
    const auto visit = cache->visit(layer, asked, tokens);
    for (const std::size_t distance : {1, 2}) guess(layer, distance);
    std::vector<bool> there(asked.size() + 1, false);  // and one that never is
    std::vector<std::size_t> places;
    std::size_t released = 0;
    while (released < asked.size()) {
      if (chance(1)) return;
      const auto gap = static_cast<std::size_t>(
          std::find(there.begin() + static_cast<std::ptrdiff_t>(released), there.end(), false) -
          there.begin());
      const bool is_stuck = gap == released;
      places.clear();
      if (gap < asked.size()) visit->arrived(places, is_stuck || (!visit->crowded() && chance(20)));
      if (is_stuck) CHECK(!places.empty());
      for (const std::size_t place : places) {
        CHECK(!there.at(place));
        there.at(place) = true;
        CHECK(same_bytes(model, files, experts[asked[place].expert], (*visit)[place]));
      }
      if (gap == released || !(gap == asked.size() || visit->crowded() || chance(30))) continue;
      for (std::size_t i = released; i < gap; ++i)  // nobody has written there meanwhile
        CHECK(same_bytes(model, files, experts[asked[i].expert], (*visit)[i]));
      visit->release(gap);
      released = gap;
    }
  }

  void pass() {
    cache->begin_pass();
    wanted.assign(model.layers().size(), {});
    for (std::size_t l = 0; l < model.layers().size(); ++l)
      if (!model.layers()[l].experts.empty()) wanted[l] = some_experts();
    for (std::size_t l = 0; l < model.layers().size(); ++l) {
      if (chance(2)) return;
      if (!model.layers()[l].experts.empty()) {
        visit(l);
      } else {
        for (const std::size_t distance : {1, 2}) guess(l, distance);
      }
    }
  }

  fs::path folder;
  Model model;
  WeightFiles files;
  std::mt19937 random;
  std::atomic<unsigned> attempts;
  std::atomic<int> faults{0};
  std::vector<std::vector<std::uint32_t>> wanted;  // by layer
  std::unique_ptr<ExpertCache> cache;
};

void check_books(const ExpertCacheTotals& totals) {
  CHECK(totals.hits + totals.by_guess + totals.misses == totals.asked);
  for (const auto& guesses : totals.guesses) {
    CHECK(guesses.right <= guesses.made);
    CHECK(guesses.useful <= guesses.reads);
    CHECK(guesses.useful <= guesses.right);
  }
}

}  // namespace

TEST_CASE("an expert that has arrived holds the file's bytes until it is released, whatever else goes on") {
  unsigned seed = 0;
  for (const char* const name : model_names) {
    CAPTURE(name);
    for (unsigned i = 0; i < 9; ++i) {
      CAPTURE(++seed);
      const bool reads_fail = i % 3 == 2;
      Stress stress(name, seed, reads_fail);
      if (i % 2 == 0) stress.seed_shares();
      for (int pass = 0; pass < 15; ++pass) {
        std::string message;
        try {
          stress.pass();
        } catch (const Error& error) {
          message = error.what();
          CHECK(reads_fail);
          CHECK(message.find("Input/output error") != message.npos);
        }
        check_books(stress.cache->totals());
      }
      stress.cache.reset();  // reads may be under way
      CHECK(stress.faults == 0);
    }
  }
}
