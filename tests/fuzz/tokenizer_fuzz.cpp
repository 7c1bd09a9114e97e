// The input is a tokenizer.json and, behind zero bytes, a text, a tokenizer_config.json, a
// special_tokens_map.json and an added_tokens.json. The files must be refused or read; what is read must
// encode and decode any text, and the stream must say what decode says.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "error.h"
#include "tokenizer/tokenizer.h"

using namespace baleen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  std::array<std::string_view, 5> parts{"", "Hello, world"};
  for (std::size_t i = 0, from = 0; i < parts.size() && from <= size; ++i) {
    parts[i] = input.substr(from, input.find('\0', from) - from);
    from += parts[i].size() + 1;
  }
  const auto [json, text, config, special_tokens_map, added_tokens] = parts;
  try {
    const Tokenizer tokenizer =
        Tokenizer::parse(json, config, "tokenizer.json", {special_tokens_map, added_tokens});
    const auto ids = tokenizer.encode(text, Tokenizer::SpecialTokens::add);
    StreamDecoder decoder(tokenizer);
    std::string streamed;
    for (const TokenId id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    if (streamed != tokenizer.decode(ids)) std::abort();
    for (const TokenId id : ids) (void)tokenizer.token_text(id);
  } catch (const Error&) {
  }
  return 0;
}
