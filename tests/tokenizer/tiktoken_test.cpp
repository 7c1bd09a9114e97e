// tiktoken.model beyond the recorded cases: malformed files, what tokenizer_config.json must say, long texts.
#include "tokenizer/tiktoken.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "error.h"
#include "tokenizer/tokenizer.h"

using namespace baleen;
using Special = Tokenizer::SpecialTokens;
using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(BALEEN_SOURCE_DIR) / "tests/golden/tokenizers-small/tiktoken";

// RFC 4648 for one to three bytes.
std::string base64(const std::string& bytes) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < 3; ++i)
    bits = bits << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U);
  std::string text;
  for (int shift = 18; shift >= 0; shift -= 6) text += digits[bits >> shift & 63];
  return text.replace(bytes.size() + 1, 3 - bytes.size(), 3 - bytes.size(), '=');
}

// The 256 bytes, in order, and then "ab" and "abc".
std::vector<std::string> lines() {
  std::vector<std::string> result;
  for (int byte = 0; byte < 256; ++byte) {
    result.push_back(base64(std::string(1, static_cast<char>(byte))) + " " + std::to_string(byte));
  }
  result.push_back(base64("ab") + " 256");
  result.push_back(base64("abc") + " 257");
  return result;
}

std::string joined(const std::vector<std::string>& all, const std::string& end = "\n") {
  std::string text;
  for (const std::string& line : all) text += line + end;
  return text;
}

Json config() {
  return Json::parse(R"({"tokenizer_class":"TikTokenTokenizer",
    "auto_map":{"AutoTokenizer":["tokenization_moonshot.TikTokenTokenizer",null]},
    "bos_token":"[BOS]","eos_token":{"content":"[EOS]"},
    "added_tokens_decoder":{"258":{"content":"[BOS]","special":true},"259":{"content":"[EOS]","special":true},
                            "270":{"content":"<think>","special":false}}})");
}

Tokenizer parse(const std::string& ranks, const Json& json = config()) {
  return Tokenizer::parse_tiktoken(ranks, json.dump(), "dir/tiktoken.model");
}

std::string refusal(const std::string& ranks, const std::string& json) {
  try {
    (void)Tokenizer::parse_tiktoken(ranks, json, "dir/tiktoken.model");
  } catch (const FormatError& e) {
    return e.what();
  }
  return "accepted";
}

// What is said of a file of which line `number`, from 1, is another.
std::string refusal_of_line(std::size_t number, const std::string& line) {
  std::vector<std::string> all = lines();
  all.at(number - 1) = line;
  return refusal(joined(all), config().dump());
}

std::string refusal_of_config(const Json& json) {
  return refusal(joined(lines()), json.dump());
}

}  // namespace

TEST_CASE("a rank file's ids, special tokens and configuration") {
  const Tokenizer tokenizer = parse(joined(lines()));
  CHECK(tokenizer.vocab_size() == 258 + 256);
  CHECK(tokenizer.encode("abc abd", Special::none) == Ids{257, ' ', 256, 'd'});
  CHECK(tokenizer.encode("[BOS]ab<think>", Special::add) == Ids{258, 256, 270});
  CHECK(tokenizer.encode("<|reserved_token_513|>", Special::none) == Ids{513});
  CHECK(tokenizer.encode("<|reserved_token_258|>", Special::none).size() > 1);  // it has a name of its own
  CHECK(tokenizer.encode("<|reserved_token_514|>", Special::none).size() > 1);  // behind the last one
  CHECK(tokenizer.bos_token()->id == 258);
  CHECK(tokenizer.eos_token()->id == 259);
  CHECK(tokenizer.is_special(258));
  CHECK_FALSE(tokenizer.is_special(270));
  CHECK(tokenizer.decode(Ids{258, 257, 270, 300}, true) == "abc<think><|reserved_token_300|>");
  CHECK(tokenizer.token_text(0xC3) == "\xEF\xBF\xBD");
  CHECK(tokenizer.decode(Ids{0xC3, 0xA9}) == "\xC3\xA9");
}

TEST_CASE("BOS and EOS are added where tokenizer_config.json asks for them") {
  Json json = config();
  json["add_bos_token"] = true;
  CHECK(parse(joined(lines()), json).encode("ab", Special::add) == Ids{258, 256});
  json["add_eos_token"] = true;
  CHECK(parse(joined(lines()), json).encode("ab", Special::add) == Ids{258, 256, 259});
  CHECK(parse(joined(lines()), json).encode("ab", Special::none) == Ids{256});
}

TEST_CASE("line ends, empty lines and the order of lines do not matter") {
  const Ids expected{257, 256};
  std::vector<std::string> all = lines();
  const std::string unix_text = joined(all);
  const auto encode = [](const std::string& ranks) { return parse(ranks).encode("abcab", Special::none); };
  CHECK(encode(unix_text) == expected);
  CHECK(encode(unix_text.substr(0, unix_text.size() - 1)) == expected);
  CHECK(encode(joined(all, "\r\n")) == expected);
  CHECK(encode(joined(all, "\n\n")) == expected);
  std::reverse(all.begin(), all.end());
  CHECK(encode(joined(all)) == expected);
}

TEST_CASE("malformed rank files are refused by line") {
  const std::string line = "dir/tiktoken.model: line 100: ";
  const auto refused = [&](const std::string& text, const std::string& why) {
    CAPTURE(text.substr(0, 100));
    CHECK(refusal_of_line(100, text) == line + why);
  };
  const std::string base = "the token is not base64 (with padding)";
  for (const char* token :
       {"Y", "Yw", "Yw=", "Yw===", "Y===", "====", "Yx==", "Yw==Yw==", "Y w=", "Y-==", "\xC3\xA9=="}) {
    CAPTURE(token);
    CHECK(refusal_of_line(100, std::string(token) + " 99").starts_with(line));
  }
  refused("Yw= 99", base);
  refused("Yx== 99", base);  // bits left over
  refused(" 99", "an empty token");
  refused("Yw==", "no space, expected the base64 of a token, a space and its rank");
  refused("Yw==\t99", "no space, expected the base64 of a token, a space and its rank");
  for (const char* rank : {"", "x", "-1", "+99", "99 ", "9.9", "0x63", " 99"})
    refused(std::string("Yw== ") + rank, "the rank is not a whole number");
  const std::string gap = " in a file of 258 lines, expected ranks from 0 on without gaps";
  refused("Yw== 258", "rank 258" + gap);
  refused("Yw== 4294967296", "rank 4294967296" + gap);
  refused("Yw== 99999999999999999999999999", "rank 99999999999999999999" + gap);
  refused("Yw== 98", "a second token of rank 98");
  CHECK(refusal_of_line(257, base64("c") + " 256") ==
        "dir/tiktoken.model: line 257: the same token as that of rank 99");
  refused(std::string(100000, 'A') + " 99", "a token of more than 1024 bytes");
  const std::string longest = std::string(1364, 'A') + base64(std::string(1, '\0')) + " 258";  // 1024 bytes
  std::vector<std::string> all = lines();
  all.push_back(longest);
  CHECK(parse(joined(all), Json{{"auto_map", config()["auto_map"]}}).decode(Ids{258}) ==
        std::string(1024, '\0'));
  all.back() = std::string(1364, 'A') + base64(std::string(2, '\0')) + " 258";
  CHECK(refusal(joined(all), config().dump()) ==
        "dir/tiktoken.model: line 259: a token of more than 1024 bytes");
}

TEST_CASE("incomplete rank files are refused") {
  const auto refused = [](const std::string& text, const std::string& why) {
    CHECK(refusal(text, config().dump()) == "dir/tiktoken.model: " + why);
  };
  refused("", "holds no tokens");
  refused("\n\r\n\n", "holds no tokens");
  refused("YQ== 0\n", "the byte 0 is not a token, expected all 256");
  std::vector<std::string> all = lines();
  all[99].clear();
  refused(joined(all), "no token has rank 99, though one has rank 257");
  all.erase(all.begin() + 99);
  refused(joined(all), "line 257: rank 257 in a file of 257 lines, expected ranks from 0 on without gaps");
  all.push_back(base64("xyz") + " 99");
  refused(joined(all), "the byte 99 is not a token, expected all 256");
}

TEST_CASE("what tokenizer_config.json must say") {
  const std::string file = "dir/tokenizer_config.json: ";
  CHECK(refusal(joined(lines()), "").starts_with(file + "missing or empty"));
  CHECK(refusal(joined(lines()), "[]").starts_with(file));
  for (const char* code : {"moonshotai/Kimi-K2-Instruct--tokenization_kimi.TikTokenTokenizer",
                           "tokenization_kimi.TikTokenTokenizer"}) {
    Json json = config();
    json["auto_map"]["AutoTokenizer"] = code;
    CHECK(parse(joined(lines()), json).vocab_size() == 514);
  }
  Json json = config();
  json["auto_map"]["AutoTokenizer"][0] = "tokenization_qwen.QWenTokenizer";
  CHECK(refusal_of_config(json).starts_with(file +
                                            "auto_map.AutoTokenizer: tokenization_qwen.QWenTokenizer\n"));
  for (const Json& map : {Json(), Json(1), Json::object(), Json{{"AutoTokenizer", Json::array()}},
                          Json{{"AutoTokenizer", 3}}}) {
    json["auto_map"] = map;
    CHECK(refusal_of_config(json).starts_with(
        file + "no auto_map.AutoTokenizer (tokenizer_class: \"TikTokenTokenizer\")\n"));
  }
}

TEST_CASE("special tokens that cannot be are refused") {
  const std::string place = "dir/tokenizer_config.json: added_tokens_decoder: ";
  const auto refused = [&](const std::string& id, const Json& token, const std::string& why) {
    Json json = config();
    json["added_tokens_decoder"][id] = token;
    CHECK(refusal_of_config(json) == place + why);
  };
  const Json token{{"content", "<x>"}};
  const std::string range = ", expected an id from 258 to 513, behind the 258 of tiktoken.model";
  for (const char* id : {"257", "514", "-1", "0x110", "300 ", "", "99999999999999999999"})
    refused(id, token, Json(id).dump() + range);
  refused("300", {{"content", "[BOS]"}}, "two ids are named '[BOS]'");
  refused("300", {{"content", ""}}, "300: a name of 0 bytes, expected 1 to 1024");
  refused("300", {{"content", std::string(1025, 'x')}}, "300: a name of 1025 bytes, expected 1 to 1024");
  refused("300", {{"content", 1}}, "300: {\"content\":1}, expected an object with a string 'content'");
  refused("300", "x", "300: \"x\", expected an object with a string 'content'");
  refused("300", {{"content", "<x>"}, {"special", "yes"}}, "300: special: \"yes\", expected true or false");
  Json json = config();
  json["added_tokens_decoder"] = 1;
  CHECK(refusal_of_config(json) == place + "1, expected an object");
  json.erase("added_tokens_decoder");
  CHECK(parse(joined(lines()), json).id_of("<|reserved_token_258|>") == 258);
}

TEST_CASE("long texts are cut where the reference cuts them") {
  const Tokenizer tokenizer = parse(joined(lines()));
  const auto encode = [&](const std::string& text) { return tokenizer.encode(text, Special::none); };
  const auto repeated = [](const std::string& text, std::size_t times) {
    std::string all;
    for (std::size_t i = 0; i < times; ++i) all += text;
    return all;
  };
  const auto cut_in = [&](const std::string& first, const std::string& second) {
    Ids parts = encode(first);
    const Ids rest = encode(second);
    parts.insert(parts.end(), rest.begin(), rest.end());
    return encode(first + second) == parts;
  };
  // "ab" is one token, unless there is a cut between the two. Characters count, not bytes.
  CHECK_FALSE(cut_in(repeated("\xC3\xA9", 24'998) + "a", "b"));
  CHECK(cut_in(repeated("\xC3\xA9", 24'999) + "a", "b"));
  CHECK_FALSE(cut_in(repeated("x", 25'000) + "a", "b"));
  CHECK(cut_in(repeated("x", 12'000) + "\x1C" + repeated("x", 24'999) + "a", "b"));  // a space to Python
  CHECK(cut_in(repeated("x", 49'999) + "a", "b"));
  const std::string words = repeated("xxx ", 99'999);  // 399,996 characters
  CHECK(cut_in(words + "xxxa", "b"));
  CHECK_FALSE(cut_in(words + "xxa", "b"));
  CHECK(cut_in(repeated("x", 30'000) + words.substr(0, 369'996) + "xxxa", "b"));  // not from other cuts on
  CHECK(cut_in(words + "xxxx" + repeated("x", 24'999) + "a", "b"));  // runs count anew behind that cut
  CHECK_FALSE(cut_in(words + "xxxx" + repeated("x", 24'998) + "a", "b"));
  CHECK_FALSE(cut_in(repeated("x", 20'000) + "[BOS]" + repeated("x", 4'994) + "a", "b"));
}

TEST_CASE("a folder's tokenizer is its tokenizer.json, else its tiktoken.model") {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("baleen-tiktoken-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  CHECK_FALSE(Tokenizer::file_in(folder));
  std::filesystem::copy_file(kFolder / "tiktoken.model", folder / "tiktoken.model");
  CHECK(Tokenizer::file_in(folder) == folder / "tiktoken.model");
  CHECK_THROWS_AS((void)Tokenizer::open(folder), FormatError);  // without tokenizer_config.json
  std::filesystem::copy_file(kFolder / "tokenizer_config.json", folder / "tokenizer_config.json");
  CHECK(Tokenizer::open(folder).vocab_size() == Tokenizer::open(kFolder).vocab_size());
  std::ofstream(folder / "tokenizer.json") << "{}";
  CHECK(Tokenizer::file_in(folder) == folder / "tokenizer.json");
  std::filesystem::remove_all(folder);
}

TEST_CASE("long words merge alike by scan and by queue") {
  // Ranks that come in no order: of "ab", "ba" and "aba" the last merges first wherever it can.
  std::vector<std::string> all = lines();
  all.resize(256);
  all.push_back(base64("aba") + " 256");
  all.push_back(base64("ab") + " 258");
  all.push_back(base64("ba") + " 257");
  Json json = config();
  json.erase("added_tokens_decoder");
  const Tokenizer tokenizer = parse(joined(all), json);
  CHECK(tokenizer.encode("aba", Special::none) == Ids{256});
  CHECK(tokenizer.encode("abaab", Special::none) == Ids{256, 258});
  std::string text;
  Ids expected;
  for (int i = 0; i < 20; ++i) {
    text += "caab";
    expected.insert(expected.end(), {'c', 'a', 258});
  }
  CHECK(tokenizer.encode(text, Special::none) == expected);
}
