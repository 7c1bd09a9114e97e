#include "runtime/batch_line.h"

#include <doctest/doctest.h>

#include <string>

using namespace baleen;

namespace {

std::string error_of(const std::string& line) {
  return parse_batch_line(line).error;
}

// The error of a prompt with one more key.
std::string error_with(const std::string& member) {
  return error_of(R"({"prompt": "x", )" + member + "}");
}

RequestOptions options_with(const std::string& member) {
  const BatchLine line = parse_batch_line(R"({"prompt": "x", )" + member + "}");
  CHECK(line.error == "");
  return line.options;
}

}  // namespace

TEST_CASE("a prompt, a conversation or ids") {
  const BatchLine prompt = parse_batch_line(R"({"prompt": "Hi"})");
  CHECK(prompt.error == "");
  CHECK(prompt.id.is_null());
  CHECK_FALSE(prompt.label);
  CHECK(std::get<BatchLine::Prompt>(prompt.input) == "Hi");
  CHECK(prompt.options == RequestOptions{});
  CHECK(prompt.extra == nlohmann::ordered_json::object());

  const BatchLine chat = parse_batch_line(
      R"({"messages": [{"role": "user", "content": "Hi"}], "tools": [{"b": 1, "a": 2}],
          "documents": null, "template_vars": {"think": false}})");
  CHECK(chat.error == "");
  const Conversation& conversation = std::get<Conversation>(chat.input);
  CHECK(conversation.messages.dump() == R"([{"role":"user","content":"Hi"}])");
  CHECK(conversation.tools.dump() == R"([{"b":1,"a":2}])");
  CHECK(conversation.documents.is_null());
  CHECK(conversation.template_vars.dump() == R"({"think":false})");

  const BatchLine ids = parse_batch_line(R"({"ids": [0, 7, 2147483647]})");
  CHECK(ids.error == "");
  CHECK(std::get<BatchLine::Ids>(ids.input) == std::vector<TokenId>{0, 7, 2147483647});
}

TEST_CASE("a prompt beside what a template gets is a user's message") {
  const BatchLine line = parse_batch_line(R"({"template_vars": {"x": 1}, "prompt": "Hi"})");
  CHECK(line.error == "");
  const Conversation& conversation = std::get<Conversation>(line.input);
  CHECK(conversation.messages.dump() == R"([{"role":"user","content":"Hi"}])");
  CHECK(conversation.template_vars.dump() == R"({"x":1})");
  CHECK(error_of(R"({"ids": [1], "tools": []})") ==
        "tools needs the model's chat template, which ids leaves out");
}

TEST_CASE("what comes back: id, label and unknown keys in their order") {
  const BatchLine line = parse_batch_line(
      R"({"z": 1.5, "id": {"run": [1, "b"]}, "label": "easy", "prompt": "x", "a": null,
          "m": {"y": 1, "x": 2}})");
  CHECK(line.error == "");
  CHECK(line.id.dump() == R"({"run":[1,"b"]})");
  CHECK(line.label == "easy");
  CHECK(line.extra.dump() == R"({"z":1.5,"a":null,"m":{"y":1,"x":2}})");
}

TEST_CASE("options by their long names, with - or _") {
  const RequestOptions all = options_with(
      R"("n": -1, "temp": 0.5, "top-k": 3, "top_p": 1, "min_p": 0.25, "repeat-penalty": 1.5,
         "seed": 18446744073709551615, "greedy": false, "stop": ["a", "\n\n"], "ignore_eos": true,
         "think-budget": 64, "logprobs": 0)");
  CHECK(all == RequestOptions{.n = -1,
                              .stop = {{"a", "\n\n"}},
                              .ignore_eos = true,
                              .temp = 0.5,
                              .top_k = 3,
                              .top_p = 1.0,
                              .min_p = 0.25,
                              .repeat_penalty = 1.5,
                              .seed = 18446744073709551615ULL,
                              .greedy = false,
                              .think_budget = 64,
                              .logprobs = 0});
  CHECK(options_with(R"("stop": "END")").stop == std::vector<std::string>{"END"});
  CHECK(options_with(R"("stop": [])").stop == std::vector<std::string>{});
  CHECK(options_with(R"("n": 9223372036854775807)").n == 9223372036854775807);
  CHECK(options_with(R"("top_k": -0)").top_k == 0);
  CHECK(options_with(R"("n": null, "stop": null, "messages": null, "tools": null)") == RequestOptions{});
}

TEST_CASE("a value out of range or of another type is named") {
  CHECK(error_with(R"("n": -2)") == "n: -2, expected a whole number from 0, or -1 for no bound");
  CHECK(error_with(R"("n": 9223372036854775808)").starts_with("n: 9223372036854775808, expected"));
  CHECK(error_with(R"("n": 7.0)").starts_with("n: 7.0, expected"));
  CHECK(error_with(R"("temp": -0.1)") == "temp: -0.1, expected a number from 0");
  CHECK(error_with(R"("temp": "0.7")") == "temp: \"0.7\", expected a number from 0");
  CHECK(error_with(R"("top_k": 1.5)") == "top_k: 1.5, expected a whole number from 0");
  CHECK(error_with(R"("top-p": 1.01)") == "top-p: 1.01, expected a number from 0 to 1");
  CHECK(error_with(R"("min-p": -1)") == "min-p: -1, expected a number from 0 to 1");
  CHECK(error_with(R"("repeat-penalty": 0)") == "repeat-penalty: 0, expected a number from 1e-06");
  CHECK(error_with(R"("seed": 18446744073709551616)") == "an integer beyond 64 bits: 18446744073709551616");
  CHECK(error_with(R"("greedy": 1)") == "greedy: 1, expected true or false");
  CHECK(error_with(R"("ignore-eos": "yes")") == "ignore-eos: \"yes\", expected true or false");
  CHECK(error_with(R"("think-budget": -1)") == "think-budget: -1, expected a whole number from 0");
  CHECK(error_with(R"("logprobs": true)") == "logprobs: true, expected a whole number from 0");
  const std::string strings = ", expected a string or a list of strings, none of them empty";
  CHECK(error_with(R"("stop": "")") == "stop: \"\"" + strings);
  CHECK(error_with(R"("stop": ["a", ""])") == R"(stop: ["a",""])" + strings);
  CHECK(error_with(R"("stop": {"a": 1})") == R"(stop: {"a":1})" + strings);
  CHECK(error_with(R"("label": 5)") == "label: 5, expected a string");
  CHECK(error_with(R"("greedy": true, "temp": 1)") == "greedy and a temp other than 0 contradict each other");
  CHECK(error_with(R"("greedy": true, "temp": 0)") == "");
}

TEST_CASE("the input is one, and of its type") {
  CHECK(error_of(R"({"id": 1})") == R"(nothing to answer: expected "prompt", "messages" or "ids")");
  CHECK(error_of(R"({"prompt": null})") == R"(nothing to answer: expected "prompt", "messages" or "ids")");
  CHECK(error_of(R"({"prompt": "x", "ids": [1]})") == "prompt and ids exclude each other");
  CHECK(error_of(R"({"ids": [1], "messages": []})") == "messages and ids exclude each other");
  CHECK(error_of(R"({"prompt": ["x"]})") == "prompt: [\"x\"], expected a string");
  CHECK(error_of(R"({"ids": "1 2"})") == "ids: \"1 2\", expected a list of token ids");
  CHECK(error_of(R"({"ids": [1, -1]})") == "ids[1]: -1, expected a token id");
  CHECK(error_of(R"({"ids": [2147483648]})") == "ids[0]: 2147483648, expected a token id");
  CHECK(error_of(R"({"messages": "Hi"})") == "messages: expected a list of objects, found string");
  CHECK(error_of(R"({"messages": [{"content": "x"}]})").starts_with("messages[0].role: expected"));
  CHECK(error_of(R"({"messages": [], "tools": {}})") == "tools: expected a list of objects, found object");
  CHECK(error_of(R"({"prompt": "x", "template_vars": {"messages": 1}})").starts_with("template_vars: "));
}

TEST_CASE("a line that is no object") {
  CHECK(error_of("[1]") == "[1], expected an object");
  CHECK(error_of("\"text\"") == "\"text\", expected an object");
  CHECK(
      error_of("") ==
      "not valid JSON: parse error at column 1: syntax error while parsing value - unexpected end of input; "
      "expected '[', '{', or a literal");
  for (const char* wrong : {"{\"prompt\": \"x\"", "{\"prompt\": \"x\"} {}", "{prompt: 1}", "{\"n\": NaN}",
                            "{\"temp\": 1e999}", "{\"prompt\": \"\\ud800\"}", "{\"prompt\": \"\xff\"}"}) {
    CAPTURE(wrong);
    CHECK(error_of(wrong).starts_with("not valid JSON: "));
  }
  // The text that was read last is left out of the message where it is long.
  CHECK(error_of("{\"prompt\": \"" + std::string(100000, 'x')).size() < 300);
}

TEST_CASE("a key that stands twice") {
  CHECK(error_with(R"("prompt": "y")") == "key 'prompt' stands twice");
  CHECK(error_with(R"("top-k": 1, "top_k": 1)") == "key 'top_k' stands twice");
  CHECK(error_with(R"("other": 1, "other": 1)") == "key 'other' stands twice");
  CHECK(error_with(R"("a": {"prompt": 1}, "b": {"prompt": 1})") == "");  // keys of other objects
  const std::string name(50, 'k');
  CHECK(error_with("\"" + name + "\": 1, \"" + name + "\": 1") ==
        "key '" + name.substr(0, 40) + "...' stands twice");
}

TEST_CASE("nesting and the number of keys are bounded") {
  const auto nested = [](std::size_t depth) {
    return "\"x\": " + std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(error_with(nested(60)) == "");
  CHECK(error_with(nested(65)) == "nested more than 64 deep");
  CHECK(error_with(nested(1000000)) == "nested more than 64 deep");
  std::string keys = "\"k\": 0";
  for (int i = 0; i < 30000; ++i) keys += ", \"k" + std::to_string(i) + "\": 0";
  CHECK(error_with(keys) == "objects with too many keys: 20,000 in one, or less in many");
}

TEST_CASE("an error still names the line where it can") {
  const BatchLine wrong =
      parse_batch_line(R"({"n": "x", "id": "a", "label": "l", "prompt": "p", "more": [1]})");
  CHECK(wrong.error != "");
  CHECK(wrong.id == "a");
  CHECK(wrong.label == "l");
  CHECK(wrong.extra.dump() == R"({"more":[1]})");
  const BatchLine cut = parse_batch_line(R"({"id": 17, "label": "l", "prompt": "half of a li)");
  CHECK(cut.error.starts_with("not valid JSON: "));
  CHECK(cut.id == 17);
  CHECK(cut.label == "l");
  CHECK(parse_batch_line(R"({"label": "l", "id": 1)").id.is_null());  // may have been 17
}
