#include "report/progress.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using baleen::Progress;

namespace {

Progress::Screen screen(std::string& out, std::size_t columns = 80) {
  return {.write = [&out](std::string_view text) { out += text; }, .columns = [columns] { return columns; }};
}

}  // namespace

TEST_CASE("on a terminal one line is written over and erased") {
  std::string out;
  {
    Progress progress(Progress::Mode::terminal, "prefill", 1000, "tokens", screen(out));
    progress.update(10, 0.2);
    CHECK(out.empty());
    progress.update(100, 1.0);
    CHECK(out == "\rprefill 100 of 1000 tokens, 100.0 tokens/s, 9.00 s left");
    progress.update(101, 1.05);  // too soon
    CHECK(out.find("101") == std::string::npos);
    out.clear();
    progress.update(1000, 2.0);
    CHECK(out == "\rprefill 1000 of 1000 tokens, 500.0 tokens/s" + std::string(12, ' '));
    out.clear();
  }
  CHECK(out == "\r" + std::string(43, ' ') + "\r");
}

TEST_CASE("on a narrow terminal the line is cut") {
  std::string out;
  for (const std::size_t columns : {20, 2, 1, 0}) {
    Progress progress(Progress::Mode::terminal, "prefill", 1000, "tokens", screen(out, columns));
    progress.update(100, 1.0);
    CHECK(out == std::string("\rprefill 100 of 1000").substr(0, 1 + std::max<std::size_t>(columns, 2) - 1));
    progress.erase();
    out.clear();
  }
}

TEST_CASE("elsewhere lines, one a second, and the last") {
  std::string out;
  Progress progress(Progress::Mode::lines, "prefill", 1000, "tokens", screen(out));
  progress.update(100, 0.5);
  progress.update(300, 1.5);
  progress.update(1000, 2.0);
  CHECK(out ==
        "prefill 300 of 1000 tokens, 200.0 tokens/s, 3.50 s left\n"
        "prefill 1000 of 1000 tokens, 500.0 tokens/s\n");
}

TEST_CASE("short work or none shows nothing") {
  std::string out;
  {
    Progress progress(Progress::Mode::terminal, "prefill", 10, "tokens", screen(out));
    progress.update(10, 0.1);
    Progress off(Progress::Mode::off, "prefill", 10, "tokens", screen(out));
    off.update(10, 9);
  }
  CHECK(out.empty());
}
