// JSON that users write: parsed with bounded nesting, and what is wrong with it in words that name no file.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>

namespace baleen {

// Called for each event of the parser, with the depth at which it happens: the members of the outermost
// object have depth 1.
using JsonWatch =
    std::function<void(int depth, nlohmann::ordered_json::parse_event_t, const nlohmann::ordered_json&)>;

// Objects keep their order. Throws Error, a single line of valid UTF-8 and bounded length, for what is no
// JSON (numbers beyond a double's range and text that is not UTF-8 included), for integers beyond 64 bits, for
// nesting more than 64 deep and for objects of so many keys that their order would cost seconds. Of equal keys in an object the
// last wins.
nlohmann::ordered_json parse_json_text(std::string_view text, const JsonWatch& watch = {});

}  // namespace baleen
