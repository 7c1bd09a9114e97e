#include "checkpoint/fingerprint.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "checkpoint/checksum.h"
#include "fixture.h"

using namespace baleen;
using namespace baleen::test;

namespace {

constexpr std::size_t data_bytes = 1 << 20;

// A model folder with one file of weights; a byte of its data can be changed.
std::uint64_t fingerprint(const std::string& config, const std::string& file, std::string data) {
  const TempDir dir;
  dir.write("config.json", config);
  dir.write(file, safetensors({{"weight", "U8", {data.size()}, data}}));
  return model_fingerprint(dir.path(), Checkpoint::open(dir.path()));
}

std::string data_with(std::size_t at, char value) {
  std::string data(data_bytes, 'x');
  data[at] = value;
  return data;
}

}  // namespace

TEST_CASE("checksums are XXH3's") {
  CHECK(Checksum().value() == 0x2d06800538d394c2);  // of no bytes, from the tests of xxHash
  CHECK(Checksum().add(as_bytes("ab")).add(as_bytes("c")).value() == Checksum().add(as_bytes("abc")).value());
  CHECK(Checksum().add_text("ab").add_text("c").value() != Checksum().add_text("a").add_text("bc").value());
}

TEST_CASE("checksums as text") {
  CHECK(to_hex(0x2d06800538d394c2) == "2d06800538d394c2");
  CHECK(to_hex(0) == "0000000000000000");
  CHECK(from_hex("00000000000000ff") == 255);
  for (const char* wrong : {"", "ff", "00000000000000fg", "-0000000000000ff", "00000000000000ff0"})
    CHECK(!from_hex(wrong));
}

TEST_CASE("a model's fingerprint does not depend on where the folder lies") {
  const std::string data(data_bytes, 'x');
  CHECK(fingerprint("{}", "model.safetensors", data) == fingerprint("{}", "model.safetensors", data));
}

TEST_CASE("a model's fingerprint sees configuration, names, sizes and samples of the data") {
  const std::string data(data_bytes, 'x');
  const std::uint64_t reference = fingerprint("{}", "model.safetensors", data);
  CHECK(fingerprint("{ }", "model.safetensors", data) != reference);
  CHECK(fingerprint("{}", "other.safetensors", data) != reference);
  CHECK(fingerprint("{}", "model.safetensors", data + "x") != reference);
  CHECK(fingerprint("{}", "model.safetensors", data_with(0, 'y')) != reference);
  CHECK(fingerprint("{}", "model.safetensors", data_with(data_bytes - 1, 'y')) != reference);
  // Sixteen blocks of 4 KiB: a change between two of them is not seen, which keeps the reading bounded.
  const std::size_t step = (data_bytes - 4096) / 15;
  for (std::size_t block = 1; block < 15; ++block)
    CHECK(fingerprint("{}", "model.safetensors", data_with(block * step + 2048, 'y')) != reference);
  CHECK(fingerprint("{}", "model.safetensors", data_with(8192, 'y')) == reference);
}

TEST_CASE("small files count whole") {
  const std::string data(5000, 'x');
  const std::uint64_t reference = fingerprint("{}", "model.safetensors", data);
  std::string other = data;
  other[4500] = 'y';
  CHECK(fingerprint("{}", "model.safetensors", other) != reference);
}
