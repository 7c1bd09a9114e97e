// Reading tokenizer.json: a JSON value that knows the file and the place it stands at, so that everything
// that is missing, of the wrong type or not supported is named in the error.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "error.h"

namespace baleen {

class JsonValue {
 public:
  JsonValue(simdjson::dom::element element, std::string file, std::string path)
      : element_(element), file_(std::move(file)), path_(std::move(path)) {}

  // "FILE: PLACE: what", as an error.
  [[noreturn]] void fail(std::string_view what) const {
    throw FormatError(file_, path_.empty() ? std::string(what) : path_ + ": " + std::string(what));
  }

  // A member of an object; none if it is missing or null.
  std::optional<JsonValue> find(std::string_view key) const;
  JsonValue at(std::string_view key) const;  // must be there
  std::vector<JsonValue> items() const;      // of an array

  bool is_object() const { return element_.is_object(); }
  bool is_string() const { return element_.is_string(); }
  bool is_array() const { return element_.is_array(); }
  simdjson::dom::element element() const { return element_; }
  const std::string& file() const { return file_; }

  std::string_view string() const;
  bool boolean() const;
  std::int64_t integer(std::int64_t least, std::int64_t most) const;
  std::string character() const;  // a string of one character

  // A member with a value to take when it is missing or null.
  bool flag(std::string_view key, bool otherwise) const;
  std::string_view text(std::string_view key, std::string_view otherwise) const;

 private:
  simdjson::dom::element element_;
  std::string file_, path_;
};

}  // namespace baleen
