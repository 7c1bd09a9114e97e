// The input is a tokenizer.json, a zero byte, and a text. A file must be refused or read; what is read must
// encode and decode any text, and the stream must say what decode says.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "error.h"
#include "tokenizer/tokenizer.h"

using namespace baleen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = input.find('\0');
  const std::string_view text = cut == input.npos ? "Hello, world" : input.substr(cut + 1);
  try {
    const Tokenizer tokenizer = Tokenizer::parse(input.substr(0, cut), "", "tokenizer.json");
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
