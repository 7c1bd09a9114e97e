#include "runtime/conversation.h"

#include <algorithm>
#include <array>

#include "error.h"
#include "runtime/json_text.h"
#include "runtime/thinking.h"
#include "tokenizer/jinja/strings.h"

namespace baleen {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchema = 1;  // the version of a conversation's form

[[noreturn]] void fail(const std::string& place, const std::string& expected) {
  throw Error(place + ": expected " + expected);
}

void check_objects(const Json& list, const std::string& place) {
  if (!list.is_array()) fail(place, "a list of objects, found " + std::string(list.type_name()));
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object())
      fail(place + "[" + std::to_string(i) + "]", "an object, found " + std::string(list[i].type_name()));
  }
}

void check_messages(const Json& messages) {
  check_objects(messages, "messages");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string place = "messages[" + std::to_string(i) + "].";
    const auto role = messages[i].find("role");
    if (role == messages[i].end() || !role->is_string())
      fail(place + "role", R"("system", "user", "assistant" or another that the template knows)");
  }
}

// Templates get these from the conversation.
bool is_taken(std::string_view name) {
  constexpr std::array<std::string_view, 4> taken = {"messages", "tools", "documents",
                                                     "add_generation_prompt"};
  return std::find(taken.begin(), taken.end(), name) != taken.end();
}

std::string taken_message(const std::string& name) {
  return "'" + name + "' is no variable to set: the template gets it from the conversation";
}

void set_field(Conversation& conversation, const std::string& key, Json value) {
  if (key == "messages") {
    check_messages(value);
    conversation.messages = std::move(value);
  } else if (key == "tools" || key == "documents") {
    if (!value.is_null()) check_objects(value, key);
    (key == "tools" ? conversation.tools : conversation.documents) = std::move(value);
  } else if (key == "template_vars") {
    if (!value.is_object()) fail(key, "an object, found " + std::string(value.type_name()));
    for (const auto& [name, variable] : value.items())
      if (is_taken(name)) throw Error("template_vars: " + taken_message(name));
    conversation.template_vars = std::move(value);
  } else if (key == "schema") {
    if (value != kSchema) fail(key, std::to_string(kSchema) + ", found " + value.dump().substr(0, 40));
  } else {
    throw Error("unknown key '" + key.substr(0, 40) +
                "', expected messages, tools, documents or template_vars");
  }
}

// What transformers puts behind the last message to find its end in the rendered text. The space tells
// whether the template trims messages.
constexpr std::string_view kEndMark = "CONTINUE_FINAL_MESSAGE_TAG ";

// The text that a message ends with: its content, or the last text among the parts of its content.
std::string* last_text(Json& message) {
  const auto content = message.find("content");
  if (content == message.end()) return nullptr;
  if (content->is_string()) return content->get_ptr<std::string*>();
  if (!content->is_array()) return nullptr;
  for (auto part = content->rbegin(); part != content->rend(); ++part)
    if (part->is_object() && part->contains("text")) return (*part)["text"].get_ptr<std::string*>();
  return nullptr;
}

[[noreturn]] void throw_not_continued(const std::string& why) {
  throw UsageError("the last message is the assistant's, to be continued, but " + why +
                   "\na user message behind it asks for a new answer");
}

// The rendered text up to where the last message ends, as apply_chat_template cuts it.
std::string cut_behind(const std::string& rendered, const std::string& message) {
  const std::string_view mark = kEndMark.substr(0, kEndMark.size() - 1);
  const std::size_t end = rendered.rfind(mark);
  const std::string_view words = jinja::strip(message, jinja::Side::both);
  if (end == rendered.npos || rendered.find(words) == rendered.npos)
    throw_not_continued("the chat template does not render all of its text");
  const std::string_view text = std::string_view(rendered).substr(0, end);
  const bool keeps_white_space = rendered.compare(end, kEndMark.size(), kEndMark) == 0;
  return std::string(keeps_white_space ? text : jinja::strip(text, jinja::Side::right));
}

}  // namespace

Conversation conversation_from(Json document) {
  if (document.is_array()) document = Json{{"messages", std::move(document)}};
  if (!document.is_object())
    throw Error("expected a list of messages or an object, found " + std::string(document.type_name()));
  if (!document.contains("messages")) throw Error("expected a list of messages under \"messages\"");
  Conversation conversation;
  for (auto& [key, value] : document.items()) set_field(conversation, key, std::move(value));
  return conversation;
}

Conversation parse_conversation(std::string_view json, const std::string& file) {
  try {
    return conversation_from(parse_json_text(json));
  } catch (const Error& error) {
    throw FormatError(file, error.what());
  }
}

std::string write_conversation(const Conversation& conversation) {
  Json document{{"schema", kSchema}, {"messages", conversation.messages}};
  if (!conversation.tools.is_null()) document["tools"] = conversation.tools;
  if (!conversation.documents.is_null()) document["documents"] = conversation.documents;
  if (!conversation.template_vars.empty()) document["template_vars"] = conversation.template_vars;
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::pair<std::string, Json> parse_template_var(std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string name(assignment.substr(0, equals));
  if (equals == assignment.npos || name.empty())
    throw UsageError("'" + std::string(assignment) + "': expected K=JSON");
  if (is_taken(name)) throw UsageError(taken_message(name));
  try {
    return {name, parse_json_text(assignment.substr(equals + 1))};
  } catch (const Error& error) {
    throw UsageError(name + ": " + error.what() + "\na text needs double quotes: '" + name + "=\"text\"'");
  }
}

bool begins_with_system(const Conversation& conversation) {
  return !conversation.messages.empty() && conversation.messages.front().at("role") == "system";
}

RenderedConversation render_conversation(const Conversation& conversation, const ChatTemplate& chat_template,
                                         const std::map<std::string, std::string>& named_tokens) {
  if (conversation.messages.empty()) throw Error("the conversation is empty, expected one message at least");
  Json messages = conversation.messages;
  const bool continues = messages.back().at("role") == "assistant";
  std::string message;  // the one to continue
  if (continues) {
    std::string* const text = last_text(messages.back());
    if (text == nullptr) throw_not_continued("it has no text");
    message = *text;
    *text += kEndMark;
  }
  RenderedConversation result;
  result.text = chat_template.render(chat_variables({.messages = &messages,
                                                     .tools = &conversation.tools,
                                                     .documents = &conversation.documents,
                                                     .extra = &conversation.template_vars,
                                                     .add_generation_prompt = !continues},
                                                    named_tokens));
  if (continues) result.text = cut_behind(result.text, message);
  result.inside_thinking = ends_in_open_think(result.text) || (continues && ends_inside_thinking(message));
  return result;
}

}  // namespace baleen
