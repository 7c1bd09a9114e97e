// The input is a template, a zero byte, and its variables as JSON. A template must be refused or rendered
// within its limits, into valid UTF-8, and twice the same.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "error.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/unicode.h"

using namespace baleen;

namespace {

std::string render(const ChatTemplate& chat, const nlohmann::ordered_json& variables) {
  try {
    return chat.render(variables, {.steps = 20'000, .bytes = 10'000'000}, 1700000000);
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = input.find('\0');
  const std::string_view json = cut == input.npos ? "{}" : input.substr(cut + 1);
  auto variables = nlohmann::ordered_json::parse(json, nullptr, false);
  if (variables.is_discarded()) variables = {{"n", 1}, {"s", "text"}, {"xs", {1, 2, 3}}, {"d", {{"a", 1}}}};
  try {
    const ChatTemplate chat(input.substr(0, cut), "fuzz");
    const std::string text = render(chat, variables);
    if (!unicode::is_valid(text) || render(chat, variables) != text) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
