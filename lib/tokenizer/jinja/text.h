// Values as Python writes them: str(), repr(), json.dumps().
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/jinja/runtime.h"

namespace baleen::jinja {

// Writes into a string and pays for each byte before it is there.
class Writer {
 public:
  explicit Writer(Runtime& runtime) : runtime_(&runtime) {}
  void add(std::string_view text) {
    runtime_->spend(text.size());
    out_ += text;
  }
  void add(std::size_t count, char c) {
    runtime_->spend(count);
    out_.append(count, c);
  }
  Runtime& runtime() { return *runtime_; }
  std::string take() { return std::move(out_); }
  std::size_t size() const { return out_.size(); }

 private:
  Runtime* runtime_;
  std::string out_;
};

void write(Writer& out, const Value& value);  // str()
std::string to_text(Runtime& runtime, const Value& value);
std::string to_repr(Runtime& runtime, const Value& value);
std::string to_ascii(Runtime& runtime, const Value& value);  // ascii()
std::string quoted(std::string_view text);                   // repr() of a str
std::string number_text(double value);  // the shortest that reads back as the same number

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false, has_indent = false;
  std::string indent, item_separator = ", ", key_separator = ": ";
};
std::string to_json(Runtime& runtime, const Value& value, const JsonStyle& style);

// The five characters that HTML must not see, as markupsafe escapes them.
std::string escape_html(Runtime& runtime, std::string_view text);

}  // namespace baleen::jinja
