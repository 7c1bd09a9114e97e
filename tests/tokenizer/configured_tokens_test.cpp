// Tokens that only the files beside tokenizer.json name.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "error.h"
#include "tokenizer/tokenizer.h"

using namespace baleen;
using Special = Tokenizer::SpecialTokens;
using Json = nlohmann::ordered_json;  // the order of a file's tokens decides their ids

namespace {

Tokenizer parse(const Json& files) {
  const auto bytes = [&](const char* name) {
    return files.contains(name) ? files[name].dump() : std::string();
  };
  const std::string map = bytes("special_tokens_map.json"), added = bytes("added_tokens.json");
  return Tokenizer::parse(bytes("tokenizer.json"), bytes("tokenizer_config.json"), "dir/tokenizer.json",
                          {map, added});
}

Json small() {
  return Json::parse(R"({"version": "1.0", "added_tokens": [],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<": 2, ">": 3, "<a>": 4}, "merges": []}})");
}

// The error must name the file, and the thing that is wrong.
void refuses(const char* name, const char* content, const std::string& named) {
  CAPTURE(content);
  try {
    (void)parse(Json{{"tokenizer.json", small()}, {name, Json::parse(content)}});
    FAIL("accepted");
  } catch (const FormatError& e) {
    const std::string message = e.what();
    CAPTURE(message);
    CHECK(message.starts_with(std::string("dir/") + name + ": "));
    CHECK(message.find(named) != std::string::npos);
  }
}

}  // namespace

// Rows of make_configured_token_cases.py, that is of transformers 5.23.
TEST_CASE("tokens of the files beside tokenizer.json are those of the reference") {
  std::ifstream rows(std::filesystem::path(BALEEN_SOURCE_DIR) / "tests/golden/configured-tokens.jsonl");
  std::size_t count = 0;
  for (std::string line; std::getline(rows, line); ++count) {
    CAPTURE(line);
    const Json row = Json::parse(line);
    const Tokenizer tokenizer = parse(row["files"]);
    CHECK(nlohmann::json(tokenizer.named_tokens()) == nlohmann::json::parse(row["named"].dump()));
    for (const Json& token : row["special"]) {  // what was special once stays so for decode()
      CAPTURE(token.dump());
      CHECK(tokenizer.is_special(token[0].get<TokenId>()) >= token[1].get<bool>());
    }
    for (const Json& text : row["texts"]) {
      const auto ids = tokenizer.encode(text["text"].get<std::string>(), Special::none);
      CHECK(ids == text["ids"].get<std::vector<TokenId>>());
      CHECK(tokenizer.decode(ids, true) == text["skipped"].get<std::string>());
    }
  }
  CHECK(count > 90);
}

TEST_CASE("a folder's older files are read") {
  const auto folder = std::filesystem::temp_directory_path() / "baleen-configured-tokens-test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer.json") << small().dump();
  std::ofstream(folder / "special_tokens_map.json") << R"({"eos_token": "<a>"})";
  std::ofstream(folder / "added_tokens.json") << R"({"<b>": 5})";
  const Tokenizer tokenizer = Tokenizer::open(folder);
  std::filesystem::remove_all(folder);
  CHECK(tokenizer.encode("b<a><b>", Special::none) == std::vector<TokenId>{1, 4, 5});
  REQUIRE(tokenizer.eos_token());
  CHECK(tokenizer.eos_token()->id == 4);
}

TEST_CASE("of an object that a file has twice the last one counts") {
  const Tokenizer tokenizer = Tokenizer::parse(
      small().dump(),
      R"({"extra_special_tokens": {"y": "<y>"}, "extra_special_tokens": {"z": "<z>", "x": "<x>"}})",
      "dir/tokenizer.json");
  CHECK(tokenizer.named_tokens() == std::map<std::string, std::string>{{"x", "<x>"}, {"z", "<z>"}});
  CHECK(tokenizer.id_of("<z>") == 5);
  CHECK(tokenizer.id_of("<x>") == 6);
}

TEST_CASE("wrong files beside tokenizer.json are refused by name") {
  const char* config = "tokenizer_config.json";
  refuses(config, R"({"eos_token": 3})", "eos_token: 3");
  refuses(config, R"({"eos_token": {"lstrip": true}})", "'content'");
  refuses(config, R"({"eos_token": {"content": "x", "lstrip": 1}})", "eos_token.lstrip");
  refuses(config, R"({"extra_special_tokens": "<x>"})", "extra_special_tokens");
  refuses(config, R"({"extra_special_tokens": ["<x>", 3]})", "extra_special_tokens[1]");
  refuses(config, R"({"extra_special_tokens": {"x": 3}})", "extra_special_tokens.x");
  refuses(config, R"({"added_tokens_decoder": []})", "added_tokens_decoder");
  refuses(config, R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})", "\"x\"");
  refuses(config, R"({"added_tokens_decoder": {"1": "<x>"}})", "added_tokens_decoder.1");
  refuses("special_tokens_map.json", R"({"eos_token": 3})", "eos_token: 3");
  refuses("special_tokens_map.json", R"([])", "object");
  refuses("added_tokens.json", R"({"<x>": "1"})", "\"<x>\"");
  const std::string longer(2000, 'x');
  CHECK_THROWS_AS((void)parse(Json{{"tokenizer.json", small()}, {config, {{"eos_token", longer}}}}),
                  FormatError);
  // Ids 0 to 4 and 7 are six tokens, so the next one would be 6 and the one behind it 7.
  Json taken = small();
  taken["model"]["vocab"]["c"] = 7;
  CHECK_NOTHROW((void)parse(Json{{"tokenizer.json", taken}, {config, {{"eos_token", "<x>"}}}}));
  CHECK_THROWS_AS(
      (void)parse(Json{{"tokenizer.json", taken}, {config, {{"eos_token", "<x>"}, {"bos_token", "<y>"}}}}),
      FormatError);
}
