#include "checkpoint/json_fields.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "error.h"

namespace baleen {

using nlohmann::json;

namespace {
constexpr int max_json_depth = 64;
}

json parse_json_object(std::string_view text, std::string_view file) {
  try {
    // Reading is iterative in the library, but printing, copying and comparing are not: what is nested deeper
    // than any real file could overflow the stack there.
    json document = json::parse(text, [&](int depth, json::parse_event_t, json&) {
      if (depth > max_json_depth) throw FormatError(file, "nested deeper than any such file is");
      return true;
    });
    if (!document.is_object()) throw FormatError(file, shown(document) + ", expected a JSON object");
    return document;
  } catch (const json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: ...": without the bracket.
    const std::string_view what = error.what();
    const std::size_t end = what.find("] ");
    throw FormatError(file, "not valid JSON: " + std::string(end == what.npos ? what : what.substr(end + 2)));
  }
}

std::vector<std::string> keys_in_order(std::string_view text, const std::vector<std::string>& path) {
  std::map<std::string, std::size_t> places;
  std::vector<std::string> at(path.size());  // the last key at each depth
  [[maybe_unused]] const json document =
      json::parse(text, [&](int depth, json::parse_event_t event, json& key) {
        const auto above = static_cast<std::size_t>(depth) - 1;  // the members of the document have depth 1
        if (event != json::parse_event_t::key || above > path.size()) return true;
        if (!std::equal(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(above), at.begin()))
          return true;
        if (above == path.size()) {
          places.try_emplace(key, places.size());
        } else {
          at[above] = key;
          std::fill(at.begin() + static_cast<std::ptrdiff_t>(above) + 1, at.end(), "");
          if (key == path[above]) places.clear();
        }
        return true;
      });
  std::vector<std::string> keys(places.size());
  for (const auto& [key, place] : places) keys[place] = key;
  return keys;
}

std::string shown(const json& value) {
  constexpr std::size_t limit = 80;
  // Bounded work even for a huge value: containers are not spelled out.
  if (value.is_structured() && value.size() > 8) return value.is_array() ? "a long list" : "an object";
  std::string text = value.dump(-1, ' ', true);
  if (text.size() > limit) text = text.substr(0, limit) + "...";
  return text;
}

const json* JsonFields::find(std::string_view key) const {
  const auto it = object_.find(key);
  return it == object_.end() ? nullptr : &*it;
}

bool JsonFields::is_null(std::string_view key) const {
  const json* value = find(key);
  return value != nullptr && value->is_null();
}

void JsonFields::problem(std::string_view key, const std::string& what) const {
  std::string line = path_ + std::string(key) + ": " + what;
  // A key may be read for two fields.
  if (problems_.empty() || problems_.back() != line) problems_.push_back(std::move(line));
}

void JsonFields::expected(std::string_view key, const std::string& what) const {
  const json* value = find(key);
  problem(key, (value == nullptr ? "not given" : shown(*value)) + ", expected " + what);
}

std::optional<std::size_t> JsonFields::whole(std::string_view key, std::size_t min, std::size_t max) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned()) {
    const auto number = value->get<std::uint64_t>();
    if (number >= min && number <= max) return number;
  }
  expected(key, "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  return std::nullopt;
}

std::optional<double> JsonFields::number_if(std::string_view key, const std::string& what,
                                            const std::function<bool(double)>& good) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (std::isfinite(number) && good(number)) return number;
  }
  expected(key, what);
  return std::nullopt;
}

std::optional<double> JsonFields::number(std::string_view key) const {
  return number_if(key, "a number", [](double) { return true; });
}

std::optional<double> JsonFields::positive(std::string_view key) const {
  return number_if(key, "a number above 0", [](double number) { return number > 0; });
}

std::optional<bool> JsonFields::boolean(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  expected(key, "true or false");
  return std::nullopt;
}

std::optional<std::string> JsonFields::text(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  expected(key, "a string");
  return std::nullopt;
}

std::vector<std::string> JsonFields::texts(std::string_view key) const {
  std::vector<std::string> list;
  const json* value = find(key);
  if (value == nullptr || value->is_null()) return list;
  if (value->is_array()) {
    for (const json& item : *value)
      if (item.is_string()) list.push_back(item.get<std::string>());
    if (list.size() == value->size()) return list;
  }
  expected(key, "a list of strings");
  return {};
}

std::vector<std::int32_t> JsonFields::token_ids(std::string_view key, std::size_t limit) const {
  std::vector<std::int32_t> ids;
  const json* value = find(key);
  if (value == nullptr || value->is_null()) return ids;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& id : list) {
    if (id.is_number_unsigned() && id.get<std::uint64_t>() < limit)
      ids.push_back(id.get<std::int32_t>());
    else
      problem(key, shown(id) + ", expected a token id from 0 to " + std::to_string(limit - 1));
  }
  return ids;
}

const json& JsonFields::object(std::string_view key) const {
  static const json empty = json::object();
  const json* value = find(key);
  if (value == nullptr || value->is_null()) return empty;
  if (value->is_object()) return *value;
  expected(key, "an object");
  return empty;
}

}  // namespace baleen
