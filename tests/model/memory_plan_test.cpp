// What a budget for weights buys: the sums are those of the tensors' own names.
#include "model/memory_plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/fixture.h"
#include "error.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "report/units.h"

namespace baleen {
namespace {

using test::contains;
using test::error_of;

constexpr std::uint64_t plenty = std::uint64_t{1} << 40;

// Rooms of the tensors, picked by name.
struct ByName {
  std::uint64_t all, resident, embedding, largest_expert;
  std::size_t experts;
};

ByName by_name(const Checkpoint& checkpoint, bool embedding_resident, std::string_view without = "none") {
  std::vector<FileRange> all, resident, embedding;
  std::map<std::string, std::vector<FileRange>> experts;
  for (const Tensor& tensor : checkpoint.tensors()) {
    const std::string name(tensor.name);
    if (contains(name, without) || contains(name, ".weight_shape")) continue;  // that is read at opening only
    std::size_t file = 0;
    while (checkpoint.file(file).name != tensor.file) ++file;
    const FileRange range{file, static_cast<std::uint64_t>(tensor.data - checkpoint.file(file).bytes.data()),
                          tensor.bytes};
    all.push_back(range);
    // "model.layers.1.mlp.experts.7.up_proj.weight_packed" and Mixtral's "...experts.7.w1.weight"
    if (const std::size_t at = name.find(".experts."); at != name.npos)
      experts[name.substr(0, name.find('.', at + 9))].push_back(range);
    else if (contains(name, "embed_tokens") && !embedding_resident)
      embedding.push_back(range);
    else
      resident.push_back(range);
  }
  const auto room = [](const std::vector<FileRange>& ranges) {
    return std::uint64_t{plan_reads(ranges, 4096).room};
  };
  ByName sums{room(all), room(resident), room(embedding), 0, experts.size()};
  for (const auto& [name, ranges] : experts)
    sums.largest_expert = std::max(sums.largest_expert, room(ranges));
  return sums;
}

const std::string names[] = {"models/deepseek_v3-moonlight",
                             "models/deepseek_v3-int4",
                             "models/deepseek_v3-fp8",
                             "models/mixtral",
                             "switches/deepseek_v3-tied",
                             "switches/deepseek_v3-shards",
                             "switches/deepseek_v3-all_dense",
                             "switches/mixtral-one_expert",
                             "switches/olmoe-tied"};

TEST_CASE("a plan counts each tensor once, in whole blocks, and a budget buys slots of the largest expert") {
  for (const std::string& name : names) {
    CAPTURE(name);
    const auto dir = testing::golden_dir() / name;
    const Model model = Model::open(dir);
    const WeightFiles files(model.checkpoint(), dir);
    const bool tied = model.config().tie_word_embeddings;
    const ByName expected = by_name(model.checkpoint(), tied);
    const MemoryPlan plan = plan_memory(model, files, plenty);
    CHECK(plan.weight_bytes == expected.all);
    CHECK(plan.resident_bytes == expected.resident);
    CHECK(plan.embedding_bytes == expected.embedding);
    CHECK((plan.embedding_bytes == 0) == tied);
    CHECK(plan.slot_bytes == expected.largest_expert);
    CHECK(plan.experts == expected.experts);
    CHECK(plan.slots == plan.experts);
    CHECK(plan.everything_fits());
    CHECK(plan.every_expert_fits());
    if (plan.weight_bytes > plan.least)
      CHECK_FALSE(plan_memory(model, files, plan.weight_bytes - 1).everything_fits());

    const std::size_t fewest = std::min<std::size_t>(4, plan.experts);
    CHECK(plan.least == plan.resident_bytes + plan.embedding_bytes + fewest * plan.slot_bytes);
    CHECK(plan_memory(model, files, plan.least).slots == fewest);
    if (plan.experts > 5) {
      CHECK(plan_memory(model, files, plan.least + plan.slot_bytes - 1).slots == fewest);
      CHECK(plan_memory(model, files, plan.least + plan.slot_bytes).slots == fewest + 1);
      CHECK_FALSE(plan_memory(model, files, plan.least).every_expert_fits());
    }
  }
}

TEST_CASE("a budget that is too small: what takes how much, and a least that works") {
  for (const std::string& name : names) {
    CAPTURE(name);
    const auto dir = testing::golden_dir() / name;
    const Model model = Model::open(dir);
    const WeightFiles files(model.checkpoint(), dir);
    const MemoryPlan plan = plan_memory(model, files, plenty);
    const std::uint64_t least = plan.least;
    for (const std::uint64_t budget : {std::uint64_t{0}, least - 1}) {
      const std::string error = error_of([&] { plan_memory(model, files, budget); });
      CAPTURE(error);
      // Budgets that read alike are told apart by their bytes.
      const bool alike = format_bytes(budget) == format_bytes(least);
      const std::string given = alike ? std::to_string(budget) + " B" : format_bytes(budget);
      CHECK(error.starts_with("--memory " + given + ": "));
      CHECK(contains(error, "attention"));
      const std::string experts = std::to_string(std::min<std::size_t>(4, plan.experts)) + " experts ";
      CHECK(contains(error, experts) == (plan.experts > 0));
      CHECK(contains(error, "rows of the embedding") != model.config().tie_word_embeddings);
      const std::size_t end = error.find(" is the least that works");
      REQUIRE(end != error.npos);
      const std::size_t begin = error.rfind(' ', end - 1) + 1;
      const std::uint64_t printed = parse_bytes(error.substr(begin, end - begin));
      CHECK(printed >= least);
      CHECK(printed < least + (alike ? 1 : least / 50));
      CHECK(error_of([&] { plan_memory(model, files, printed); }).empty());
    }
  }
}

TEST_CASE("a rounded head counts instead of the stored one, which stays only for a tied embedding") {
  for (const char* name : {"models/qwen3_moe", "switches/qwen3_moe-tied"}) {
    CAPTURE(name);
    const auto dir = testing::golden_dir() / name;
    Model model = Model::open(dir);
    ThreadPool pool(2);
    const RoundedHead head = model.round_head(pool, *kernels::find_kernels("scalar"));
    REQUIRE(head.bytes > 0);
    const WeightFiles files(model.checkpoint(), dir);
    const MemoryPlan plan = plan_memory(model, files, plenty);
    // No row of a tied embedding is needed by a head any more.
    const ByName expected = by_name(model.checkpoint(), false, "lm_head");
    CHECK(plan.resident_bytes == expected.resident + head.bytes);
    CHECK(plan.embedding_bytes == expected.embedding);
    CHECK(plan.embedding_bytes > 0);
  }
}

TEST_CASE("weights that lie in memory cannot be planned for") {
  const Model model = Model::open(testing::golden_dir() / "models/olmoe");
  std::vector<Checkpoint::MemoryTensor> none;
  const Checkpoint checkpoint = Checkpoint::in_memory(none, nullptr);
  const WeightFiles files(checkpoint, ".");
  CHECK_THROWS_AS(plan_memory(model, files, plenty), std::invalid_argument);
}

TEST_CASE("--memory auto: what is available less cache, working memory and a margin") {
  constexpr std::uint64_t gib = std::uint64_t{1} << 30;
  CHECK(spare_memory({64 * gib, 32 * gib}, 3 * gib, gib) == 26 * gib);
  CHECK(spare_memory({4 * gib, 2 * gib}, 0, 0) == 2 * gib - gib / 4);
  CHECK(spare_memory({4 * gib, 2 * gib}, 2 * gib, 0) == 0);
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  CHECK(spare_memory({4 * gib, 2 * gib}, most, most) == 0);
  CHECK(spare_memory({4 * gib, 0}, 0, 0) == 0);
}

TEST_CASE("the working memory of a pass grows with its tokens and its logits") {
  const Config config = Model::open(testing::golden_dir() / "models/mixtral").config();
  const std::uint64_t none = pass_memory(config, 0, 0);
  const std::uint64_t token = pass_memory(config, 1, 0) - none;
  CHECK(token >= 4 * config.hidden_size * sizeof(float));
  CHECK(pass_memory(config, 100, 0) == none + 100 * token);
  CHECK(pass_memory(config, 100, 3) == none + 100 * token + 3 * config.vocab_size * sizeof(float));
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  CHECK(pass_memory(config, most, 0) >= std::numeric_limits<std::uint64_t>::max() / 2);
  CHECK(pass_memory(config, 100, 0, 10000) == pass_memory(config, 100, 0));

  const Config mla = Model::open(testing::golden_dir() / "models/deepseek_v3-moonlight").config();
  CHECK(pass_memory(mla, 100, 0, 383) == pass_memory(mla, 100, 0));
  const auto prompt = [&](std::size_t tokens) {
    return pass_memory(mla, 100, 0, tokens) - pass_memory(mla, 100, 0);
  };
  CHECK(prompt(384) >= 384 * 2 * mla.kv_lora_rank * sizeof(float));
  CHECK(prompt(2000) - prompt(1000) == 1000 * (2 * mla.kv_lora_rank + mla.qk_rope_head_dim) * sizeof(float));
  CHECK(pass_memory(mla, 100, 0, most) >= std::numeric_limits<std::uint64_t>::max() / 2);
}

}  // namespace
}  // namespace baleen
