#include "report/table.h"

#include <doctest/doctest.h>

using baleen::Table;

TEST_CASE("columns are aligned and lines have no space at their end") {
  Table table({{"kind"}, {"bytes", Table::Align::right}, {"note"}});
  table.add({"experts", "12", "largest"});
  table.add({"größe", "1234567", ""});
  CHECK(table.text() ==
        "kind       bytes  note\n"
        "experts       12  largest\n"
        "größe    1234567\n");
}
