// Models within a budget: what becomes of it, that results do not depend on it, and how long passes get.
#include "runtime/limited_memory.h"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <numeric>
#include <string>

#include "error.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "model/forward.h"
#include "model/weight_files.h"
#include "runtime/session.h"

using namespace baleen;
using namespace baleen::testing;
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t unlimited = std::uint64_t{0} - 1;

MemoryPlan plan_of(const Model& model, const fs::path& folder, std::uint64_t budget = unlimited) {
  return plan_memory(model, WeightFiles(model.checkpoint(), folder), budget);
}

// The logits of a prompt and of some tokens after it.
std::vector<float> logits_of(const Model& model, ExpertCache* experts) {
  ThreadPool pool(2);
  Session session(model, pool,
                  {.context = 64,
                   .kv_format = kernels::KvFormat::f32,
                   .chunk = 20,
                   .kernels = kernels::find_kernels("auto"),
                   .experts = experts});
  std::vector<TokenId> ids(40);
  std::iota(ids.begin(), ids.end(), TokenId{7});
  std::vector<float> all;
  const auto keep = [&](std::size_t, std::span<const float> row) {
    all.insert(all.end(), row.begin(), row.end());
  };
  session.feed(std::span(ids).first(32), kernels::Path::batch, Session::Want::all, keep);
  for (std::size_t i = 32; i < ids.size(); ++i)
    session.feed(std::span(ids).subspan(i, 1), kernels::Path::stream, Session::Want::all, keep);
  return all;
}

// As if every token went to the first experts.
ExpertShares lopsided(const Config& config) {
  ExpertShares shares;
  shares.tokens = 1000;
  for (const bool moe : config.is_moe_layer) {
    std::vector<double>& layer = shares.layers.emplace_back(moe ? config.n_routed_experts : 0);
    if (moe) std::fill_n(layer.begin(), config.num_experts_per_tok, 1.0);
  }
  return shares;
}

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

const Config& some_config() {
  static const Model model = Model::open(golden_dir() / "models" / "deepseek_v3-moonlight");
  return model.config();
}

}  // namespace

TEST_CASE("whatever the budget and the prior, results are those of a model in memory") {
  for (const char* const name : {"deepseek_v3-moonlight", "deepseek_v3-fp8", "mixtral"}) {
    CAPTURE(name);
    const fs::path folder = golden_dir() / "models" / name;
    const Model mapped = Model::open(folder);
    const std::vector<float> expected = logits_of(mapped, nullptr);
    const MemoryPlan all = plan_of(mapped, folder);
    const ExpertShares prior = lopsided(mapped.config());
    for (const std::uint64_t budget : {all.least, all.least + 3 * all.slot_bytes}) {
      for (const ExpertShares* shares : {static_cast<const ExpertShares*>(nullptr), &prior}) {
        CAPTURE(budget);
        Model model = Model::open(folder);
        std::uint64_t told = 0;
        const LimitedMemory memory = limit_memory(
            model, folder, budget,
            {.prior = shares, .reader = {}, .progress = [&](std::uint64_t done, std::uint64_t total) {
               CHECK(done >= told);
               CHECK(done <= total);
               told = done;
             }});
        REQUIRE(memory.experts);
        CHECK(memory.experts->slots() == memory.plan.slots);
        CHECK(memory.plan.slots < memory.plan.experts);
        CHECK(memory.resident.bytes > 0);
        CHECK(told > 0);
        CHECK(logits_of(model, memory.experts.get()) == expected);
      }
    }
  }
}

TEST_CASE("a model that fits its budget stays where it is mapped") {
  const fs::path folder = golden_dir() / "models" / "olmoe";
  Model model = Model::open(folder);
  const std::byte* const head = static_cast<const std::byte*>(model.global()[Role::lm_head].values);
  const LimitedMemory memory = limit_memory(model, folder, unlimited);
  CHECK(memory.plan.everything_fits());
  CHECK(!memory.experts);
  CHECK(memory.resident.bytes == 0);
  CHECK(static_cast<const std::byte*>(model.global()[Role::lm_head].values) == head);
}

TEST_CASE("too small a budget is an error, and one that is cancelled leaves the model as it was") {
  const fs::path folder = golden_dir() / "models" / "deepseek_v3-moonlight";
  Model model = Model::open(folder);
  const MemoryPlan plan = plan_of(model, folder);
  CHECK(message_of([&] { limit_memory(model, folder, plan.least - 1); }).find("the least that works") !=
        std::string::npos);
  const std::atomic<bool> cancel = true;
  LimitedMemoryOptions options;
  options.cancel = &cancel;
  CHECK_THROWS_AS(limit_memory(model, folder, plan.least, options), Cancelled);
  const LimitedMemory memory = limit_memory(model, folder, plan.least);
  CHECK(memory.plan.slots >= least_slots);
}

TEST_CASE("prompts go through in longer passes where experts must be read") {
  const Config& config = some_config();
  const auto chunks = [&](std::uint64_t memory, bool all_in_memory = false) {
    const PromptChunks c = prompt_chunks(config, memory, all_in_memory);
    return std::pair(c.alone, c.mixed);
  };
  const auto memory_of_passes = [&](std::size_t tokens) { return 8 * pass_memory(config, tokens, 1); };
  CHECK(chunks(unlimited) == std::pair<std::size_t, std::size_t>(8192, 8192));
  CHECK(chunks(unlimited, true) == std::pair<std::size_t, std::size_t>(2048, 512));
  CHECK(chunks(0) == std::pair<std::size_t, std::size_t>(2048, 512));
  CHECK(chunks(memory_of_passes(4096)) == std::pair<std::size_t, std::size_t>(4096, 4096));
  CHECK(chunks(memory_of_passes(4096) - 8) == std::pair<std::size_t, std::size_t>(3584, 3584));
  CHECK(chunks(memory_of_passes(1024)) == std::pair<std::size_t, std::size_t>(2048, 1024));
}

TEST_CASE("an automatic budget leaves room for KV cache and passes") {
  const Config& config = some_config();
  const MemoryState state{.total = std::uint64_t{64} << 30, .available = std::uint64_t{48} << 30};
  const std::uint64_t short_prompt = automatic_budget(state, config, 0, 100);
  CHECK(short_prompt < state.available);
  CHECK(automatic_budget(state, config, std::uint64_t{1} << 30, 100) ==
        short_prompt - (std::uint64_t{1} << 30));
  const std::uint64_t long_prompt = automatic_budget(state, config, 0, 8192);
  CHECK(short_prompt - long_prompt == pass_memory(config, 8192, 1, 8192) - pass_memory(config, 100, 1));
  CHECK(long_prompt - automatic_budget(state, config, 0, 100'000) ==
        pass_memory(config, 8192, 1, 100'000) - pass_memory(config, 8192, 1, 8192));
  CHECK(automatic_budget(state, config, state.total, 100) == 0);
}

TEST_CASE("two models share a budget") {
  const MemoryPlan small{.weight_bytes = 100, .least = 40};
  const MemoryPlan large{.weight_bytes = 500, .least = 80};
  CHECK(share_budget(small, large, 120) == std::pair<std::uint64_t, std::uint64_t>(40, 80));
  CHECK(share_budget(small, large, 360) == std::pair<std::uint64_t, std::uint64_t>(70, 290));
  CHECK(share_budget(small, large, 600) == std::pair<std::uint64_t, std::uint64_t>(100, 500));
  const auto [first, second] = share_budget(small, large, 6000);
  CHECK(first >= 100);
  CHECK(second >= 500);
  CHECK(first + second == 6000);
  CHECK(message_of([&] { share_budget(small, large, 119); }).find("is the least that works") !=
        std::string::npos);
}
