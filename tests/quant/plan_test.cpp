#include "quant/plan.h"

#include <doctest/doctest.h>

#include <set>

#include "checkpoint/safetensors.h"
#include "quant/fixture.h"

using namespace baleen;
using namespace baleen::test;

namespace {

// What a reader of the shard finds in it.
SafetensorsHeader parsed(const PlannedShard& shard) {
  const std::string whole = shard.header + std::string(shard.bytes - shard.header.size(), '\0');
  const std::uint64_t size = safetensors_header_size(as_bytes(whole), shard.name);
  REQUIRE(safetensors_prefix + size == shard.header.size());
  return parse_safetensors_header(as_bytes(std::string_view(shard.header).substr(safetensors_prefix)),
                                  shard.bytes - shard.header.size(), shard.name);
}

}  // namespace

TEST_CASE("a plan's headers say where its tensors lie") {
  for (const char* const golden : {"deepseek_v3-moonlight", "deepseek_v3-fp8", "deepseek_v3-int4"}) {
    CAPTURE(golden);
    const Source source = Source::open(golden_model(golden));
    for (const std::uint64_t shard_size : {std::uint64_t{100'000}, std::uint64_t{1} << 40}) {
      Run run{.shard_size = shard_size};
      const Plan plan = run.plan(source);
      std::uint64_t file_bytes = 0;
      for (std::size_t s = 0; s < plan.shards.size(); ++s) {
        const PlannedShard& shard = plan.shards[s];
        file_bytes += shard.bytes;
        CHECK(shard.header.size() % 64 == 0);
        const SafetensorsHeader header = parsed(shard);
        std::size_t found = 0;
        for (const PlannedTensor& tensor : plan.tensors) {
          if (tensor.shard != s) continue;
          const auto entry = std::find_if(header.entries.begin(), header.entries.end(),
                                          [&](const SafetensorsEntry& e) { return e.name == tensor.name; });
          REQUIRE(entry != header.entries.end());
          ++found;
          CHECK(entry->begin + shard.header.size() == tensor.offset);
          CHECK(entry->end - entry->begin == tensor.bytes);
          CHECK(entry->dtype == tensor.dtype);
          CHECK(entry->shape == tensor.shape);
          CHECK(tensor.offset % dtype_bytes(tensor.dtype) == 0);
        }
        CHECK(found == header.entries.size());
      }
      CHECK(file_bytes == plan.file_bytes);
    }
  }
}

TEST_CASE("shards hold whole modules and keep to their size") {
  const Source source = Source::open(golden_model("deepseek_v3-moonlight"));
  constexpr std::uint64_t size = 50'000;
  const Plan plan = Run{.shard_size = size}.plan(source);
  CHECK(plan.shards.size() > 3);
  std::vector<std::uint64_t> bytes(plan.shards.size());
  std::vector<std::set<std::size_t>> modules(plan.shards.size());
  std::size_t next = 0;
  for (std::size_t m = 0; m < plan.modules.size(); ++m) {
    CHECK(plan.modules[m].first_tensor == next);
    next += plan.modules[m].tensor_count;
    for (const PlannedTensor& tensor : plan.tensors_of(m)) {
      CHECK(tensor.shard == plan.tensors_of(m)[0].shard);
      bytes[tensor.shard] += tensor.bytes;
      modules[tensor.shard].insert(m);
    }
  }
  CHECK(next == plan.tensors.size());
  std::size_t large = 0;
  for (std::size_t s = 0; s < bytes.size(); ++s) {
    if (bytes[s] <= size) continue;
    ++large;
    CHECK(modules[s].size() == 1);  // one module that is larger
  }
  CHECK(large == 2);  // embedding and output head
  CHECK(plan.shards[0].name == "model-00001-of-" + std::string(5 - std::to_string(bytes.size()).size(), '0') +
                                   std::to_string(bytes.size()) + ".safetensors");
  const auto index = nlohmann::json::parse(index_json(plan));
  CHECK(index["metadata"]["total_size"] == plan.tensor_bytes);
  CHECK(index["weight_map"].size() == plan.tensors.size());
  for (const PlannedTensor& tensor : plan.tensors)
    CHECK(index["weight_map"][tensor.name] == plan.shards[tensor.shard].name);
}

TEST_CASE("the same plan every time; one file needs no index") {
  const Source source = Source::open(golden_model("deepseek_v3-moonlight"));
  const Plan plan = Run{}.plan(source);
  const Plan again = Run{}.plan(Source::open(golden_model("deepseek_v3-moonlight")));
  REQUIRE(plan.shards.size() == 1);
  CHECK(plan.shards[0].name == "model.safetensors");
  CHECK(index_json(plan).empty());
  CHECK(plan.shards[0].header == again.shards[0].header);
  CHECK(output_identity(plan, {}) == output_identity(again, {}));
}

TEST_CASE("what is stored as it is wanted is copied") {
  const Source source = Source::open(golden_model("deepseek_v3-int4"));
  const auto works = [&](const Target& target) {
    std::set<Work> found;
    const std::vector<Decision> decisions =
        choose(source, {.to = target, .rules = {}, .keep = {}, .only = {}});
    const Plan plan = make_plan(source, decisions, 1 << 30);
    for (std::size_t m = 0; m < plan.modules.size(); ++m)
      if (source.modules()[m].quantizable) found.insert(plan.modules[m].work);
    return found;
  };
  CHECK(stored_target(source.modules().back()) == std::optional<Target>());
  CHECK(works({Encoding::int4, 32}) == std::set{Work::copy});
  CHECK(works({Encoding::int8, 32}) == std::set{Work::encode});
}
