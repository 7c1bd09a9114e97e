#include "report/printable.h"

#include <doctest/doctest.h>

using namespace baleen;

TEST_CASE("control characters are shown, not sent") {
  CHECK(printable("a\tb\nc é €") == "a\tb\nc é €");
  CHECK(printable("\x1b[2J\x07\r\x7f") == R"(\x1b[2J\x07\x0d\x7f)");
  CHECK(printable(std::string_view("\0", 1)) == R"(\x00)");
  CHECK(printable("\u009b2J\u00a0") == "\\x9b2J\u00a0");
  CHECK(printable("\xc2") == "\xc2");
  CHECK(printable("\xff\x9f") == "\xff\x9f");
  CHECK(printable("").empty());
}
