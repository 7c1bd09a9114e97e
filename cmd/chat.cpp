#include "cmd/chat.h"

#include <cstddef>
#include <nlohmann/json.hpp>

#include "cmd/prompt.h"
#include "error.h"

namespace baleen::cmd {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t largest_conversation = std::size_t{64} << 20U;

}  // namespace

std::string chat_option(const RunOptions& options) {
  if (options.system) return "--system";
  if (options.messages) return "--messages";
  return options.template_vars.empty() ? "" : "--template-var";
}

void check_chat_options(const RunOptions& options) {
  const std::string option = chat_option(options);
  if (!option.empty() && (options.raw || options.ids)) {
    throw UsageError(option + " needs the model's chat template, which " + (options.raw ? "--raw" : "--ids") +
                     " leaves out\nleave out one of the two options");
  }
  if (options.messages == "-" && options.file == "-") {
    throw UsageError("--messages and -f cannot both read standard input");
  }
}

Conversation read_messages(const std::string& file) {
  return parse_conversation(read_input(file, largest_conversation), input_name(file));
}

void set_template_vars(const RunOptions& options, Conversation& conversation) {
  for (const std::string& assignment : options.template_vars) {
    auto [name, value] = parse_template_var(assignment);
    conversation.template_vars[name] = std::move(value);
  }
}

Conversation begin_conversation(const RunOptions& options) {
  Conversation conversation = options.messages ? read_messages(*options.messages) : Conversation();
  Json& messages = conversation.messages;
  if (options.system) {
    check_utf8(*options.system, "--system");
    if (begins_with_system(conversation)) {
      throw UsageError(*options.messages +
                       ": begins with a system message, --system would be a second one\n" +
                       "leave out --system, or that message");
    }
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", *options.system}});
  }
  set_template_vars(options, conversation);
  return conversation;
}

Conversation read_conversation(const RunOptions& options) {
  Conversation conversation = begin_conversation(options);
  if (options.prompt || options.file || !options.messages) {
    conversation.messages.push_back(Json{{"role", "user"}, {"content", read_prompt(options)}});
  }
  if (conversation.messages.empty())
    throw FormatError(input_name(*options.messages),
                      "the conversation is empty, expected one message at least");
  return conversation;
}

}  // namespace baleen::cmd
