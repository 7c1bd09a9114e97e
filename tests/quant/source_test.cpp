#include "quant/source.h"

#include <doctest/doctest.h>

#include <cstring>
#include <set>

#include "error.h"
#include "quant/fixture.h"

using namespace baleen;
using namespace baleen::test;

namespace {

const SourceModule* find(const Source& source, std::string_view name) {
  for (const SourceModule& module : source.modules())
    if (module.name == name) return &module;
  return nullptr;
}

std::vector<std::string> tensors_of(const SourceModule& module) {
  std::vector<std::string> names;
  for (const Tensor* const tensor : module.tensors) names.emplace_back(tensor->name);
  return names;
}

using Names = std::vector<std::string>;

// Every tensor belongs to exactly one module.
void check_complete(const Source& source) {
  std::multiset<std::string> seen;
  for (const SourceModule& module : source.modules())
    for (const Tensor* const tensor : module.tensors) seen.emplace(tensor->name);
  std::multiset<std::string> all;
  for (const Tensor& tensor : source.model().checkpoint().tensors()) all.emplace(tensor.name);
  CHECK(seen == all);
}

// The last layer once more, as the layer that predicts a token further on.
TestModel with_prediction_layer() {
  TestModel model("deepseek_v3-moonlight");
  model.config["num_nextn_predict_layers"] = 1;
  const std::string from = "model.layers.2.";
  for (const StoredTensor& tensor : std::vector(model.tensors))
    if (tensor.name.starts_with(from)) {
      StoredTensor copy = tensor;
      copy.name = "model.layers.3." + tensor.name.substr(from.size());
      model.tensors.push_back(copy);
    }
  model.tensors.push_back(
      {"model.layers.3.eh_proj.weight", "BF16", {128, 256}, std::string(2 * 128 * 256, '\0')});
  model.tensors.push_back({"model.layers.3.enorm.weight", "BF16", {128}, std::string(2 * 128, '\0')});
  return model;
}

}  // namespace

TEST_CASE("the head that a tied model's files hold stays as it is") {
  TestModel model("deepseek_v3-moonlight");
  model.config["tie_word_embeddings"] = true;
  const TempDir dir;
  const Source source = Source::open(model.write(dir.path() / "in"));
  const SourceModule* head = find(source, "lm_head");
  REQUIRE(head != nullptr);
  CHECK(head->part == "output head");
  CHECK(!head->quantizable);
  Run()(dir.path() / "in", dir.path() / "out");
  const Model written = Model::open(dir.path() / "out");
  const std::string& bytes = model["lm_head.weight"].bytes;
  CHECK(std::memcmp(written.global()[Role::lm_head].values, bytes.data(), bytes.size()) == 0);
}

TEST_CASE("modules of golden models") {
  for (const char* const golden :
       {"deepseek_v2-lite", "deepseek_v3-fp8", "deepseek_v3-grouped-yarn", "deepseek_v3-int4",
        "deepseek_v3-int8", "deepseek_v3-moonlight", "mixtral", "olmoe", "qwen3_moe"}) {
    CAPTURE(golden);
    const Source source = Source::open(golden_model(golden));
    check_complete(source);
    CHECK(std::count_if(source.modules().begin(), source.modules().end(),
                        [](const SourceModule& m) { return m.quantizable; }) > 20);
  }
  const Source source = Source::open(golden_model("deepseek_v3-int4"));
  const SourceModule* const up = find(source, "model.layers.1.mlp.experts.2.up_proj");
  REQUIRE(up != nullptr);
  CHECK(up->part == "routed experts");
  CHECK(up->layer == 1);
  CHECK(up->expert == 2);
  CHECK(up->is_quantized());
  CHECK(tensors_of(*up) ==
        Names{up->name + ".weight_packed", up->name + ".weight_scale", up->name + ".weight_shape"});
}

TEST_CASE("layers of multi-token prediction are layers") {
  TempDir dir;
  TestModel model = with_prediction_layer();
  const Source source = Source::open(model.write(dir.path()));
  check_complete(source);
  const SourceModule* const up = find(source, "model.layers.3.mlp.experts.5.up_proj");
  REQUIRE(up != nullptr);
  CHECK(up->layer == 3);
  CHECK(up->expert == 5);
  CHECK(up->quantizable);
  const SourceModule* const extra = find(source, "model.layers.3.eh_proj.weight");
  REQUIRE(extra != nullptr);
  CHECK(extra->part == "other");
  CHECK(!extra->quantizable);
  // What cannot be a layer's is an error, not a copy.
  model["model.layers.3.mlp.experts.5.up_proj.weight"].shape = {128, 64};
  model.write(dir.path() / "bad");
  CHECK(
      contains(error_of([&] { Source::open(dir.path() / "bad"); }), "model.layers.3.mlp.experts.5.up_proj"));
}

TEST_CASE("quantized modules that no table names") {
  TempDir dir;
  TestModel model("deepseek_v3-int4");
  const std::string packed(8 * 8 * 4, '\x88');  // 8 rows of 64 columns
  model.tensors.push_back({"extra.proj.weight_packed", "I32", {8, 8}, packed});
  model.tensors.push_back({"extra.proj.weight_scale", "BF16", {8, 2}, std::string(8 * 2 * 2, '\x3f')});
  model.tensors.push_back({"extra.proj.weight_shape", "I64", {2}, raw<std::int64_t>({8, 64})});
  const Source source = Source::open(model.write(dir.path() / "in"));
  check_complete(source);
  const SourceModule* const extra = find(source, "extra.proj");
  REQUIRE(extra != nullptr);
  CHECK(extra->is_quantized());
  CHECK(!extra->quantizable);
  Run run;  // int8 beside int4: it stays
  run(dir.path() / "in", dir.path() / "out");
  const Checkpoint out = Checkpoint::open(dir.path() / "out");
  REQUIRE(out.find("extra.proj.weight_packed") != nullptr);
  CHECK(out.find("extra.proj.weight_packed")->bytes == packed.size());
  run.choose.to = Target{Encoding::fp8};  // no int4 beside fp8: plain numbers
  run(dir.path() / "in", dir.path() / "fp8");
  const Checkpoint fp8 = Checkpoint::open(dir.path() / "fp8");
  REQUIRE(fp8.find("extra.proj.weight") != nullptr);
  CHECK(fp8.find("extra.proj.weight")->dtype == DType::bf16);
  CHECK(fp8.find("extra.proj.weight")->shape == Shape{{8, 64}, 2});
  CHECK(fp8.find("extra.proj.weight_packed") == nullptr);
}

TEST_CASE("what looks like part of a matrix but is none is carried over") {
  TempDir dir;
  TestModel model("deepseek_v3-fp8");
  const std::vector<StoredTensor> odd = {
      {"extra.stack.weight", "F8_E4M3", {2, 4, 4}, std::string(32, '1')},
      {"extra.stack.weight_scale_inv", "F32", {2, 1, 1}, std::string(8, '2')},
      {"extra.plain.weight", "BF16", {4, 4}, std::string(32, '3')},
      {"extra.plain.weight_scale", "F32", {1}, std::string(4, '4')},
      {"extra.empty.weight", "F8_E4M3", {4, 0}, ""},
      {"extra.empty.weight_scale_inv", "F32", {1, 0}, ""},
      {"lonely.weight_scale", "F32", {1}, std::string(4, '5')},
  };
  model.tensors.insert(model.tensors.end(), odd.begin(), odd.end());
  const Source source = Source::open(model.write(dir.path() / "in"));
  check_complete(source);
  Run run;
  run(dir.path() / "in", dir.path() / "out");
  const Checkpoint out = Checkpoint::open(dir.path() / "out");
  for (const StoredTensor& tensor : odd) {
    CAPTURE(tensor.name);
    const Tensor* const found = out.find(tensor.name);
    REQUIRE(found != nullptr);
    CHECK(std::string(reinterpret_cast<const char*>(found->data), found->bytes) == tensor.bytes);
  }
}

TEST_CASE("a configuration that promises more than there is") {
  TempDir dir;
  TestModel model("deepseek_v3-moonlight");
  const auto error_with = [&](const char* key, std::size_t value) {
    TestModel changed = model;
    changed.config[key] = value;
    changed.write(dir.path());
    return error_of([&] { Source::open(dir.path()); });
  };
  for (const std::size_t value : {std::size_t{10'000}, std::size_t{1'000'000'000}, std::size_t{1} << 60}) {
    CAPTURE(value);
    for (const char* const key : {"num_hidden_layers", "n_routed_experts", "hidden_size"}) {
      CAPTURE(key);
      CHECK(error_with(key, value) != "");
    }
    // Layers of multi-token prediction may be left out of the files.
    error_with("num_nextn_predict_layers", value);
  }
  CHECK(error_with("num_nextn_predict_layers", 50) == "");
}
