#include "report/printable.h"

namespace baleen {

std::string printable(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are C2 80 to C2 9F in UTF-8.
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
    const bool is_latin = byte == 0xC2 && next >= 0x80 && next < 0xA0;
    if (is_latin) byte = static_cast<unsigned char>(text[++i]);
    if (is_latin || byte == 0x7F || (byte < 0x20 && byte != '\n' && byte != '\t')) {
      result += "\\x";
      result += digits[byte / 16];
      result += digits[byte % 16];
    } else {
      result += static_cast<char>(byte);
    }
  }
  return result;
}

}  // namespace baleen
