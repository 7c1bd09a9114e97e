#include "quant/manifest.h"

#include <nlohmann/json.hpp>

#include "checkpoint/checksum.h"
#include "checkpoint/json_fields.h"
#include "error.h"
#include "report/version.h"

namespace baleen {
namespace {

using Json = nlohmann::json;

Json hex_values(const std::map<std::string, std::uint64_t>& checksums) {
  Json object = Json::object();
  for (const auto& [name, checksum] : checksums) object[name] = to_hex(checksum);
  return object;
}

std::map<std::string, std::uint64_t> checksums(const Json& manifest, const std::string& key,
                                               std::string_view file) {
  std::map<std::string, std::uint64_t> all;
  const auto object = manifest.find(key);
  if (object == manifest.end() || !object->is_object())
    throw FormatError(file, key + ": expected an object of checksums");
  for (const auto& [name, value] : object->items()) {
    const auto checksum = value.is_string() ? from_hex(value.get<std::string>()) : std::nullopt;
    if (!checksum)
      throw FormatError(file, key + ": " + name + ": " + shown(value) + ", expected 16 hexadecimal digits");
    all.emplace(name, *checksum);
  }
  return all;
}

// In the folder or in one below it: nothing else is to be opened because a manifest says so.
bool is_file_in_folder(std::string_view name) {
  const std::size_t slash = name.find('/');
  const auto is_name = [](std::string_view part) {
    return !part.empty() && part != "." && part != ".." && part.find('/') == part.npos &&
           part.find('\0') == part.npos;
  };
  return slash == name.npos ? is_name(name)
                            : is_name(name.substr(0, slash)) && is_name(name.substr(slash + 1));
}

}  // namespace

std::string manifest_json(const Manifest& manifest) {
  return Json{{"schema", 1},
              {"baleen", version()},
              {"made", Json::parse(manifest.identity)},
              {"checksum", "xxh3_64"},
              {"files", hex_values(manifest.files)},
              {"tensors", hex_values(manifest.tensors)}}
             .dump(1) +
         "\n";
}

Manifest parse_manifest(std::string_view json, std::string_view file) {
  const Json object = parse_json_object(json, file);
  Manifest manifest;
  if (const auto made = object.find("made"); made != object.end()) manifest.identity = made->dump();
  manifest.tensors = checksums(object, "tensors", file);
  manifest.files = checksums(object, "files", file);
  for (const auto& [name, checksum] : manifest.files)
    if (!is_file_in_folder(name))
      throw FormatError(file, "files: " + shown(name) + ", expected the name of a file in the folder");
  return manifest;
}

}  // namespace baleen
