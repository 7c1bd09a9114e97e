#include "checkpoint/checkpoint.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <utility>

#include "checkpoint/files.h"
#include "checkpoint/fixture.h"
#include "error.h"

using namespace baleen;
using namespace baleen::test;

namespace {

StoredTensor bytes_tensor(const std::string& name, const std::string& bytes) {
  return {name, "U8", {bytes.size()}, bytes};
}

std::string open_error(const std::filesystem::path& dir) {
  return error_of([&] { Checkpoint::open(dir); });
}

std::string index_of(std::initializer_list<std::pair<const char*, const char*>> map) {
  nlohmann::json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", nlohmann::json::object()}};
  for (const auto& [name, file] : map) index["weight_map"][name] = file;
  return index.dump();
}

constexpr const char* index_name = "model.safetensors.index.json";

std::string text_of(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.data), tensor.bytes};
}

}  // namespace

TEST_CASE("a folder with one file") {
  const TempDir dir;
  dir.write("model.safetensors",
            safetensors({bytes_tensor("b", "bb"), bytes_tensor("a", "a"), {"z", "F32", {0, 3}, ""}}));
  dir.write("other.safetensors", "not read, as model.safetensors is there");
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  CHECK(checkpoint.files() == 1);
  CHECK(checkpoint.bytes() == 3);
  REQUIRE(checkpoint.tensors().size() == 3);
  CHECK(checkpoint.tensors()[0].name == "b");
  REQUIRE(checkpoint.find("a") != nullptr);
  CHECK(text_of(*checkpoint.find("a")) == "a");
  CHECK(checkpoint.find("a")->file == "model.safetensors");
  CHECK(checkpoint.find("z")->bytes == 0);
  CHECK(checkpoint.find("c") == nullptr);
  CHECK(checkpoint.find("") == nullptr);
}

TEST_CASE("a sharded folder, with an index and without") {
  const TempDir dir;
  dir.write("part-2.safetensors", safetensors({bytes_tensor("b", "bb"), bytes_tensor("unlisted", "u")}));
  dir.write("part-1.safetensors", safetensors({bytes_tensor("a", "a")}));
  for (const bool with_index : {false, true}) {
    if (with_index) {
      dir.write(index_name, index_of({{"a", "part-1.safetensors"}, {"b", "part-2.safetensors"}}));
      dir.write("stray.safetensors", "not in the index, not read");
    }
    Checkpoint opened = Checkpoint::open(dir.path());
    const Checkpoint checkpoint = std::move(opened);
    CHECK(checkpoint.files() == 2);
    CHECK(checkpoint.bytes() == 4);
    CHECK(checkpoint.tensors()[0].name == "a");
    CHECK(text_of(*checkpoint.find("b")) == "bb");
    CHECK(checkpoint.find("b")->file == "part-2.safetensors");
    CHECK(checkpoint.find("unlisted") != nullptr);
  }
}

TEST_CASE("files may be links, as in the Hugging Face cache") {
  const TempDir dir;
  std::filesystem::create_directories(dir.path() / "blobs");
  std::filesystem::create_directories(dir.path() / "snapshot");
  dir.write("blobs/0123", safetensors({bytes_tensor("a", "a")}));
  std::filesystem::create_symlink("../blobs/0123", dir.path() / "snapshot/model.safetensors");
  CHECK(Checkpoint::open(dir.path() / "snapshot").find("a")->file == "model.safetensors");
}

TEST_CASE("many tensors are found") {
  std::vector<StoredTensor> tensors;
  for (int i = 0; i < 3000; ++i)
    tensors.push_back(bytes_tensor("model.layers." + std::to_string(i) + ".weight", "x"));
  const TempDir dir;
  dir.write("model.safetensors", safetensors(tensors));
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  std::size_t found = 0;
  for (const Tensor& tensor : checkpoint.tensors()) found += checkpoint.find(tensor.name) == &tensor;
  CHECK(found == 3000);
  CHECK(checkpoint.find("model.layers.3000.weight") == nullptr);
}

TEST_CASE("what is no model folder is named") {
  const TempDir dir;
  const std::string path = dir.path().string();
  CHECK(open_error(dir.path() / "none") == path + "/none: No such file or directory");
  dir.write("file", "x");
  CHECK(contains(open_error(dir.path() / "file"), "/file: not a folder"));
  CHECK(contains(open_error(dir.path()), ": no weights here, expected model.safetensors"));
  dir.write("pytorch_model.bin", "x");
  CHECK(contains(open_error(dir.path()), "only pytorch_model.bin or the like; only safetensors are read"));
  std::filesystem::create_directory(dir.path() / "model.safetensors");
  CHECK(contains(open_error(dir.path()), "/model.safetensors: a folder, expected a file"));
}

TEST_CASE("a pipe in place of a file is an error, not a wait") {
  const TempDir dir;
  REQUIRE(mkfifo((dir.path() / "model.safetensors").c_str(), 0600) == 0);
  CHECK(contains(open_error(dir.path()), "a pipe, expected a file"));
}

TEST_CASE("truncated files are named") {
  const TempDir dir;
  const std::string whole = safetensors({bytes_tensor("a", "0123456789")});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    dir.write("model.safetensors", std::string_view(whole).substr(0, size));
    const std::string error = open_error(dir.path());
    CAPTURE(size);
    CHECK(contains(error, "/model.safetensors: "));
  }
}

TEST_CASE("a tensor in two files is an error") {
  const TempDir dir;
  dir.write("1.safetensors", safetensors({bytes_tensor("a", "a")}));
  dir.write("2.safetensors", safetensors({bytes_tensor("a", "a")}));
  CHECK(contains(open_error(dir.path()), "/2.safetensors: a: also in 1.safetensors"));
}

TEST_CASE("missing shards are listed") {
  const TempDir dir;
  dir.write("1.safetensors", safetensors({bytes_tensor("a", "a")}));
  dir.write(index_name, index_of({{"a", "1.safetensors"}, {"b", "2.safetensors"}, {"c", "3.safetensors"}}));
  std::filesystem::create_symlink("nowhere", dir.path() / "3.safetensors");
  CHECK(contains(open_error(dir.path()), "names 3 files, 2 of them missing: 2.safetensors, 3.safetensors"));
  dir.write(index_name, index_of({{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}, {"e", "5"}, {"f", "6"}}));
  CHECK(contains(open_error(dir.path()), "6 of them missing: 1, 2, 3, 4, and 2 more"));
}

TEST_CASE("an index that lies is an error with every lie") {
  const TempDir dir;
  dir.write("1.safetensors", safetensors({bytes_tensor("a", "a")}));
  dir.write("2.safetensors", safetensors({bytes_tensor("b", "b")}));
  dir.write(index_name, index_of({{"a", "2.safetensors"}, {"b", "2.safetensors"}, {"c", "1.safetensors"}}));
  const std::string error = open_error(dir.path());
  CHECK(contains(error, "a: in 1.safetensors, the index puts it in 2.safetensors"));
  CHECK(contains(error, "c: not in 1.safetensors, where the index puts it"));
  CHECK_FALSE(contains(error, " b: "));
}

TEST_CASE("a broken index is named") {
  const TempDir dir;
  dir.write("1.safetensors", safetensors({bytes_tensor("a", "a")}));
  const std::pair<const char*, const char*> cases[] = {
      {"", "not valid JSON"},
      {"{\"weight_map\":{", "not valid JSON"},
      {"[]", "no object weight_map"},
      {"{}", "no object weight_map"},
      {R"({"weight_map":["a"]})", "no object weight_map"},
      {R"({"weight_map":{}})", "an empty weight_map"},
      {R"({"weight_map":{"a":1}})", "weight_map: a: 1, expected the name of a file in the same folder"},
      {R"({"weight_map":{"a":"../1.safetensors"}})", "expected the name of a file in the same folder"},
      {R"({"weight_map":{"a":"/etc/passwd"}})", "expected the name of a file in the same folder"},
      {R"({"weight_map":{"a":".."}})", "expected the name of a file in the same folder"},
      {R"({"weight_map":{"a":""}})", "expected the name of a file in the same folder"},
      {R"({"weight_map":{"a":"1.safetensors\u0000"}})", "expected the name of a file in the same folder"},
  };
  for (const auto& [text, message] : cases) {
    dir.write(index_name, text);
    const std::string error = open_error(dir.path());
    CAPTURE(error);
    CHECK(contains(error, message));
    CHECK(contains(error, index_name));
  }
}

TEST_CASE("an unreadable file is named") {
  if (geteuid() == 0) return;  // root reads everything
  const TempDir dir;
  dir.write("model.safetensors", safetensors({bytes_tensor("a", "a")}));
  chmod((dir.path() / "model.safetensors").c_str(), 0);
  CHECK(contains(open_error(dir.path()), "/model.safetensors: Permission denied"));
}

TEST_CASE("small files are read whole, large ones refused") {
  const TempDir dir;
  const std::filesystem::path path = dir.write("file", std::string("a\0b", 3));
  CHECK(read_small_file(path, 3) == std::string("a\0b", 3));
  CHECK(contains(error_of([&] { read_small_file(path, 2); }), "/file: 3 bytes, expected at most 2"));
  CHECK(contains(error_of([&] { read_small_file(dir.path(), 2); }), "a folder, expected a file"));
  CHECK(contains(error_of([&] { read_small_file("/dev/zero", 2); }), "/dev/zero: a device, expected a file"));
}

TEST_CASE("the golden models open") {
  const std::pair<const char*, std::size_t> models[] = {
      {"deepseek_v2-lite", 95},  {"deepseek_v3-fp8", 163}, {"deepseek_v3-grouped-yarn", 201},
      {"deepseek_v3-int4", 235}, {"mixtral", 78},          {"qwen3_moe", 104}};
  for (const auto& [name, tensors] : models) {
    const Checkpoint checkpoint = Checkpoint::open(golden_model(name));
    CHECK(checkpoint.tensors().size() == tensors);
    CHECK(checkpoint.find("model.embed_tokens.weight") != nullptr);
  }
}
