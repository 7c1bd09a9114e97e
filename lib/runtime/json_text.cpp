#include "runtime/json_text.h"

#include <algorithm>
#include <array>
#include <cstddef>
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

}  // namespace

Json parse_json_text(std::string_view text, const JsonWatch& watch) {
  KeyCost cost;
  try {
    // Reading is iterative in the library, but copying is not: deep nesting could overflow the stack there.
    return Json::parse(text, [&](int depth, Json::parse_event_t event, const Json& value) {
      if (depth > kMaxDepth) throw Error("nested more than " + std::to_string(kMaxDepth) + " deep");
      cost.event(depth, event);
      if (watch) watch(depth, event, value);
      return true;
    });
  } catch (const Json::exception& error) {
    throw Error("not valid JSON: " + describe(error.what()));
  }
}

}  // namespace baleen
