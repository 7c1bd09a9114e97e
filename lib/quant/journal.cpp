#include "quant/journal.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/checksum.h"
#include "checkpoint/json_fields.h"
#include "error.h"

namespace baleen {
namespace {

using Json = nlohmann::json;

constexpr std::size_t schema = 1;

Json parse_line(std::string_view line) {
  Json object = Json::parse(line, nullptr, false);
  if (!object.is_object()) throw Error("no JSON object");
  return object;
}

const Json& field(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end()) throw Error(std::string("no ") + key);
  return *at;
}

std::uint64_t checksum(const Json& value) {
  const auto number = value.is_string() ? from_hex(value.get_ref<const std::string&>()) : std::nullopt;
  if (!number) throw Error(shown(value) + ", expected 16 hexadecimal digits");
  return *number;
}

double sum(const Json& object, const char* key) {
  const Json& value = field(object, key);
  if (!value.is_number() || !(value.get<double>() >= 0) || !std::isfinite(value.get<double>()))
    throw Error(std::string(key) + ": " + shown(value) + ", expected a number from 0");
  return value.get<double>();
}

}  // namespace

std::string journal_header(const JournalHeader& header) {
  return Json{{"schema", schema},
              {"settings", header.settings},
              {"source", to_hex(header.source)},
              {"layout", to_hex(header.layout)}}
      .dump();
}

JournalHeader parse_journal_header(std::string_view line) {
  const Json object = parse_line(line);
  if (field(object, "schema") != schema) throw Error("schema " + shown(object["schema"]) + ", expected 1");
  const Json& settings = field(object, "settings");
  if (!settings.is_string()) throw Error("settings: " + shown(settings) + ", expected a text");
  return {settings.get<std::string>(), checksum(field(object, "source")), checksum(field(object, "layout"))};
}

std::string journal_line(std::size_t module, const ModuleResult& result) {
  Json line{{"module", module},
            {"error", result.error.error},
            {"norm", result.error.norm},
            {"checksums", Json::array()}};
  for (const std::uint64_t number : result.checksums) line["checksums"].push_back(to_hex(number));
  return line.dump();
}

JournalLine parse_journal_line(std::string_view line) {
  const Json object = parse_line(line);
  JournalLine parsed;
  const Json& module = field(object, "module");
  if (!module.is_number_unsigned()) throw Error("module " + shown(module) + ", expected a number");
  parsed.module = module.get<std::size_t>();
  parsed.result.error.error = sum(object, "error");
  parsed.result.error.norm = sum(object, "norm");
  const Json& checksums = field(object, "checksums");
  if (!checksums.is_array()) throw Error("checksums: " + shown(checksums) + ", expected a list");
  for (const Json& value : checksums) parsed.result.checksums.push_back(checksum(value));
  return parsed;
}

}  // namespace baleen
