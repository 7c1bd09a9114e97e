#include "runtime/generate.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "error.h"

using namespace baleen;

namespace {

// Six tokens: an end token, letters, and the two bytes of "é" apart (Ã and © in the byte-level alphabet).
constexpr std::string_view tokenizer_json = R"({
  "added_tokens": [{"id": 0, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true}],
  "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": null,
  "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"<end>": 0, "a": 1, "b": 2, "c": 3, "Ã": 4, "©": 5}, "merges": []}
})";
constexpr std::size_t vocab_size = 6;
constexpr TokenId end = 0, a = 1, b = 2, c = 3, first_byte = 4, second_byte = 5;

// Logits whose likeliest token is `id`.
std::vector<float> logits_for(TokenId id) {
  std::vector<float> logits = {0, 1, 2, 3, 2, 1};
  logits[static_cast<std::size_t>(id)] = 9;
  return logits;
}

// Everything that a generation tells.
struct Record {
  std::vector<std::string> pieces;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprobs> logprobs;
  std::size_t prompt_tokens = 0;

  GenerateEvents events() {
    return {.token =
                [this](const Step& step) {
                  tokens.push_back(step.id);
                  if (step.logprobs) logprobs.push_back(*step.logprobs);
                  prompt_tokens += step.of_prompt ? 1 : 0;
                },
            .text = [this](std::string_view text) { pieces.emplace_back(text); }};
  }
};

struct Result {
  std::string text;
  FinishReason reason;
  std::size_t decided;
  bool operator==(const Result&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Result& result) {
  return out << result.text << " " << finish_reason_name(result.reason) << " " << result.decided;
}

const Tokenizer& tokenizer() {
  static const Tokenizer instance = Tokenizer::parse(tokenizer_json, "", "tokenizer.json");
  return instance;
}

GenerateOptions greedy_options() {
  GenerateOptions options;
  options.max_new_tokens = 20;
  options.end_tokens = {end};
  options.sampling.temperature = 0;
  return options;
}

// Lets a model that wants to say `script` answer the prompt "a".
Result play(const GenerateOptions& options, const std::vector<TokenId>& script, Record& record,
            std::size_t context = 100) {
  Generation generation({a}, options, &tokenizer(), vocab_size, context, record.events());
  for (std::size_t i = 0; i < script.size() && !generation.finished(); ++i) {
    if (i == 0) {
      generation.prompt_logits(0, logits_for(script[i]));
    } else {
      generation.choose(logits_for(script[i]));
    }
  }
  if (!generation.finished()) generation.cancel();
  return {generation.text(), generation.finish_reason(), generation.ids().size()};
}

Result play(const GenerateOptions& options, const std::vector<TokenId>& script, std::size_t context = 100) {
  Record record;
  return play(options, script, record, context);
}

std::string message(std::vector<TokenId> prompt, std::size_t context) {
  Record record;
  try {
    Generation(std::move(prompt), greedy_options(), nullptr, vocab_size, context, record.events());
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("text is streamed until the end token, which leaves none") {
  Record record;
  CHECK(play(greedy_options(), {b, c, end, b}, record) == Result{"bc", FinishReason::stop, 3});
  CHECK(record.pieces == std::vector<std::string>{"b", "c"});
  CHECK(record.tokens == std::vector<TokenId>{b, c, end});
  CHECK(record.prompt_tokens == 0);
}

TEST_CASE("ignored end tokens leave no text either") {
  GenerateOptions options = greedy_options();
  options.end_tokens.clear();
  CHECK(play(options, {b, end, c}) == Result{"bc", FinishReason::cancelled, 3});
}

TEST_CASE("characters are shown whole") {
  Record record;
  CHECK(play(greedy_options(), {b, first_byte, second_byte, c, end}, record).text == "béc");
  CHECK(record.pieces == std::vector<std::string>{"b", "é", "c"});
  CHECK(play(greedy_options(), {first_byte, end}).text == "\uFFFD");
}

TEST_CASE("the number of new tokens and the context are limits") {
  GenerateOptions options = greedy_options();
  options.max_new_tokens = 2;
  CHECK(play(options, {b, b, b}) == Result{"bb", FinishReason::length, 2});
  options.max_new_tokens.reset();
  CHECK(play(options, {b, b, b, b, b}, 4) == Result{"bbb", FinishReason::length, 3});
}

TEST_CASE("no new tokens: the prompt is only evaluated") {
  GenerateOptions options = greedy_options();
  options.max_new_tokens = 0;
  Record record;
  Generation generation({a, b}, options, &tokenizer(), vocab_size, 10, record.events());
  CHECK(generation.prompt_want() == Session::Want::none);
  CHECK_FALSE(generation.finished());
  generation.prompt_done();
  CHECK(generation.finish_reason() == FinishReason::length);
  CHECK(record.tokens.empty());
}

TEST_CASE("a stop string ends the text in front of it") {
  GenerateOptions options = greedy_options();
  options.stop = {"bcb"};
  Record record;
  CHECK(play(options, {a, b, c, b, a}, record) == Result{"a", FinishReason::stop, 4});
  CHECK(record.pieces == std::vector<std::string>{"a"});
  CHECK(record.tokens.size() == 4);
  // What was held back is shown when it turns out to be no stop string.
  CHECK(play(options, {a, b, c, end}) == Result{"abc", FinishReason::stop, 4});
  CHECK(play(options, {a, b, c, a, end}).text == "abca");
  options.max_new_tokens = 2;
  CHECK(play(options, {b, c, b}) == Result{"bc", FinishReason::length, 2});
}

TEST_CASE("log-probabilities of new tokens and of the prompt's") {
  GenerateOptions options = greedy_options();
  options.logprobs = 2;
  options.prompt_logprobs = true;
  Record record;
  Generation generation({a, b}, options, &tokenizer(), vocab_size, 10, record.events());
  CHECK(generation.prompt_want() == Session::Want::all);
  generation.prompt_logits(0, logits_for(c));
  generation.prompt_logits(1, logits_for(end));
  CHECK(record.tokens == std::vector<TokenId>{a, b, end});
  CHECK(record.prompt_tokens == 2);
  REQUIRE(record.logprobs.size() == 3);
  CHECK_FALSE(record.logprobs[0].logprob.has_value());
  CHECK(record.logprobs[0].top.empty());
  double sum = 0;
  for (const float logit : logits_for(c)) sum += std::exp(logit);
  CHECK(*record.logprobs[1].logprob == doctest::Approx(2 - std::log(sum)));
  CHECK(record.logprobs[1].top.size() == 2);
  CHECK(record.logprobs[1].top[0].first == c);
  CHECK(record.logprobs[2].id == end);
}

TEST_CASE("the penalty counts the prompt") {
  GenerateOptions options = greedy_options();
  options.sampling.repetition_penalty = 100;
  Record record;
  Generation generation({c}, options, &tokenizer(), vocab_size, 10, record.events());
  generation.prompt_logits(0, logits_for(c));  // 9 / 100 for c: now b and the first byte, 2, lead
  CHECK(generation.ids() == std::vector<TokenId>{b});
}

TEST_CASE("prompts that cannot be") {
  CHECK(message({}, 10).find("empty") != std::string::npos);
  CHECK(message({a, 6}, 10) == "token id 6 at place 2 of the prompt is not in the vocabulary of 6 tokens");
  CHECK(message({-1}, 10).find("-1") != std::string::npos);
  CHECK(message({a, b, c}, 2) == "the prompt has 3 tokens, the context holds 2");
  CHECK(message({a, b}, 2) == "no error");
}
