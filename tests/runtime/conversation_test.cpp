// Conversations as prompts. What transformers makes of whole ones is compared in
// tests/cli/cases/chat_prompts.sh.
#include "runtime/conversation.h"

#include <doctest/doctest.h>

#include <string>

#include "error.h"

using namespace baleen;

namespace {

const std::map<std::string, std::string> tokens = {{"eos_token", "</s>"}};

RenderedConversation render(const std::string& json, const std::string& text) {
  return render_conversation(parse_conversation(json, "m.json"), ChatTemplate(text, "t.jinja"), tokens);
}

std::string problem(const std::string& json, const std::string& text) {
  try {
    return "none: " + render(json, text).text;
  } catch (const Error& error) {
    return error.what();
  }
}

const std::string plain =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% if think %}<think>\n{% endif %}{% endif %}";

}  // namespace

TEST_CASE("a conversation is a list, or an object that has one") {
  const Conversation list = parse_conversation(R"([{"role": "user", "content": "Hi"}])", "m.json");
  CHECK(list.messages.size() == 1);
  CHECK(list.tools.is_null());
  CHECK(list.documents.is_null());
  const Conversation object = parse_conversation(
      R"({"messages": [], "tools": [{"z": 1, "a": 2}], "documents": null, "template_vars": {"b": [1]}})",
      "m.json");
  CHECK(object.messages.empty());
  CHECK(object.tools.dump() == R"([{"z":1,"a":2}])");  // in the order of the file
  CHECK(object.documents.is_null());
  CHECK(object.template_vars.dump() == R"({"b":[1]})");
}

TEST_CASE("what a message holds is for the template") {
  const std::string tool = R"({"role": "tool", "content": {"celsius": -1, "cloudy": true}})";
  const ChatTemplate shows(
      "{% for m in messages %}{% if m.content is mapping %}{{ m.content.celsius }}"
      "{% else %}{{ m.content }};{% endif %}{% endfor %}");
  const Conversation conversation = parse_conversation(
      R"([{"role": "user", "content": 5}, {"role": "user", "content": false}, )" + tool + "]", "m.json");
  CHECK(render_conversation(conversation, shows, {}).text == "5;False;-1");
}

TEST_CASE("integers keep their digits or are refused") {
  const ChatTemplate shows("{{ messages[0].n }}");
  const auto rendered = [&](const std::string& number) {
    const std::string json = R"([{"role": "12345678901234567890123\\\"", "n": )" + number + "}]";
    return render_conversation(parse_conversation(json, "m.json"), shows, {}).text;
  };
  CHECK(rendered("9223372036854775807") == "9223372036854775807");
  CHECK(rendered("-9223372036854775808") == "-9223372036854775808");
  CHECK(rendered("12345678901234567890123.0") == "1.2345678901234568e+22");
  CHECK(rendered("1e22") == "1e+22");
  CHECK_THROWS_WITH_AS(rendered("18446744073709551615"),
                       "chat template: a variable holds 18446744073709551615, and templates hold integers to "
                       "9223372036854775807",
                       FormatError);
  for (const char* const beyond :
       {"18446744073709551616", "-9223372036854775809", "[0, 99999999999999999999]"}) {
    CAPTURE(beyond);
    CHECK_THROWS_AS(rendered(beyond), FormatError);
  }
  CHECK_THROWS_WITH_AS(rendered("-9223372036854775809"),
                       "m.json: an integer beyond 64 bits: -9223372036854775809", FormatError);
}

TEST_CASE("a conversation that is written comes back the same") {
  for (const char* const json :
       {"[]", R"([{"role": "user", "content": "\"é\n"}, {"role": "assistant", "reasoning_content": "x"}])",
        R"({"schema": 1, "messages": [], "tools": [{"z": 1, "a": 2}], "documents": [{}],
            "template_vars": {"b": null}})"}) {
    const Conversation conversation = parse_conversation(json, "m.json");
    const Conversation again = parse_conversation(write_conversation(conversation), "again");
    CHECK(again.messages.dump() == conversation.messages.dump());
    CHECK(again.tools.dump() == conversation.tools.dump());
    CHECK(again.documents.dump() == conversation.documents.dump());
    CHECK(again.template_vars.dump() == conversation.template_vars.dump());
  }
  CHECK(write_conversation({}) == "{\n  \"schema\": 1,\n  \"messages\": []\n}\n");
}

TEST_CASE("a form of another version is refused") {
  CHECK_THROWS_WITH_AS((void)parse_conversation(R"({"schema": 2, "messages": []})", "m.json"),
                       "m.json: schema: expected 1, found 2", FormatError);
}

TEST_CASE("nesting is bounded") {
  const auto nested = [](int depth) {
    return R"({"messages": [], "template_vars": {"x": )" + std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']') + "}}";
  };
  CHECK_NOTHROW((void)parse_conversation(nested(60), "m.json"));
  CHECK_THROWS_WITH_AS((void)parse_conversation(nested(65), "m.json"), "m.json: nested more than 64 deep",
                       FormatError);
}

TEST_CASE("a template variable is a name and JSON") {
  const auto [name, value] = parse_template_var("x=\"a=b\"");
  CHECK(name == "x");
  CHECK(value == "a=b");
  CHECK(parse_template_var("on=false").second == false);
  for (const char* wrong : {"on", "on=", "on=False", "=1", "tools=[]", "on=1 2"})
    CHECK_THROWS_AS((void)parse_template_var(wrong), UsageError);
}

TEST_CASE("the model answers, or goes on with what the assistant began") {
  const std::string user = R"({"role": "user", "content": "Hi"})";
  CHECK(render("[" + user + "]", plain).text == "[user]Hi</s>[assistant]");
  const auto begun = [&](const std::string& content) {
    return "[" + user + R"(, {"role": "assistant", "content": )" + content + "}]";
  };
  CHECK(render(begun(R"("So ")"), plain).text == "[user]Hi</s>[assistant]So ");
  CHECK(render(begun(R"("")"), plain).text == "[user]Hi</s>[assistant]");
  // A template that trims messages trims the begun one too, and so does what transformers makes of it.
  const std::string trims = "{% for m in messages %}{{ m.content | trim }}\n{{ eos_token }}{% endfor %}";
  CHECK(render(begun(R"("So ")"), trims).text == "Hi\n</s>So");
  CHECK(problem(begun(R"("So")"), "{{ messages[0].content }}") ==
        "the last message is the assistant's, to be continued, but the chat template does not render all of "
        "its "
        "text\na user message behind it asks for a new answer");
  CHECK(problem(begun("null"), plain).find("it has no text") != std::string::npos);
  CHECK(problem(begun(R"([{"type": "image"}])"), plain).find("it has no text") != std::string::npos);
  CHECK(problem(begun(R"([{"text": 5}])"), plain).find("it has no text") != std::string::npos);
}

TEST_CASE("whether an answer begins inside thinking") {
  const auto inside = [](const std::string& messages, const std::string& vars) {
    return render(R"({"messages": [)" + messages + R"(], "template_vars": )" + vars + "}", plain)
        .inside_thinking;
  };
  const std::string asks = R"({"role": "user", "content": "What is <think>?"})";
  CHECK(inside(asks, R"({"think": true})"));
  CHECK_FALSE(inside(asks, "{}"));
  CHECK(inside(asks + R"(, {"role": "assistant", "content": "<think>a tag"})", "{}"));
  CHECK_FALSE(inside(asks + R"(, {"role": "assistant", "content": "<think>a tag</think>It"})", "{}"));
  CHECK_FALSE(inside(asks + R"(, {"role": "assistant", "content": "It"})", "{}"));
}
