// The 256 characters that stand for bytes in byte-level vocabularies: printable Latin-1 for itself, the rest
// from U+0100 on (GPT-2's encoder.py, bytes_to_unicode).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace baleen {

// Appends each byte's character.
void to_byte_level(std::string_view bytes, std::string& out);

// The bytes that the characters stand for; none if one of them stands for no byte.
std::optional<std::string> from_byte_level(std::string_view text);

}  // namespace baleen
