// The input is a tiktoken.model, a zero byte, a tokenizer_config.json, a zero byte, and a text. The lines of
// the 256 bytes need not be there, they are put in front, unless a zero byte ends the input. Files must be
// refused or read; what is read must encode and decode any text, and the stream must say what decode says.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "error.h"
#include "tokenizer/tokenizer.h"

using namespace baleen;

namespace {

std::string_view cut(std::string_view& input) {
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view part = input.substr(0, end);
  input.remove_prefix(std::min(end + 1, input.size()));
  return part;
}

std::string byte_lines() {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string lines;
  for (unsigned byte = 0; byte < 256; ++byte) {
    lines += {digits[byte >> 2], digits[byte << 4 & 0x30], '=', '=', ' '};
    lines += std::to_string(byte) + "\n";
  }
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  std::string ranks(cut(input));
  const std::string_view config = cut(input);
  const bool alone = input.ends_with('\0');
  if (alone) input.remove_suffix(1);
  if (!alone) ranks.insert(0, byte_lines());
  try {
    const Tokenizer tokenizer = Tokenizer::parse_tiktoken(ranks, config, "tiktoken.model");
    const auto ids = tokenizer.encode(input, Tokenizer::SpecialTokens::none);
    StreamDecoder decoder(tokenizer);
    std::string streamed;
    for (const TokenId id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    if (streamed != tokenizer.decode(ids)) std::abort();
    for (const TokenId id : ids) (void)tokenizer.token_text(id);
    (void)tokenizer.encode(input, Tokenizer::SpecialTokens::add);
  } catch (const Error&) {
  }
  return 0;
}
