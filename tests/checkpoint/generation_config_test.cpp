#include "checkpoint/generation_config.h"

#include <doctest/doctest.h>

#include "checkpoint/fixture.h"

using namespace baleen;
using namespace baleen::test;

namespace {

GenerationConfig parse(std::string_view text) {
  return parse_generation_config(text, "generation_config.json");
}

std::string parse_error(std::string_view text) {
  return error_of([&] { parse(text); });
}

}  // namespace

TEST_CASE("generation_config.json") {
  const GenerationConfig config = parse(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20,
      "min_p": 0.05, "repetition_penalty": 1.1, "bos_token_id": 0, "eos_token_id": [1, 151645],
      "transformers_version": "5.23.0"})");
  CHECK(config.do_sample == true);
  CHECK(config.temperature == 0.6);
  CHECK(config.top_p == 0.95);
  CHECK(config.top_k == 20);
  CHECK(config.min_p == 0.05);
  CHECK(config.repetition_penalty == 1.1);
  CHECK(config.bos_token_id == 0);
  CHECK(config.eos_token_id == std::vector<std::int32_t>{1, 151645});
}

TEST_CASE("what generation_config.json leaves out is unset") {
  for (const char* text :
       {"{}", R"({"temperature": null, "eos_token_id": null, "do_sample": null, "top_k": null})"}) {
    const GenerationConfig config = parse(text);
    CHECK_FALSE(config.do_sample.has_value());
    CHECK_FALSE(config.temperature.has_value());
    CHECK_FALSE(config.top_k.has_value());
    CHECK_FALSE(config.bos_token_id.has_value());
    CHECK(config.eos_token_id.empty());
  }
  CHECK(parse(R"({"eos_token_id": 7})").eos_token_id == std::vector<std::int32_t>{7});
}

TEST_CASE("what is wrong with generation_config.json is named") {
  CHECK(contains(parse_error("{"), "generation_config.json: not valid JSON"));
  CHECK(contains(parse_error("[]"), "expected a JSON object"));
  CHECK(contains(parse_error(R"({"temperature": "hot"})"), R"(temperature: "hot", expected a number)"));
  CHECK(contains(parse_error(R"({"temperature": -1})"), "temperature: -1, expected a number from 0"));
  CHECK(contains(parse_error(R"({"top_p": 1.5})"), "top_p: 1.5, expected a number from 0 to 1"));
  CHECK(contains(parse_error(R"({"top_k": -1})"), "top_k: -1"));
  CHECK(contains(parse_error(R"({"top_k": 1.5})"), "top_k: 1.5"));
  CHECK(contains(parse_error(R"({"do_sample": 1})"), "do_sample: 1, expected true or false"));
  CHECK(contains(parse_error(R"({"repetition_penalty": 0})"), "repetition_penalty: 0"));
  CHECK(contains(parse_error(R"({"eos_token_id": [1, "x"]})"), R"(eos_token_id: "x", expected a token id)"));
  CHECK(contains(parse_error(R"({"bos_token_id": [1, 2]})"), "bos_token_id: [1,2], expected one token id"));
  CHECK(contains(parse_error(R"({"top_p": "x", "min_p": "y"})"), "\ngeneration_config.json: min_p: \"y\""));
}
