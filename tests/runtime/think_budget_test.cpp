#include "runtime/think_budget.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "error.h"
#include "runtime/generate.h"

using namespace baleen;

namespace {

constexpr std::string_view characters = "<>/thinkab";  // token i + 1; 0 is the end token
constexpr TokenId end = 0, open_token = 11, close_token = 12;
constexpr std::size_t vocab_size = 13;

std::string added_token(TokenId id, const std::string& content, bool special) {
  return R"({"id": )" + std::to_string(id) + R"(, "content": ")" + content +
         R"(", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": )" +
         (special ? "true" : "false") + "}";
}

enum class Tags { tokens, special_tokens, spelled };

// A token a character; the tags are tokens too, or are spelled with several.
Tokenizer make_tokenizer(Tags tags, std::string_view alphabet = characters) {
  const bool special = tags == Tags::special_tokens;
  std::string added = added_token(end, "[end]", true);
  if (tags != Tags::spelled) {
    added += "," + added_token(open_token, "<think>", special) + "," +
             added_token(close_token, "</think>", special);
  }
  std::string vocabulary = R"("[end]": 0)";
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    const std::string letter(1, alphabet[i]);
    vocabulary += ", \"" + letter + "\": " + std::to_string(characters.find(letter) + 1);
  }
  return Tokenizer::parse(R"({"added_tokens": [)" + added + R"(], "normalizer": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                        "use_regex": true},
      "post_processor": null,
      "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
      "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": {)" + vocabulary +
                              R"(}, "merges": []}})",
                          "", "tokenizer.json");
}

GenerateOptions options_for(std::size_t think_budget, bool inside) {
  GenerateOptions options;
  options.end_tokens = {end};
  options.think_budget = think_budget;
  options.inside_thinking = inside;
  options.sampling.temperature = 0;
  return options;
}

GenerateEvents no_events() {
  return {.token = [](const Step&) {}, .text = [](std::string_view) {}};
}

std::vector<TokenId> generate_ids(const Tokenizer& tokenizer, const GenerateOptions& options,
                                  const std::vector<TokenId>& wishes) {
  Generation generation({9}, options, &tokenizer, vocab_size, 1000, no_events());
  for (const TokenId wish : wishes) {
    if (generation.finished()) break;
    std::vector<float> logits(vocab_size, 0);
    logits[static_cast<std::size_t>(wish)] = 9;
    generation.choose(logits);
  }
  return generation.ids();
}

// What a model that would say `wishes`, a token at each step, comes to say.
std::string say(Tags tags, const GenerateOptions& options, const std::string& wishes) {
  const Tokenizer tokenizer = make_tokenizer(tags);
  return tokenizer.decode(
      generate_ids(tokenizer, options, tokenizer.encode(wishes, Tokenizer::SpecialTokens::none)));
}

std::string problem(const Tokenizer& tokenizer, std::size_t tokens_of_model) {
  try {
    ThinkBudget(tokenizer, tokens_of_model, 3, true);
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("thinking is closed after so many tokens, and the model goes on") {
  for (const Tags tags : {Tags::tokens, Tags::special_tokens}) {
    CHECK(say(tags, options_for(2, true), "aaaaa") == "aa</think>aa");
    CHECK(say(tags, options_for(0, true), "aaa") == "</think>aa");
    CHECK(say(tags, options_for(2, false), "b<think>aaaaa") == "b<think>aa</think>aa");
    CHECK(say(tags, options_for(0, false), "<think>aaa") == "<think></think>aa");
    CHECK(say(tags, options_for(0, false), "aaa") == "aaa");
    CHECK(say(tags, options_for(9, true), "aaa") == "aaa");
  }
  CHECK(say(Tags::spelled, options_for(2, true), "abababababab") == "ab</think>ab");
  CHECK(say(Tags::spelled, options_for(1, false), "<think>abababababab") == "<think>a</think>bab");
}

TEST_CASE("thinking that the model closes itself is not closed twice") {
  for (const std::size_t budget : {1U, 2U, 3U}) {
    CHECK(say(Tags::tokens, options_for(budget, true), "a</think>bb") == "a</think>bb");
  }
  for (std::size_t budget = 1; budget < 12; ++budget) {
    CHECK(say(Tags::spelled, options_for(budget, true), "a</think>bbbb") == "a</think>bbbb");
  }
}

TEST_CASE("a close tag that the model has begun is finished") {
  CHECK(say(Tags::spelled, options_for(3, true), "a</bbbbbbbb") == "a</think>bb");
  CHECK(say(Tags::spelled, options_for(2, true), "<<aaaaaaaaa") == "<</think>aa");
  CHECK(say(Tags::spelled, options_for(4, true), "</<abbbbbbbb") == "</<a</think>");
}

TEST_CASE("the limit is on all thinking together") {
  CHECK(say(Tags::tokens, options_for(3, true), "a</think>b<think>aaaa") == "a</think>b<think>a</think>aa");
  CHECK(say(Tags::tokens, options_for(1, true), "ab<think>abb") == "a</think><think></think>bb");
}

TEST_CASE("an end token ends thinking too") {
  const Tokenizer tokenizer = make_tokenizer(Tags::tokens);
  CHECK(generate_ids(tokenizer, options_for(2, true), {9, end, 9}) == std::vector<TokenId>{9, end});
  CHECK(generate_ids(tokenizer, options_for(1, true), {9, end, end}) ==
        std::vector<TokenId>{9, close_token, end});
}

TEST_CASE("tokens that are written for the model count, and are reported with their log-probabilities") {
  GenerateOptions options = options_for(1, true);
  options.max_new_tokens = 2;
  options.logprobs = 1;
  std::vector<TokenId> ids;
  std::vector<double> logprobs;
  const Tokenizer tokenizer = make_tokenizer(Tags::tokens);
  Generation generation({9}, options, &tokenizer, vocab_size, 100,
                        {.token =
                             [&](const Step& step) {
                               ids.push_back(step.id);
                               logprobs.push_back(*step.logprobs->logprob);
                             },
                         .text = [](std::string_view) {}});
  std::vector<float> logits(vocab_size, -30);
  logits[9] = 0;
  generation.choose(logits);
  generation.choose(logits);
  CHECK(generation.finish_reason() == FinishReason::length);
  CHECK(generation.text() == "a</think>");
  CHECK(ids == std::vector<TokenId>{9, close_token});
  CHECK(logprobs[1] == doctest::Approx(-30));
}

TEST_CASE("tokens that are written for the model take no random number") {
  const Tokenizer tokenizer = make_tokenizer(Tags::tokens);
  const auto sampled = [&](std::optional<std::size_t> budget, std::size_t steps) {
    GenerateOptions options = options_for(0, true);
    options.end_tokens.clear();
    options.think_budget = budget;
    options.sampling = {.temperature = 1, .seed = 7};
    Generation generation({9}, options, &tokenizer, vocab_size, 100, no_events());
    std::vector<float> logits(vocab_size, 0);
    logits[open_token] = -40;  // or it would have to be closed again
    for (std::size_t i = 0; i < steps; ++i) generation.choose(logits);
    return generation.ids();
  };
  std::vector<TokenId> expected = sampled({}, 30);
  expected.insert(expected.begin(), close_token);
  CHECK(sampled(0, 31) == expected);
}

TEST_CASE("whatever the model says, its thinking ends in time") {
  const Tokenizer tokenizer = make_tokenizer(Tags::spelled);
  constexpr std::string_view tag = "</think>";
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string wishes;
    while (wishes.size() < 60) {
      // Pieces of the tag, so that beginnings of it are everywhere and the whole of it comes too.
      const std::size_t from = random() % tag.size();
      wishes += random() % 4 == 0 ? "a" : tag.substr(random() % 2 == 0 ? 0 : from, 1 + random() % tag.size());
    }
    const std::size_t budget = random() % 30;
    CAPTURE(wishes);
    CAPTURE(budget);
    const std::string said = tokenizer.decode(generate_ids(
        tokenizer, options_for(budget, true), tokenizer.encode(wishes, Tokenizer::SpecialTokens::none)));
    REQUIRE(said.size() == wishes.size());
    const std::size_t closed = said.find(tag);
    REQUIRE(closed != said.npos);
    CHECK(closed <= budget);
    CHECK(said.substr(0, budget) == wishes.substr(0, budget));
    const std::string_view rest = std::string_view(said).substr(closed + tag.size());
    const std::size_t reopened = std::min(rest.find("<think>"), rest.size());  // is closed at once
    CHECK(rest.substr(0, reopened) == wishes.substr(closed + tag.size(), reopened));
  }
}

TEST_CASE("vocabularies that cannot write </think>") {
  const std::string lacks = "a limit on thinking needs </think>, which this model's vocabulary cannot write";
  CHECK(problem(make_tokenizer(Tags::tokens), vocab_size) == "none");
  CHECK(problem(make_tokenizer(Tags::tokens), close_token) == lacks);
  CHECK(problem(make_tokenizer(Tags::spelled, "<>/thin"), vocab_size) == lacks);
}
