#include "runtime/thinking.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

using namespace baleen;

TEST_CASE("thinking is parted from the text") {
  const auto split = [](const char* answer, bool inside) {
    const Answer result = split_thinking(answer, inside);
    return result.text + "|" + result.reasoning;
  };
  CHECK(split("just text", false) == "just text|");
  CHECK(split("  just text\n", false) == "  just text\n|");
  CHECK(split("<think>\nwhy\n</think>\n\nbecause", false) == "because|why");
  CHECK(split("\n<think>why</think>because\n", false) == "because\n|why");
  CHECK(split("a <think>b</think> c <think>d</think>", false) == "a c |bd");
  CHECK(split("<think>never closed", false) == "|never closed");
  CHECK(split("", false) == "|");
  CHECK(split("why\n</think>\nbecause", true) == "because|why");
  CHECK(split("<think>why</think>because", true) == "because|why");
  CHECK(split("only thoughts", true) == "|only thoughts");
  CHECK(split("no opening </think> here", false) == "no opening </think> here|");
}

TEST_CASE("a prompt that ends in an opened <think>") {
  CHECK(ends_in_open_think("Assistant: <think>\n"));
  CHECK(ends_in_open_think("<think>"));
  CHECK_FALSE(ends_in_open_think("What is <think> for?"));
  CHECK_FALSE(ends_in_open_think("<think></think>"));
  CHECK_FALSE(ends_in_open_think(""));
}

TEST_CASE("a text that ends inside thinking") {
  CHECK(ends_inside_thinking("<think>so"));
  CHECK(ends_inside_thinking("<think>a</think>b<think>c"));
  CHECK_FALSE(ends_inside_thinking("<think>a</think>b"));
  CHECK_FALSE(ends_inside_thinking("a</think>"));
  CHECK_FALSE(ends_inside_thinking(""));
}

TEST_CASE("a streamed answer is parted as a whole one, however it is cut") {
  // Tags, their pieces and white space, in every order that chance finds.
  const std::string pieces[] = {"<think>", "</think>", "<th", "ink>", "<",      "</",
                                " ",       "\n",       "a",   "日",   "think>", ">"};
  std::mt19937 random(1);
  const auto below = [&](std::size_t n) { return random() % n; };
  std::size_t with_both = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::string answer;
    for (std::size_t n = below(12); n > 0; --n) answer += pieces[below(std::size(pieces))];
    const bool inside = below(2) == 0;
    ThinkingSplitter splitter(inside);
    Answer streamed;
    const auto add = [&](const Answer& part) {
      streamed.text += part.text;
      streamed.reasoning += part.reasoning;
    };
    for (std::size_t at = 0; at < answer.size();) {
      const std::size_t length = 1 + below(5);
      add(splitter.push(std::string_view(answer).substr(at, length)));
      at += length;
    }
    add(splitter.finish());
    const Answer whole = split_thinking(answer, inside);
    CAPTURE(answer);
    CAPTURE(inside);
    REQUIRE(streamed.text == whole.text);
    REQUIRE(streamed.reasoning == whole.reasoning);
    with_both += !whole.text.empty() && !whole.reasoning.empty();
  }
  CHECK(with_both > 10'000);
}

TEST_CASE("a streamed answer is shown as soon as it is certain") {
  ThinkingSplitter splitter(false);
  CHECK(splitter.push("It is").text == "It is");
  CHECK(splitter.push(" 5 < 6").text == " 5 < 6");
  CHECK(splitter.push(" <thi").text == " ");
  CHECK(splitter.push("s>").text == "<this>");
  CHECK(splitter.push("<think>\n").text.empty());
  CHECK(splitter.inside());
  CHECK(splitter.push("why \n").reasoning == "why");
  CHECK(splitter.push("not").reasoning == " \nnot");
  const Answer closed = splitter.push("</think>\nso");
  CHECK(closed.reasoning.empty());
  CHECK(closed.text == "so");
  CHECK_FALSE(splitter.inside());
}
