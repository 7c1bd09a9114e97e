#include "runtime/stop_strings.h"

#include <doctest/doctest.h>

#include <random>

using baleen::StopStrings;

namespace {

struct Result {
  std::string text;
  bool stopped;
  bool operator==(const Result&) const = default;
};

Result feed(StopStrings stop, const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += stop.push(piece);
  text += stop.finish();
  return {text, stop.stopped()};
}

}  // namespace

TEST_CASE("without stop strings the text passes at once") {
  StopStrings stop({});
  CHECK(stop.push("abc") == "abc");
  CHECK_FALSE(stop.stopped());
  CHECK(StopStrings({""}).push("abc") == "abc");
}

TEST_CASE("a stop string within a piece and across pieces") {
  CHECK(feed(StopStrings({"END"}), {"one END two"}) == Result{"one ", true});
  CHECK(feed(StopStrings({"END"}), {"one E", "N", "D two"}) == Result{"one ", true});
  CHECK(feed(StopStrings({"END"}), {"one EN", "d"}) == Result{"one ENd", false});
  CHECK(feed(StopStrings({"END"}), {"one EN"}) == Result{"one EN", false});
  CHECK(feed(StopStrings({"END"}), {"END"}) == Result{"", true});
}

TEST_CASE("nothing that may begin a stop string is shown early") {
  StopStrings stop({"\n\nUser:"});
  CHECK(stop.push("Hello\n") == "Hello");
  CHECK(stop.push("\n") == "");
  CHECK(stop.push("\n") == "\n");
  CHECK(stop.push("Use") == "");
  CHECK(stop.push("rs") == "\n\nUsers");
}

TEST_CASE("overlapping beginnings") {
  CHECK(feed(StopStrings({"aab"}), {"a", "a", "a", "b"}) == Result{"a", true});
  CHECK(feed(StopStrings({"abab"}), {"aba", "cabab"}) == Result{"abac", true});
}

TEST_CASE("of several the one complete first wins, then the longest") {
  CHECK(feed(StopStrings({"two", "one"}), {"a one b two"}) == Result{"a ", true});
  CHECK(feed(StopStrings({"abcX", "bc"}), {"abc"}) == Result{"a", true});
  CHECK(feed(StopStrings({"abcX", "bc"}), {"abcX"}) == Result{"a", true});
  CHECK(feed(StopStrings({"c", "abc"}), {"zabc"}) == Result{"z", true});
  CHECK(feed(StopStrings({"abc", "c"}), {"za", "bc"}) == Result{"z", true});
}

TEST_CASE("how the text is cut makes no difference") {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const auto word = [&](std::size_t most) {
      std::string text(1 + random() % most, 'a');
      for (char& c : text) c = static_cast<char>('a' + random() % 2);
      return text;
    };
    const std::vector<std::string> strings = {word(5), word(5), word(5)};
    const std::string text = word(20);
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = 1 + random() % 4;
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    CHECK(feed(StopStrings(strings), pieces) == feed(StopStrings(strings), {text}));
  }
}
