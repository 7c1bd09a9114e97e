#include "runtime/json_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "error.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 64;

// Counts what an object that keeps its order costs: each key is looked for among those before it. The bound
// leaves 20,000 keys in one object.
class KeyCost {
 public:
  void event(int depth, Json::parse_event_t event) {
    const auto at = static_cast<std::size_t>(depth);
    if (event == Json::parse_event_t::object_start) keys_[at + 1] = 0;
    if (event == Json::parse_event_t::key && (comparisons_ += keys_[at]++) > 200'000'000)
      throw Error("objects with too many keys: 20,000 in one, or less in many");
  }

 private:
  std::array<std::size_t, kMaxDepth + 2> keys_{};  // so far, in the object whose members have this depth
  std::size_t comparisons_ = 0;
};

// "[json.exception.parse_error.101] parse error at line 1, column 5: ...; last read: '...'": without the
// bracket, and of a long token that was read last without that; the rest may hold bytes of the text.
std::string describe(std::string_view what) {
  const std::size_t bracket = what.find("] ");
  if (bracket != what.npos) what.remove_prefix(bracket + 2);
  constexpr std::size_t longest = 240;
  if (what.size() > longest) what = what.substr(0, std::min(longest, what.find("; last read: ")));
  return unicode::repair(what);
}

// The library makes doubles of integers beyond 64 bits and loses their digits. The text is valid JSON.
void refuse_long_integers(std::string_view text) {
  const auto belongs_to_number = [](char c) {
    return (c >= '0' && c <= '9') || (c != '\0' && std::strchr("+-.eE", c));
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') {
      while (text[++i] != '"') i += text[i] == '\\';
    } else if (text[i] == '-' || (text[i] >= '0' && text[i] <= '9')) {
      const std::size_t end =
          std::find_if_not(text.begin() + i, text.end(), belongs_to_number) - text.begin();
      const std::string_view number = text.substr(i, end - i);
      i = end - 1;
      if (number.find_first_of(".eE") != number.npos) continue;
      std::int64_t with_sign = 0;
      std::uint64_t without = 0;
      const char* const last = number.data() + number.size();
      if (std::from_chars(number.data(), last, with_sign).ec != std::errc() &&
          std::from_chars(number.data(), last, without).ec != std::errc())
        throw Error("an integer beyond 64 bits: " + std::string(number.substr(0, 40)));
    }
  }
}

}  // namespace

Json parse_json_text(std::string_view text, const JsonWatch& watch) {
  KeyCost cost;
  try {
    // Reading is iterative in the library, but copying is not: deep nesting could overflow the stack there.
    Json result = Json::parse(text, [&](int depth, Json::parse_event_t event, const Json& value) {
      if (depth > kMaxDepth) throw Error("nested more than " + std::to_string(kMaxDepth) + " deep");
      cost.event(depth, event);
      if (watch) watch(depth, event, value);
      return true;
    });
    refuse_long_integers(text);
    return result;
  } catch (const Json::exception& error) {
    throw Error("not valid JSON: " + describe(error.what()));
  }
}

}  // namespace baleen
