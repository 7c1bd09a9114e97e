#include "quant/folder.h"

#include <doctest/doctest.h>

#include "error.h"
#include "model/forward.h"
#include "quant/fixture.h"
#include "quant/manifest.h"

using namespace baleen;
using namespace baleen::test;

namespace {

// A quantized model with a tokenizer's files.
struct Quantized {
  TempDir dir;
  fs::path in = dir.path() / "in";
  fs::path out = dir.path() / "out";
  explicit Quantized(const Target& target = {Encoding::int8, 32}) {
    TestModel("deepseek_v3-moonlight").write(in);
    write_file(in / "tokenizer.json", R"({"a": "tokenizer"})");
    write_file(in / ".gitattributes", "hidden");
    write_file(in / "pytorch_model.bin", "weights in another form");
    write_file(in / std::string(journal_name), "of an interrupted run");
    fs::create_directory(in / "additional_chat_templates");
    write_file(in / "additional_chat_templates/tools.jinja", "{{ x }}");
    fs::create_directory(in / "figures");
    Run run;
    run.choose.to = target;
    run(in, out);
  }
  void flip(const std::string& file, std::size_t at) const {
    std::string bytes = read_file(out / file);
    bytes.at(at) = static_cast<char>(bytes.at(at) ^ 1);
    write_file(out / file, bytes);
  }
  std::size_t offset_of(const std::string& tensor) const {
    const Checkpoint checkpoint = Checkpoint::open(out);
    return static_cast<std::size_t>(checkpoint.find(tensor)->data - checkpoint.file(0).bytes.data());
  }
};

using Problems = std::vector<std::string>;
const std::string up = "model.layers.1.mlp.experts.3.up_proj";

}  // namespace

TEST_CASE("what stands beside the weights comes along") {
  const Quantized q;
  std::vector<std::string> names;
  for (const auto& [name, bytes] : files_of(q.out)) names.push_back(name);
  CHECK(names == Problems{"baleen-quantize.json", "config.json", "model.safetensors", "tokenizer.json"});
  CHECK(read_file(q.out / "tokenizer.json") == R"({"a": "tokenizer"})");
  CHECK(read_file(q.out / "additional_chat_templates/tools.jinja") == "{{ x }}");
  CHECK(!fs::exists(q.out / "figures"));
  const Source source = Source::open(q.in);
  const Plan plan = Run{}.plan(source);
  const std::uint64_t expected = bytes_beside(source, plan);
  std::uint64_t beside = 0;
  for (const auto& [name, bytes] : files_of(q.out))
    if (name != "model.safetensors") beside += bytes.size();
  CHECK(beside < expected);
  CHECK(expected < beside + (2 << 20));
  CHECK(is_complete(q.out, output_identity(plan, Run{}.options(source))));
  CHECK(!is_complete(q.out, output_identity(plan, {})));
  CHECK(!is_complete(q.in, output_identity(plan, {})));
}

TEST_CASE("--check finds a single byte") {
  const Quantized q;
  CHECK(check_problems(q.out).empty());
  const std::size_t values = q.offset_of(up + ".weight_packed");
  q.flip("model.safetensors", values + 77);
  CHECK(check_problems(q.out) ==
        Problems{"model.safetensors: " + up +
                 ".weight_packed: its checksum is another one than when it was written"});
  q.flip("model.safetensors", values + 77);
  const std::string text = read_file(q.out / "config.json");
  q.flip("config.json", text.find("\"bos_token_id\": 0") + std::string_view("\"bos_token_id\": ").size());
  CHECK(check_problems(q.out) ==
        Problems{"config.json: its checksum is another one than when it was written"});
  write_file(q.out / "config.json", text);
  q.flip("tokenizer.json", 5);
  CHECK(check_problems(q.out) ==
        Problems{"tokenizer.json: its checksum is another one than when it was written"});
  fs::remove(q.out / "tokenizer.json");
  const Problems missing = check_problems(q.out);
  REQUIRE(missing.size() == 1);
  CHECK(contains(missing[0], "tokenizer.json: No such file"));
}

TEST_CASE("--check finds scales that are none") {
  for (const Target& target : {Target{Encoding::int8, 32}, Target{Encoding::int4, whole_row},
                               Target{Encoding::fp8}, Target{Encoding::mxfp4}}) {
    CAPTURE(target_name(target));
    const Quantized q(target);
    const bool fp8 = target.encoding == Encoding::fp8;
    const std::string name = up + (fp8 ? ".weight_scale_inv" : ".weight_scale");
    std::string bytes = read_file(q.out / "model.safetensors");
    if (fp8)
      bytes.replace(q.offset_of(name), 4, std::string("\x00\x00\xc0\x7f", 4));
    else if (target.encoding == Encoding::mxfp4)
      bytes.replace(q.offset_of(name) + 2, 1, "\xff");  // row 0, column 2
    else
      bytes.replace(q.offset_of(name), 2, std::string("\xc0\x7f", 2));
    write_file(q.out / "model.safetensors", bytes);
    fs::remove(q.out / std::string(manifest_name));  // without checksums
    const std::string column = target.encoding == Encoding::mxfp4 ? "2" : "0";
    CHECK(check_problems(q.out) == Problems{"model.safetensors: " + name + ": the scale in row 0, column " +
                                            column + " is nan, expected a finite number from 0"});
  }
}

TEST_CASE("--check of folders that cannot be opened") {
  const Quantized q;
  const auto error = [&] { return error_of([&] { check_problems(q.out); }); };
  const fs::path manifest = q.out / std::string(manifest_name);
  const std::string text = read_file(manifest);
  write_file(manifest, "{ no JSON");
  CHECK(contains(error(), "baleen-quantize.json"));
  write_file(manifest, "");
  CHECK(contains(error(), "baleen-quantize.json"));
  write_file(manifest, text);
  const std::string shard = read_file(q.out / "model.safetensors");
  fs::resize_file(q.out / "model.safetensors", shard.size() - 1);
  CHECK(contains(error(), "model.safetensors"));
  fs::remove(q.out / "model.safetensors");
  CHECK(contains(error(), "model.safetensors"));
}

TEST_CASE("--check misses no tensor and takes none for granted") {
  const Quantized q;
  const fs::path manifest = q.out / std::string(manifest_name);
  auto json = nlohmann::json::parse(read_file(manifest));
  json["tensors"].erase("model.norm.weight");
  json["tensors"]["model.gone.weight"] = "0000000000000001";
  write_file(manifest, json.dump());
  CHECK(check_problems(q.out) == Problems{"model.safetensors: model.norm.weight: not in baleen-quantize.json",
                                          "model.gone.weight: missing"});
}

TEST_CASE("long reading can be cancelled") {
  const Quantized q;
  ThreadPool pool(1);
  const std::atomic<bool> cancel = true;
  const kernels::Kernels& kernels = *kernels::find_kernels("scalar");
  CHECK_THROWS_AS(check_folder(q.out, kernels, pool, &cancel, {}), Cancelled);
  const Source source = Source::open(q.in);
  CHECK_THROWS_AS(read_back(source, Run{}.plan(source), Source::open(q.out), kernels, pool, &cancel, {}),
                  Cancelled);
}
