// Numbers out of text, and rounding, as Python's int(), float() and round() do them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tokenizer/jinja/value.h"

namespace baleen::jinja {

std::optional<std::int64_t> parse_integer(std::string_view text, std::int64_t base);
std::optional<double> parse_real(std::string_view text);
std::optional<std::int64_t> truncated(double value);  // none if beyond 64 bits, or no number
std::int64_t whole_part(double value);                // the same, but fails
Value rounded(const Value& number, std::int64_t digits);

}  // namespace baleen::jinja
