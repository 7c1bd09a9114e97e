#include "quant/journal.h"

#include <doctest/doctest.h>

#include "checkpoint/fixture.h"
#include "error.h"
#include "quant/manifest.h"

using namespace baleen;
using namespace baleen::test;

TEST_CASE("journal lines come back as they were written") {
  const JournalHeader header{"--scale \"x\"", 0xfedcba9876543210, 7};
  CHECK(parse_journal_header(journal_header(header)) == header);
  const ModuleResult result{.error = {.error = 0.1, .norm = 1e300}, .checksums = {1, 0xffffffffffffffff}};
  const JournalLine line = parse_journal_line(journal_line(12, result));
  CHECK(line.module == 12);
  CHECK(line.result.error.error == 0.1);
  CHECK(line.result.error.norm == 1e300);
  CHECK(line.result.checksums == result.checksums);
  CHECK(parse_journal_line(journal_line(0, {})).result.checksums.empty());
}

TEST_CASE("lines that are none") {
  const auto header = [](std::string_view line) { return error_of([&] { parse_journal_header(line); }); };
  CHECK(header("") == "no JSON object");
  CHECK(header("[1]") == "no JSON object");
  CHECK(header("{}") == "no schema");
  CHECK(header(R"({"schema":2})") == "schema 2, expected 1");
  CHECK(header(R"({"schema":1,"settings":3,"source":"","layout":""})") == "settings: 3, expected a text");
  CHECK(header(R"({"schema":1,"settings":"","source":"12","layout":""})") ==
        "\"12\", expected 16 hexadecimal digits");
  const auto line = [](std::string_view text) { return error_of([&] { parse_journal_line(text); }); };
  CHECK(line(R"({"module":-1})") == "module -1, expected a number");
  CHECK(line(R"({"module":1.5})") == "module 1.5, expected a number");
  CHECK(line(R"({"module":1})") == "no error");
  CHECK(line(R"({"module":1,"error":null,"norm":1})") == "error: null, expected a number from 0");
  CHECK(line(R"({"module":1,"error":-1,"norm":1})") == "error: -1, expected a number from 0");
  CHECK(line(R"({"module":1,"error":1,"norm":1,"checksums":3})") == "checksums: 3, expected a list");
  CHECK(line(R"({"module":1,"error":1,"norm":1,"checksums":[3]})") == "3, expected 16 hexadecimal digits");
}

TEST_CASE("manifests come back as they were written") {
  const Manifest manifest{.identity = journal_header({"s", 1, 2}),
                          .tensors = {{"a.weight", 5}, {"b \"quoted\"", 6}},
                          .files = {{"config.json", 7}, {"additional_chat_templates/x.jinja", 8}}};
  const Manifest back = parse_manifest(manifest_json(manifest), "M");
  CHECK(back.identity == manifest.identity);
  CHECK(back.tensors == manifest.tensors);
  CHECK(back.files == manifest.files);
}

TEST_CASE("manifests that are none") {
  const auto error = [](std::string_view json) { return error_of([&] { parse_manifest(json, "M"); }); };
  CHECK(error("{").starts_with("M: "));
  CHECK(error("{}") == "M: tensors: expected an object of checksums");
  CHECK(error(R"({"tensors":{"a":1},"files":{}})") == "M: tensors: a: 1, expected 16 hexadecimal digits");
  for (const char* const name : {"/etc/passwd", "../x", "a/../../x", "", "a/b/c", "."}) {
    CAPTURE(name);
    CHECK(contains(
        error(nlohmann::json{{"tensors", nlohmann::json::object()}, {"files", {{name, "0000000000000001"}}}}
                  .dump()),
        "expected the name of a file in the folder"));
  }
}
