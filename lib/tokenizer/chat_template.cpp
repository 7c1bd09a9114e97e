#include "tokenizer/chat_template.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/files.h"
#include "error.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/parser.h"
#include "tokenizer/jinja/scopes.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxTemplate = std::size_t{4} << 20U;

// The first `lines` lines of a text, or less of them if that is more than so many bytes.
std::string shortened(std::string_view text, int lines, std::size_t bytes) {
  std::size_t end = text.find('\n');
  while (--lines > 0 && end != text.npos) end = text.find('\n', end + 1);
  end = std::min(end, text.size());
  if (end > bytes) {
    end = bytes;
    while ((static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80) --end;
  }
  return std::string(text.substr(0, end)) + (end < text.size() ? "..." : "");
}

// "FILE:LINE: MESSAGE, in `EXPRESSION`". The message may be of the template's own making.
[[noreturn]] void throw_located(const std::string& file, const jinja::Failure& failure) {
  std::string message = shortened(failure.message, 3, 1000);
  if (const std::string expression = shortened(failure.expression, 1, 100); !expression.empty())
    message += ", in `" + expression + "`";
  throw FormatError(failure.line > 0 ? file + ":" + std::to_string(failure.line) : file, message);
}

jinja::Value to_value(const Json& json, int depth) {
  if (depth > jinja::kMaxDepth)
    jinja::fail("a variable is nested more than " + std::to_string(jinja::kMaxDepth) + " deep");
  switch (json.type()) {
    case Json::value_t::null:
      return {jinja::None()};
    case Json::value_t::boolean:
      return {json.get<bool>()};
    case Json::value_t::number_integer:
      return {json.get<std::int64_t>()};
    case Json::value_t::number_unsigned:
      if (json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
        jinja::fail("a variable holds " + json.dump() + ", and templates hold integers to " +
                    std::to_string(INT64_MAX));
      return {json.get<std::int64_t>()};
    case Json::value_t::number_float:
      return {json.get<double>()};
    case Json::value_t::string:
      return jinja::make_text(unicode::repair(json.get_ref<const std::string&>()));
    case Json::value_t::array: {
      std::vector<jinja::Value> items;
      for (const Json& item : json) items.push_back(to_value(item, depth + 1));
      return jinja::make_list(std::move(items));
    }
    case Json::value_t::object: {
      std::vector<std::pair<jinja::Value, jinja::Value>> items;
      for (const auto& [key, value] : json.items())
        items.emplace_back(jinja::make_text(unicode::repair(key)), to_value(value, depth + 1));
      return jinja::make_dict(std::move(items));
    }
    default:
      jinja::fail("a variable is of a kind that JSON does not have");
  }
}

void check_objects(const Json& list, std::string_view what) {
  if (!list.is_array() ||
      !std::all_of(list.begin(), list.end(), [](const Json& item) { return item.is_object(); }))
    throw UsageError(std::string(what) + ": expected a list of objects");
}

// Templates read reasoning under different names: reasoning_content is the usual one, thinking is gpt-oss's.
Json with_reasoning(Json message) {
  static constexpr std::array names = {"reasoning_content", "thinking", "reasoning"};
  const auto* name =
      std::find_if(names.begin(), names.end(), [&](const char* n) { return message.contains(n); });
  if (name == names.end()) return message;
  const Json reasoning = message[*name];
  Json result = Json::object();
  result["thinking"] = reasoning;
  result.update(message);
  result["reasoning_content"] = reasoning;
  return result;
}

// Templates handle a missing field better than a null one.
Json without_nulls(const Json& message) {
  Json result = Json::object();
  for (const auto& [key, value] : message.items())
    if (!value.is_null()) result[key] = value;
  return result;
}

ChatTemplateText read_template(const std::filesystem::path& path) {
  return {read_small_file(path, kMaxTemplate), path.string()};
}

// FOLDER/NAME.jinja, each a template of that name; the folder need not be there.
void add_templates_in(const std::filesystem::path& folder, ChatTemplateTexts& texts) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) return;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    if (entry->path().extension() == ".jinja")
      texts[entry->path().stem().string()] = read_template(entry->path());
  if (error) throw_system_error(folder, "", error.value());
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view text, std::string name) : name_(std::move(name)) {
  if (!unicode::is_valid(text)) throw FormatError(name_, "is not valid UTF-8");
  try {
    auto program = std::make_shared<jinja::Program>(jinja::parse(text));
    jinja::resolve_names(*program);
    program_ = std::move(program);
  } catch (const jinja::Failure& failure) {
    throw_located(name_, failure);
  }
}

std::string ChatTemplate::render(const Json& variables, const Limits& limits,
                                 std::optional<std::time_t> now) const {
  try {
    if (!variables.is_object()) jinja::fail("the variables are no object");
    const jinja::Value values = to_value(variables, 0);
    jinja::Runtime runtime({limits.steps, limits.bytes}, now);
    return jinja::run(*program_, runtime, values);
  } catch (const jinja::Failure& failure) {
    throw_located(name_, failure);
  }
}

ChatTemplateTexts find_chat_templates(const std::filesystem::path& dir, const Tokenizer& tokenizer) {
  ChatTemplateTexts texts;
  if (const auto path = dir / "chat_template.jinja"; path_exists(path))
    texts["default"] = read_template(path);
  add_templates_in(dir / "additional_chat_templates", texts);
  if (!texts.empty()) return texts;
  for (const auto& [name, text] : tokenizer.chat_templates())
    texts[name] = {text, (dir / "tokenizer_config.json").string() + ": chat_template"};
  return texts;
}

const ChatTemplateText& choose_chat_template(const ChatTemplateTexts& templates, bool with_tools) {
  auto found = with_tools ? templates.find("tool_use") : templates.end();
  if (found == templates.end()) found = templates.find("default");
  if (found != templates.end()) return found->second;
  std::string names;
  for (const auto& [name, text] : templates) names += (names.empty() ? "" : ", ") + name;
  throw Error(names.empty() ? "the model has no chat template"
                            : "the model has several chat templates, but none named default: " + names);
}

Json chat_variables(const ChatInput& input, const std::map<std::string, std::string>& named_tokens) {
  static const Json none;
  const Json& messages = input.messages ? *input.messages : none;
  check_objects(messages, "messages");
  if (messages.empty()) throw UsageError("messages: expected at least one");
  Json variables = named_tokens;
  Json list_of_messages = Json::array();
  for (const Json& message : messages) list_of_messages.push_back(with_reasoning(without_nulls(message)));
  variables["messages"] = std::move(list_of_messages);
  for (const auto& [name, list] :
       {std::pair("tools", input.tools), std::pair("documents", input.documents)}) {
    if (list && !list->is_null()) check_objects(*list, name);
    variables[name] = list ? *list : none;
  }
  variables["add_generation_prompt"] = input.add_generation_prompt;
  if (input.extra && !input.extra->is_object()) throw UsageError("template variables: expected an object");
  if (input.extra) variables.update(*input.extra);
  return variables;
}

}  // namespace baleen
