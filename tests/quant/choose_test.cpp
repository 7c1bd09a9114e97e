#include "quant/choose.h"

#include <doctest/doctest.h>

#include "error.h"
#include "quant/fixture.h"

using namespace baleen;
using namespace baleen::test;

namespace {

const Target int8{Encoding::int8, 32};
const Target int4{Encoding::int4, 32};
const Target fp8{Encoding::fp8};

struct Chosen {
  Source source;
  std::vector<Decision> decisions;
  Chosen(const std::string& golden, const ChooseOptions& options)
      : source(Source::open(golden_model(golden))), decisions(choose(source, options)) {}

  std::size_t index(std::string_view module) const {
    for (std::size_t i = 0; i < decisions.size(); ++i)
      if (source.modules()[i].name == module) return i;
    throw std::runtime_error("no module " + std::string(module));
  }
  const Decision& operator[](std::string_view module) const { return decisions[index(module)]; }
  Work work(std::string_view module) const {
    return make_plan(source, decisions, 1 << 30).modules[index(module)].work;
  }
};

std::string usage_error(const ChooseOptions& options) {
  const Source source = Source::open(golden_model("deepseek_v3-moonlight"));
  try {
    choose(source, options);
  } catch (const UsageError& error) {
    std::string text = error.what();
    const std::string dir = golden_model("deepseek_v3-moonlight").string();
    if (const auto at = text.find(dir); at != text.npos) text.replace(at, dir.size(), "DIR");
    return text;
  }
  return "";
}

const char* const model = "deepseek_v3-moonlight";

}  // namespace

TEST_CASE("--to: matrices of attention, experts and dense layers") {
  const Chosen all(model, {.to = int8, .rules = {}, .keep = {}, .only = {}});
  CHECK(all["model.layers.0.mlp.down_proj"].target == int8);
  CHECK(all["model.layers.1.self_attn.kv_b_proj"].target == int8);
  CHECK(all["model.layers.2.mlp.experts.11.up_proj"].target == int8);
  for (const char* const name : {"lm_head", "model.embed_tokens.weight", "model.norm.weight",
                                 "model.layers.1.mlp.gate.e_score_correction_bias"}) {
    CAPTURE(name);
    const auto found =
        std::find_if(all.source.modules().begin(), all.source.modules().end(),
                     [&](const SourceModule& m) { return std::string(name).starts_with(m.name); });
    REQUIRE(found != all.source.modules().end());
    CHECK(all[found->name].target == std::nullopt);
    CHECK(all[found->name].kept == Kept::by_nature);
  }
}

TEST_CASE("--keep and --only find their expression anywhere in a name") {
  const Chosen kept(model, {.to = int8, .rules = {}, .keep = {"layers\\.0\\.", "kv_b"}, .only = {}});
  CHECK(kept["model.layers.0.mlp.down_proj"].kept == Kept::by_request);
  CHECK(kept["model.layers.0.mlp.down_proj"].target == std::nullopt);
  CHECK(kept["model.layers.1.self_attn.kv_b_proj"].target == std::nullopt);
  CHECK(kept["model.layers.1.self_attn.q_proj"].target == int8);
  CHECK(kept.work("model.layers.0.mlp.down_proj") == Work::copy);
  const Chosen only(model, {.to = int8, .rules = {}, .keep = {"\\.3\\."}, .only = {"experts"}});
  CHECK(only["model.layers.1.mlp.experts.2.up_proj"].target == int8);
  CHECK(only["model.layers.1.mlp.experts.3.up_proj"].target == std::nullopt);
  CHECK(only["model.layers.1.self_attn.q_proj"].target == std::nullopt);
}

TEST_CASE("--bits: the last rule that speaks of a module") {
  const Chosen some(
      model, {.to = {}, .rules = parse_bits("experts=int4,experts@2=int8", 32), .keep = {}, .only = {}});
  CHECK(some["model.layers.1.mlp.experts.0.up_proj"].target == int4);
  CHECK(some["model.layers.2.mlp.experts.0.up_proj"].target == int8);
  CHECK(some["model.layers.1.self_attn.q_proj"].target == std::nullopt);
  const Chosen both(model, {.to = int8, .rules = parse_bits("experts=keep", 32), .keep = {}, .only = {}});
  CHECK(both["model.layers.1.mlp.experts.0.up_proj"].target == std::nullopt);
  CHECK(both["model.layers.1.self_attn.q_proj"].target == int8);
}

TEST_CASE("a group that does not divide the rows") {
  const Chosen some(model, {.to = Target{Encoding::int8, 128}, .rules = {}, .keep = {}, .only = {}});
  CHECK(some["model.layers.1.mlp.experts.0.down_proj"].kept == Kept::by_group);  // rows of 64
  CHECK(some["model.layers.1.mlp.experts.0.down_proj"].target == std::nullopt);
  CHECK(some["model.layers.1.mlp.experts.0.up_proj"].target == Target{Encoding::int8, 128});
}

TEST_CASE("what cannot be asked for") {
  CHECK(usage_error({.to = Target{Encoding::int8, 48}, .rules = {}, .keep = {}, .only = {}}) ==
        "DIR: nothing to quantize, the group divides the rows of no matrix that was asked for; --group takes "
        "another");
  CHECK(usage_error({.to = int8, .rules = {}, .keep = {"."}, .only = {}}) ==
        "DIR: nothing to quantize, all modules stay by what was asked for");
  CHECK(usage_error({.to = int8, .rules = {}, .keep = {"lm_head", "layer3"}, .only = {}}) ==
        "--keep layer3: found in the name of no module of DIR");
  CHECK(usage_error({.to = int8, .rules = {}, .keep = {}, .only = {"expertz"}}) ==
        "--only expertz: found in the name of no module of DIR");
  CHECK(
      usage_error({.to = int8, .rules = {}, .keep = {"x)(y"}, .only = {}}).starts_with("--keep x)(y: not a"));
  CHECK(usage_error({.to = int8, .rules = parse_bits("experts=fp8", 32), .keep = {}, .only = {}}) != "");
}

TEST_CASE("what stays keeps the form that it is stored in, if that can stand beside the new one") {
  const std::string up = "model.layers.1.mlp.experts.0.up_proj";
  const Chosen beside("deepseek_v3-int4", {.to = int8, .rules = {}, .keep = {"experts"}, .only = {}});
  CHECK(beside[up].target == int4);
  CHECK(beside[up].kept == Kept::by_request);
  CHECK(beside.work(up) == Work::copy);
  const Chosen not_beside("deepseek_v3-int4", {.to = fp8, .rules = {}, .keep = {"experts"}, .only = {}});
  CHECK(not_beside[up].target == std::nullopt);
  CHECK(not_beside.work(up) == Work::widen);
  const Chosen from_fp8("deepseek_v3-fp8", {.to = int4, .rules = {}, .keep = {"experts"}, .only = {}});
  CHECK(from_fp8.work(up) == Work::widen);
}

TEST_CASE("config.json changes in its quantization_config alone") {
  const Chosen all("deepseek_v3-fp8", {.to = int4, .rules = {}, .keep = {}, .only = {}});
  auto before = golden_config("deepseek_v3-fp8");
  auto after = nlohmann::json::parse(config_json(all.source, all.decisions));
  CHECK(after["quantization_config"]["quant_method"] == "compressed-tensors");
  before.erase("quantization_config");
  after.erase("quantization_config");
  CHECK(before == after);
}
