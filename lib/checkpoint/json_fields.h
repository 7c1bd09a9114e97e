// Typed values out of a JSON object, collecting what is wrong with them instead of stopping at the first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace baleen {

// Parses a JSON text whose top is an object. Throws FormatError naming `file`, with line and column.
nlohmann::json parse_json_object(std::string_view text, std::string_view file);

// The keys of the object at `path` of a valid JSON text in the order of the file, which a json object does
// not keep. A key that is there twice has its first place, of an object that is there twice the last one
// counts, as in Python.
std::vector<std::string> keys_in_order(std::string_view text, const std::vector<std::string>& path);

// A value as a message shows it: its JSON, cut short.
std::string shown(const nlohmann::json& value);

// Reads the fields of one object. An absent field gives nullopt; so does a wrong one, after a line
// `PATH.key: value, expected ...` was put on the list of problems. null counts as wrong: where it may stand,
// ask is_null first.
class JsonFields {
 public:
  // `path` names the object in messages ("rope_scaling."), empty for the document. Keeps references.
  JsonFields(const nlohmann::json& object, std::string path, std::vector<std::string>& problems)
      : object_(object), path_(std::move(path)), problems_(problems) {}

  const nlohmann::json* find(std::string_view key) const;  // nullptr if absent
  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool is_null(std::string_view key) const;  // there, and null
  bool is_set(std::string_view key) const { return has(key) && !is_null(key); }

  std::optional<std::size_t> whole(std::string_view key, std::size_t min, std::size_t max) const;
  std::optional<double> number(std::string_view key) const;    // any finite number
  std::optional<double> positive(std::string_view key) const;  // finite and above zero
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  std::vector<std::string> texts(std::string_view key) const;  // a list of strings
  // A token id, or a list of them, each below `limit`; null is an empty list.
  std::vector<std::int32_t> token_ids(std::string_view key, std::size_t limit) const;

  // The object in field `key`, an empty one if it is absent or null.
  const nlohmann::json& object(std::string_view key) const;
  const std::string& path() const { return path_; }
  std::vector<std::string>& problems() const { return problems_; }

  void problem(std::string_view key, const std::string& what) const;   // "PATH.key: what"
  void expected(std::string_view key, const std::string& what) const;  // "PATH.key: value, expected what"

 private:
  std::optional<double> number_if(std::string_view key, const std::string& what,
                                  const std::function<bool(double)>& good) const;

  const nlohmann::json& object_;
  std::string path_;
  std::vector<std::string>& problems_;
};

}  // namespace baleen
