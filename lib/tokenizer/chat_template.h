// Chat templates: which ones a model folder has, what transformers hands them, and rendering one. Owns the
// public face of the Jinja interpreter in tokenizer/jinja; a template's text is taken as hostile.
//
// The language is Jinja 3.1's as transformers 5.23 sets it up: sandboxed and immutable, trim_blocks and
// lstrip_blocks, no autoescape, the tags break, continue and generation, its own tojson, raise_exception and
// strftime_now. What Python can and this cannot: integers beyond 64 bits, block and template inheritance, the
// filters pprint, random and urlize, lipsum().
#pragma once

#include <cstddef>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace baleen {

class Tokenizer;

namespace jinja {
struct Program;
}

// Immutable, cheap to copy, and safe to use from several threads.
class ChatTemplate {
 public:
  // Parses the template; `name` is the file that errors begin with. Throws FormatError "NAME:LINE: MESSAGE".
  explicit ChatTemplate(std::string_view text, std::string name = "chat template");

  // How far one rendering may go before it fails. The defaults leave a 200 KB conversation hundredfold room.
  struct Limits {
    std::size_t steps = 20'000'000;
    std::size_t bytes = std::size_t{1} << 30U;  // written in all, the result included
  };

  // The text for these variables, an object. Throws FormatError as above, with the expression that failed (or
  // what the template itself passes to raise_exception), and for variables that Jinja could not hold.
  // `now` is what strftime_now() formats; the clock's time if not given.
  std::string render(const nlohmann::ordered_json& variables, const Limits& limits,
                     std::optional<std::time_t> now = {}) const;
  std::string render(const nlohmann::ordered_json& variables) const { return render(variables, Limits()); }

 private:
  std::string name_;
  std::shared_ptr<const jinja::Program> program_;
};

// A template's text and the file it is from.
struct ChatTemplateText {
  std::string text, file;
};
using ChatTemplateTexts = std::map<std::string, ChatTemplateText>;  // by name; a single one is "default"

// What a model folder has: DIR/chat_template.jinja and DIR/additional_chat_templates/NAME.jinja or, without
// any of them, `chat_template` of tokenizer_config.json, which the tokenizer has read. Throws Error.
ChatTemplateTexts find_chat_templates(const std::filesystem::path& dir, const Tokenizer& tokenizer);

// The one that transformers would take: "tool_use" for a conversation with tools, else "default". Throws
// Error, naming those there are, if there is no default.
const ChatTemplateText& choose_chat_template(const ChatTemplateTexts& templates, bool with_tools);

// A conversation as a template gets it.
struct ChatInput {
  const nlohmann::ordered_json* messages = nullptr;   // a list of objects, at least one
  const nlohmann::ordered_json* tools = nullptr;      // a list of objects; null: none
  const nlohmann::ordered_json* documents = nullptr;  // the same
  const nlohmann::ordered_json* extra = nullptr;      // an object: further variables, which win over tokens
  bool add_generation_prompt = true;
};

// The variables that apply_chat_template of transformers 5.23 makes of it: the messages without their null
// fields and with reasoning under each name it is known by, tools, documents, add_generation_prompt, the
// named special tokens ("bos_token", ...) and the extra ones. Throws UsageError for what is not as ChatInput
// says.
nlohmann::ordered_json chat_variables(const ChatInput& input,
                                      const std::map<std::string, std::string>& named_tokens);

}  // namespace baleen
