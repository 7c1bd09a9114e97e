// The input is a messages file. It must be refused or read; what is read must come back the same when it is
// written and read again, and render into valid UTF-8 or be refused. The input is a template variable too.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "error.h"
#include "runtime/conversation.h"
#include "tokenizer/unicode.h"

using namespace baleen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    (void)parse_template_var(input);
  } catch (const Error&) {
  }
  try {
    const Conversation conversation = parse_conversation(input, "fuzz");
    if (parse_conversation(write_conversation(conversation), "fuzz").messages != conversation.messages)
      std::abort();
    const ChatTemplate text("{% for m in messages %}{{ m.role }} {{ m.content | trim if m.content is "
                                    "string else m }}{% endfor %}"
                                    "{{ tools | tojson }}{{ documents }}{{ x }}",
                            "t.jinja");
    if (!unicode::is_valid(render_conversation(conversation, text, {}).text)) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
