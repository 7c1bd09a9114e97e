// What opening a model makes of what its files hold beside what config.json says.
#include "model/model.h"

#include <doctest/doctest.h>

#include <cstring>

#include "quant/fixture.h"

using namespace baleen;
using namespace baleen::test;

namespace {

const Inventory* row_of(const Model& model, std::string_view kind) {
  for (const Inventory& row : model.inventory())
    if (row.kind == kind) return &row;
  return nullptr;
}

TestModel without(TestModel model, std::string_view part) {
  std::erase_if(model.tensors, [&](const StoredTensor& t) { return contains(t.name, part); });
  return model;
}

}  // namespace

TEST_CASE("tied embeddings: the files' own head counts, without one the embedding") {
  TestModel stored("deepseek_v3-moonlight");
  stored.config["tie_word_embeddings"] = true;
  const TempDir dir;
  const Model own = Model::open(stored.write(dir.path() / "own"));
  const std::string& head = stored["lm_head.weight"].bytes;
  CHECK(std::memcmp(own.global()[Role::lm_head].values, head.data(), head.size()) == 0);
  CHECK(head != stored["model.embed_tokens.weight"].bytes);
  REQUIRE(row_of(own, "output head") != nullptr);
  CHECK(row_of(own, "output head")->bytes == head.size());
  CHECK(row_of(own, "embedding")->active_bytes < head.size());
  CHECK(own.unused_tensors() == 0);

  const Model tied = Model::open(without(stored, "lm_head").write(dir.path() / "tied"));
  CHECK(tied.global()[Role::lm_head].values == tied.global()[Role::embed_tokens].values);
  CHECK(row_of(tied, "output head") == nullptr);
  CHECK(row_of(tied, "embedding")->active_bytes == head.size());
}

TEST_CASE("tied embeddings beside a quantized head") {
  TestModel model("deepseek_v3-int4");
  const std::vector<std::uint64_t> shape = model["lm_head.weight"].shape;
  const std::uint64_t words = shape[1] / 8, groups = shape[1] / 32;
  model = without(model, "lm_head");
  model.config["tie_word_embeddings"] = true;
  model.config["quantization_config"]["ignore"] = nlohmann::json::array();
  model.tensors.push_back(
      {"lm_head.weight_packed", "I32", {shape[0], words}, std::string(shape[0] * words * 4, '\x21')});
  model.tensors.push_back(
      {"lm_head.weight_scale", "BF16", {shape[0], groups}, std::string(shape[0] * groups * 2, '\x3c')});
  model.tensors.push_back({"lm_head.weight_shape", "I64", {2}, std::string(16, '\0')});
  std::memcpy(model.tensors.back().bytes.data(), shape.data(), 16);
  const TempDir dir;
  const Model opened = Model::open(model.write(dir.path() / "model"));
  CHECK(opened.global()[Role::lm_head].format == kernels::Format::int4);
  REQUIRE(row_of(opened, "output head") != nullptr);
  CHECK(row_of(opened, "output head")->format == "int4 group 32");
  // A head that is there must be right.
  model.tensors.pop_back();
  CHECK(contains(error_of([&] { Model::open(model.write(dir.path() / "broken")); }),
                 "lm_head.weight_shape: missing"));
}

TEST_CASE("tensors without a place in the model are told from those of layers behind it") {
  TestModel model("deepseek_v3-moonlight");
  const auto add = [&](const char* name) {
    model.tensors.push_back({name, "F32", {1}, std::string(4, '\0')});
  };
  for (const char* name : {"model.layers.3.eh_proj.weight", "model.layers.61.norm.weight"}) add(name);
  const TempDir dir;
  const Model behind = Model::open(model.write(dir.path() / "behind"));
  CHECK(behind.unused_tensors() == 2);
  CHECK(behind.misplaced_tensors() == 0);
  for (const char* name : {"model.layers.0.self_attn.o_proj.bias", "model.layers.2.odd", "other"}) add(name);
  const Model misplaced = Model::open(model.write(dir.path() / "misplaced"));
  CHECK(misplaced.unused_tensors() == 5);
  CHECK(misplaced.misplaced_tensors() == 3);
}

TEST_CASE("the experts of a layer in one tensor are named") {
  TestModel model = without(TestModel("deepseek_v3-moonlight"), ".mlp.experts.");
  const std::uint64_t experts = model.config["n_routed_experts"], hidden = model.config["hidden_size"];
  const std::uint64_t inner = model.config["moe_intermediate_size"];
  const auto add = [&](const char* name, std::uint64_t rows, std::uint64_t cols) {
    model.tensors.push_back(
        {name, "BF16", {experts, rows, cols}, std::string(experts * rows * cols * 2, '\0')});
  };
  add("model.layers.1.mlp.experts.gate_up_proj", 2 * inner, hidden);
  add("model.layers.1.mlp.experts.down_proj", hidden, inner);
  const char* const named =
      "\n  model.safetensors: model.layers.1.mlp.experts.gate_up_proj: the layer's experts in one tensor, "
      "expected "
      "three for each expert; save the model with save_original_format=True";
  const TempDir dir;
  const auto error = [&] { return error_of([&] { Model::open(model.write(dir.path() / "model")); }); };
  const std::string few = error();
  CHECK(contains(few, "experts, as config.json says, are at least "));
  CHECK(contains(few, named));
  // With as many tensors as that, what is missing is listed.
  for (int i = 0; i < 1000; ++i)
    model.tensors.push_back({"other." + std::to_string(i), "F32", {1}, std::string(4, '\0')});
  const std::string listed = error();
  CHECK(contains(listed, "model.layers.1.mlp.experts.0.gate_proj.weight: missing"));
  CHECK(contains(listed, named));
  CHECK(!contains(error_of([&] { Model::open(without(model, ".gate_up_proj").write(dir.path() / "model")); }),
                  "save_original_format"));
}
