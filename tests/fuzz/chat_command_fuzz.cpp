// The input is lines typed at the prompt of a chat. Each must complete a message, or a command, or wait for
// more; a message that is written with a further slash in front must come out as it was.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "error.h"
#include "runtime/chat_command.h"

using namespace baleen;

namespace {

void check_escape(std::string_view text) {
  if (!text.starts_with('/')) return;
  const ChatCommand command = parse_chat_command("/" + std::string(text));
  if (command.kind != ChatCommand::Kind::message || command.argument != text) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  ChatLines lines;
  while (!input.empty()) {
    const std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(line.size() + 1, input.size()));
    check_escape(line);
    if (lines.push(line) == lines.unfinished()) std::abort();
    if (lines.unfinished()) continue;
    try {
      if (lines.take().argument.size() > size) std::abort();
    } catch (const UsageError&) {
    }
    if (lines.unfinished()) std::abort();
  }
  return 0;
}
