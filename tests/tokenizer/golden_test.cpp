// Every row of the recorded cases: what the tokenizers library made of a text, or of a list of ids.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

using namespace baleen;
using Special = Tokenizer::SpecialTokens;
using Json = nlohmann::json;

namespace {

const std::filesystem::path kGolden = std::filesystem::path(BALEEN_SOURCE_DIR) / "tests/golden";

std::string stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip) {
  StreamDecoder decoder(tokenizer, skip);
  std::string text;
  for (const TokenId id : ids) {
    const std::string piece = decoder.push(id);
    CHECK_NOTHROW((void)Json(piece).dump());  // throws for half a character
    text += piece;
  }
  return text + decoder.finish();
}

void check_decoded(const Tokenizer& tokenizer, const Json& row, const std::vector<TokenId>& ids) {
  for (const bool skip : {false, true}) {
    const auto expected = row.find(skip ? "skipped" : "decoded");
    if (expected == row.end()) continue;
    CHECK(tokenizer.decode(ids, skip) == expected->get<std::string>());
    CHECK(stream(tokenizer, ids, skip) == expected->get<std::string>());
  }
}

void check_row(const Tokenizer& tokenizer, const Json& row) {
  CAPTURE(row.dump());
  if (row.contains("decode_ids")) return check_decoded(tokenizer, row, row["decode_ids"]);
  const std::string text = row["text"];
  CHECK(tokenizer.encode(text, Special::none) == row["ids"].get<std::vector<TokenId>>());
  if (row.contains("special_ids")) {
    CHECK(tokenizer.encode(text, Special::add) == row["special_ids"].get<std::vector<TokenId>>());
  }
  check_decoded(tokenizer, row, row["ids"]);
}

std::size_t check_file(const Tokenizer& tokenizer, const std::filesystem::path& rows) {
  std::ifstream file(rows);
  std::size_t count = 0;
  for (std::string line; std::getline(file, line); ++count) check_row(tokenizer, Json::parse(line));
  return count;
}

// The published tokenizers are too large for the repository.
std::filesystem::path shared_folder() {
  const char* chosen = std::getenv("BALEEN_SHARED");
  return chosen ? std::filesystem::path(chosen) : std::filesystem::path(BALEEN_SHARED_DIR);
}

}  // namespace

TEST_CASE("every component, by small tokenizers") {
  std::size_t tokenizers = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden / "tokenizers-small")) {
    if (!entry.is_directory()) continue;
    const std::string name = entry.path().filename().string();
    CAPTURE(name);
    CHECK(check_file(Tokenizer::open(entry.path()), kGolden / "tokenizers-small" / (name + ".jsonl")) > 40);
    ++tokenizers;
  }
  CHECK(tokenizers > 50);
}

TEST_CASE("published tokenizers") {
  std::size_t skipped = 0;
  for (const char* name : {"byte_fallback", "deepseek_v3", "gptoss", "qwen3"}) {
    const auto folder = shared_folder() / "tokenizers" / name;
    if (!std::filesystem::exists(folder)) {
      MESSAGE("skipped: " << name << " (no " << folder.string() << "; BALEEN_SHARED names another place)");
      ++skipped;
      continue;
    }
    CAPTURE(name);
    CHECK(check_file(Tokenizer::open(folder), kGolden / "tokenizers" / (std::string(name) + ".jsonl")) > 200);
  }
  WARN(skipped == 0);
}

TEST_CASE("BOS that tokenizer_config.json asks for") {
  const auto folder = shared_folder() / "tokenizers" / "deepseek_v3";
  if (!std::filesystem::exists(folder)) {
    MESSAGE("skipped: no " << folder.string());
    return;
  }
  const Tokenizer tokenizer = Tokenizer::open(folder);
  REQUIRE(tokenizer.bos_token());
  CHECK(tokenizer.bos_token()->id == 0);
  CHECK(tokenizer.add_bos_token());
  CHECK(tokenizer.encode("Hi", Special::add).front() == 0);
  CHECK(tokenizer.encode("Hi", Special::none).front() != 0);
  CHECK(tokenizer.chat_templates().contains("default"));
}
