#include "tokenizer/json_reader.h"

#include "tokenizer/unicode.h"

namespace baleen {

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  simdjson::dom::object object;
  if (element_.get_object().get(object) != simdjson::SUCCESS) fail("is not an object");
  simdjson::dom::element member;
  if (object.at_key(key).get(member) != simdjson::SUCCESS || member.is_null()) return std::nullopt;
  return JsonValue(member, file_, path_.empty() ? std::string(key) : path_ + "." + std::string(key));
}

JsonValue JsonValue::at(std::string_view key) const {
  std::optional<JsonValue> member = find(key);
  if (!member) fail("'" + std::string(key) + "' is missing");
  return *std::move(member);
}

std::vector<JsonValue> JsonValue::items() const {
  simdjson::dom::array array;
  if (element_.get_array().get(array) != simdjson::SUCCESS) fail("is not an array");
  std::vector<JsonValue> result;
  for (const auto item : array) {
    result.emplace_back(item, file_, path_ + "[" + std::to_string(result.size()) + "]");
  }
  return result;
}

std::string_view JsonValue::string() const {
  std::string_view value;
  if (element_.get_string().get(value) != simdjson::SUCCESS) fail("is not a string");
  return value;
}

bool JsonValue::boolean() const {
  bool value = false;
  if (element_.get_bool().get(value) != simdjson::SUCCESS) fail("is neither true nor false");
  return value;
}

std::int64_t JsonValue::integer(std::int64_t least, std::int64_t most) const {
  std::int64_t value = 0;
  if (element_.get_int64().get(value) != simdjson::SUCCESS) fail("is not an integer");
  if (value < least || value > most) {
    fail(std::to_string(value) + " is out of range, expected " + std::to_string(least) + " to " +
         std::to_string(most));
  }
  return value;
}

std::string JsonValue::character() const {
  const std::string_view value = string();
  if (value.empty() || value.size() != unicode::length(value[0])) fail("is not one character");
  return std::string(value);
}

bool JsonValue::flag(std::string_view key, bool otherwise) const {
  const std::optional<JsonValue> member = find(key);
  return member ? member->boolean() : otherwise;
}

std::string_view JsonValue::text(std::string_view key, std::string_view otherwise) const {
  const std::optional<JsonValue> member = find(key);
  return member ? member->string() : otherwise;
}

}  // namespace baleen
