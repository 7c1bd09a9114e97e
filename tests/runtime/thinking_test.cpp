#include "runtime/thinking.h"

#include <doctest/doctest.h>

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
