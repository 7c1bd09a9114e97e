#include "report/units.h"

#include <doctest/doctest.h>

#include <string>

#include "error.h"

using namespace baleen;

TEST_CASE("sizes are powers of 1024") {
  CHECK(parse_bytes("0") == 0);
  CHECK(parse_bytes("512") == 512);
  CHECK(parse_bytes("1K") == 1024);
  CHECK(parse_bytes("1.5G") == 1610612736);
  CHECK(parse_bytes("2t") == 2199023255552);
  for (const char* wrong : {"", "G", "1.5", "-1", "1Q", "1GG", "1 G", "nan", "inf", "99999999T", "0x10"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(parse_bytes(wrong), UsageError);
  }
}

TEST_CASE("counts are powers of 1000") {
  CHECK(parse_count("256") == 256);
  CHECK(parse_count("4k") == 4000);
  CHECK(parse_count("4K") == 4000);
  CHECK(parse_count("1.5M") == 1500000);
  CHECK(parse_count("608e9") == 608000000000);
  for (const char* wrong : {"", "k", "0.5", "-1", "1T", "1m", "1e30", "ten"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(parse_count(wrong), UsageError);
  }
}

TEST_CASE("numbers have a range") {
  CHECK(parse_number("0.7", 0, 1) == 0.7);
  CHECK(parse_number("1e-3", 0, 1) == 0.001);
  for (const char* wrong : {"", "x", "1.5", "-0.1", "nan", "inf", "0.5x"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(parse_number(wrong, 0, 1), UsageError);
  }
  try {
    parse_number("1.5", 0, 1);
  } catch (const UsageError& error) {
    CHECK(std::string(error.what()) == "'1.5' is out of range: from 0 to 1");
  }
}

TEST_CASE("a size for an option is read as no less, and as little more as its digits allow") {
  CHECK(format_bytes_option(0) == "0.00K");
  CHECK(format_bytes_option(1) == "0.01K");
  CHECK(format_bytes_option(std::uint64_t{3} << 29) == "1.50G");
  CHECK(format_bytes_option((std::uint64_t{3} << 29) + 1) == "1.51G");
  CHECK(format_bytes_option(std::uint64_t{12} << 30) == "12.0G");
  CHECK(format_bytes_option(std::uint64_t{1010} << 30) == "0.99T");
  for (std::uint64_t bytes = 1; bytes < std::uint64_t{1} << 62; bytes += bytes / 7 + 1) {
    CAPTURE(bytes);
    const std::uint64_t read = parse_bytes(format_bytes_option(bytes));
    CHECK(read >= bytes);
    CHECK(read - bytes <= bytes / 50 + 11);
  }
}

TEST_CASE("numbers are written for people") {
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1024) == "1.00 KiB");
  CHECK(format_bytes(1048575) == "1.00 MiB");
  CHECK(format_bytes(32000000000) == "29.8 GiB");
  CHECK(format_count(9999) == "9999");
  CHECK(format_count(15960111936) == "16.0 G");
  CHECK(format_count(999999) == "1.00 M");
  CHECK(format_seconds(0.123) == "0.12 s");
  CHECK(format_seconds(200) == "3 min 20 s");
  CHECK(format_seconds(7500) == "2 h 05 min");
}
