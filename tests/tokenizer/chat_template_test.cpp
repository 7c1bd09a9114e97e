// Chat templates against what Jinja itself gave (tests/golden/chat), and what Jinja does not have: limits,
// places of errors, and which template and variables a model folder means.
#include "tokenizer/chat_template.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "error.h"
#include "tokenizer/tokenizer.h"

using namespace baleen;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

const fs::path kChat = fs::path(BALEEN_SOURCE_DIR) / "tests/golden/chat";
constexpr std::time_t kNow = 1700000000;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<Json> rows(const fs::path& path) {
  std::vector<Json> all;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) all.push_back(Json::parse(line));
  return all;
}

std::string render(std::string_view text, const Json& variables = Json::object()) {
  return ChatTemplate(text, "t.jinja").render(variables, {}, kNow);
}

// `expected` has a text, or an error of whatever wording.
void check(const std::string& text, const Json& variables, const Json& expected) {
  CAPTURE(text);
  CAPTURE(variables.dump());
  if (expected.contains("text"))
    CHECK(render(text, variables) == expected["text"].get<std::string>());
  else
    CHECK_THROWS_AS((void)render(text, variables), FormatError);
}

std::string error_of(std::string_view text, const Json& variables = Json::object(),
                     const ChatTemplate::Limits& limits = {}) {
  try {
    return "no error: " + ChatTemplate(text, "t.jinja").render(variables, limits, kNow);
  } catch (const FormatError& error) {
    return error.what();
  }
}

fs::path empty_folder() {
  const fs::path folder = fs::temp_directory_path() / ("chat_template_test_" + std::to_string(std::rand()));
  fs::remove_all(folder);
  fs::create_directories(folder / "additional_chat_templates");
  return folder;
}

Tokenizer tokenizer_with(std::string_view config) {
  return Tokenizer::parse(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})", config,
                          "tokenizer.json");
}

}  // namespace

TEST_CASE("published templates and our own render as recorded") {
  const std::vector<Json> all = rows(kChat / "expected.jsonl");
  for (const Json& row : all)
    check(read(kChat / "templates" / row["template"].get<std::string>()), row["case"], row);
  CHECK(all.size() == 45);
}

TEST_CASE("every construct gives what Jinja gives") {
  setenv("TZ", "UTC", 1);
  tzset();
  // A row with a result uses the last template and variables if it has none of its own.
  std::string text;
  Json variables;
  std::size_t results = 0;
  for (const Json& row : rows(kChat / "cases.jsonl")) {
    if (row.contains("template")) text = row["template"];
    if (row.contains("variables")) variables = row["variables"];
    if (!row.contains("text") && !row.contains("error")) continue;
    check(text, variables, row);
    ++results;
  }
  CHECK(results > 350);
}

TEST_CASE("an error names the file, the line and what failed there") {
  CHECK(error_of("a\n{{ 1 +\n x.y.z }}") == "t.jinja:3: 'x' is undefined, in `x.y`");
  CHECK(error_of("\n\n{% if 1 %}") == "t.jinja:3: the template ends where 'endif' is missing");
  CHECK(error_of("{% set x = 'a'|nosuch %}") == "t.jinja:1: there is no filter 'nosuch'");
  CHECK(error_of("{{ raise_exception('No ' ~ 1) }}") == "t.jinja:1: No 1");
  CHECK(error_of("{{ 1e300|int }}") == "t.jinja:1: an integer beyond 64 bits, in `1e300|int`");
  CHECK(error_of("{{ '%d' % 1e22 }}") == "t.jinja:1: an integer beyond 64 bits, in `'%d' % 1e22`");
  CHECK(error_of("{% include 'x' %}") ==
        "t.jinja:1: the tag 'include, extends' is not supported: there is nothing to load from");
  CHECK(error_of("{% block x %}{% endblock %}") ==
        "t.jinja:1: the tag 'block' is not supported: a chat template has no parents");
  CHECK(error_of("{{ '" + std::string(200, 'x') + "' + 1 }}") ==
        "t.jinja:1: unsupported operands for +: 'str' and 'int', in `'" + std::string(99, 'x') + "...`");
  CHECK(error_of("\xFF") == "t.jinja: is not valid UTF-8");
}

TEST_CASE("hostile templates end at a limit that the error names") {
  CHECK(error_of("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}")
            .find("steps, the limit") != std::string::npos);
  CHECK(error_of("{{ 'a' * 100000000000 }}").find("bytes, the limit") != std::string::npos);
  CHECK(error_of("{{ ('a' * 100000).replace('a', 'a' * 100000) }}").find("bytes, the limit") !=
        std::string::npos);
  CHECK(error_of("{{ '%999999999999d' % 1 }}").find("bytes, the limit") != std::string::npos);
  CHECK(error_of("{{ [1]|batch(999999999999, 0)|list }}").find("bytes, the limit") != std::string::npos);
  CHECK(error_of("{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% "
                 "endfor %}{{ ns.x }}")
            .find(", the limit") != std::string::npos);
  CHECK(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("the limit") != std::string::npos);
  CHECK(error_of("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}").find("the limit") !=
        std::string::npos);
  CHECK(
      error_of("{{ " + std::string(100000, '(') + "1" + std::string(100000, ')') + " }}").find("the limit") !=
      std::string::npos);
  CHECK(error_of("{{ " + std::string(100000, '-') + "1 }}").find("the limit") != std::string::npos);
  std::string sum = "{{ 1", blocks;
  for (int i = 0; i < 100000; ++i) sum += "+1";
  for (int i = 0; i < 100000; ++i) blocks += "{% if 1 %}";
  CHECK(error_of(sum + " }}").find("the limit") != std::string::npos);
  CHECK(error_of(blocks).find("the limit") != std::string::npos);
  for (const char* grow :
       {"[ns.x]", "{'a': ns.x}", "ns.x|map('upper')", "joiner(ns.x)", "cycler(ns.x)", "[ns.x].index"}) {
    CAPTURE(grow);
    CHECK(error_of("{% set ns = namespace(x=[]) %}{% for i in range(50000) %}{% set ns.x = " +
                   std::string(grow) + " %}{% endfor %}")
              .find("deep, the limit") != std::string::npos);
  }
}

TEST_CASE("the names of a template may be many") {
  std::string sets, reads, parameters = "z", arguments = "z=1";
  for (int i = 0; i < 20000; ++i) {
    const std::string name = "a" + std::to_string(i);
    sets += "{% if " + name + " %}{% elif 1 %}{% set " + name + " = 1 %}{% endif %}";
    reads += "{% if 1 %}{{ " + name + " }}{% endif %}";
  }
  for (int i = 0; i < 200000; ++i) {
    parameters += ", a" + std::to_string(i);
    arguments += ", a" + std::to_string(i) + "=2";
  }
  CHECK(render(sets + "{{ a19999 }}") == "1");
  CHECK(render(reads) == "");
  CHECK(render("{% macro f(" + parameters + ") %}{{ z }}{% endmacro %}{{ f(1) }}") == "1");
  CHECK(render("{{ dict(" + arguments + ").z if 0 }}") == "");
}

TEST_CASE("work on long values counts by their length") {
  // Each expression costs few steps but for the length of the text, the list, the tuple or the dict.
  Json variables;
  for (int i = 0; i < 20000; ++i) variables["d"]["a" + std::to_string(i)] = i;
  const std::string values =
      "{% set s = 'é' * 1000000 %}{% set t = s ~ '' %}{% set xs = [0] * 100000 %}{% set ys = xs + [] %}"
      "{% set ns = namespace(d) %}{% set pairs = namespace(x=(1,)) %}"
      "{% for i in range(14) %}{% set pairs.x = (pairs.x, pairs.x) %}{% endfor %}";
  CHECK(error_of(values, variables, {.steps = 700'000}) == "no error: ");
  for (const char* expression : {"s|length",
                                 "s[-1]",
                                 "s[999999:]",
                                 "s.isalpha()",
                                 "s.strip('a')",
                                 "s|wordcount",
                                 "s|float",
                                 "s|int",
                                 "s.startswith('a', 999999)",
                                 "s == t",
                                 "s != t",
                                 "s < t",
                                 "t in [s]",
                                 "{s: 1}[t]",
                                 "{s: 1}.get(t)",
                                 "[s] == [t]",
                                 "[t, s].count(s)",
                                 "s.startswith((t,) * 9)",
                                 "s|default('')",
                                 "{}|attr(s)",
                                 "s % ()",
                                 "xs|sum",
                                 "xs == ys",
                                 "xs < ys",
                                 "d.x",
                                 "ns.x",
                                 "'%(a19999)s' % d",
                                 "'a'.format_map(d)",
                                 "{pairs.x: 1}"}) {
    CAPTURE(expression);
    const std::string loop =
        "{% for i in range(400) %}{% set y = " + std::string(expression) + " %}{% endfor %}";
    CHECK(error_of(values + loop, variables, {.steps = 700'000}).find("steps, the limit") !=
          std::string::npos);
  }
  std::string names;
  for (int i = 0; i < 10000; ++i) names += "{{ a" + std::to_string(i) + " }}";
  CHECK(error_of("{% for i in range(1000) %}{% if 0 %}" + names + "{% endif %}{% endfor %}", Json::object(),
                 {.steps = 700'000})
            .find("steps, the limit") != std::string::npos);
  CHECK(error_of("{{ range(1000)|map(attribute='x' * 1000000)|list|length }}", Json::object(),
                 {.bytes = 100'000'000})
            .find("bytes, the limit") != std::string::npos);
}

TEST_CASE("texts are searched in linear time") {
  const std::string values =
      "{% set text = 'a' * 5000000 %}{% set ab = 'a' * 2500000 ~ 'b' %}{% set ba = 'b' ~ 'a' * 2500000 %}";
  CHECK(render(values + "{{ ab in text }} {{ text.find(ab) }} {{ text.rfind(ba) }} {{ text.count(ab) }} "
                        "{{ text.replace(ab, '') == text }} {{ text.split(ab)|length }} "
                        "{{ text.rsplit(ba)|length }} {{ text.partition(ab)|map('length')|list }} "
                        "{{ text.rpartition(ba)|map('length')|list }}") ==
        "False -1 -1 0 True 1 1 [5000000, 0, 0] [0, 0, 5000000]");
  CHECK(render("{{ ('a' * 5000000).strip('b' * 5000000 ~ 'a')|length }}") == "0");
  // From the right, as Python does it.
  CHECK(render("{{ 'aaaaa'.rsplit('aa') }} {{ 'a--b---c'.rsplit('--', 1) }} {{ 'ab'.rsplit('ab') }} "
               "{{ 'éaéa'.rsplit('é', 1) }} {{ 'aXbXc'.rpartition('X') }} {{ 'abcabc'.rfind('bc') }} "
               "{{ 'abc'.rfind('') }} {{ ''.rsplit('a') }} {{ 'x'.rsplit('xx') }}") ==
        "['a', '', ''] ['a--b-', 'c'] ['', ''] ['éa', 'a'] ('aXb', 'X', 'c') 4 3 [''] ['x']");
}

TEST_CASE("a long word is wrapped in linear time") {
  CHECK(render("{{ ('x' * 1000000)|wordwrap(1)|length }}") == "1999999");
  CHECK(render("{{ ('-' * 1000000)|wordwrap(4)|length }}") == "1249999");
  CHECK(render("{{ ('a' ~ '\u3000' * 1000000 ~ 'b')|wordwrap(1)|length }}") == "3");
}

TEST_CASE("chains and circles through namespaces and macros are let go") {
  CHECK(render("{% set ns = namespace() %}{% set ns.self = ns %}{% for i in range(50000) %}"
               "{% set ns.next = namespace(next=ns.next) %}{% endfor %}ok") == "ok");
  CHECK(render("{% set ns = namespace() %}{% for i in range(20000) %}{% macro f() %}{{ ns.f }}{% endmacro %}"
               "{% set ns.f = f %}{% endfor %}ok") == "ok");
  CHECK(render("{% set ns = namespace() %}{% for x in [ns, ns]|map(attribute='l') if x != 1 %}{{ "
               "loop.changed(loop) }}"
               "{% set ns.l = loop %}{% endfor %}{% set ns.g = [ns]|map(attribute='g')|unique %}{{ "
               "ns.g|first == 1 }}") == "TrueFalseFalse");
  CHECK(error_of("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}").find("nested too deep") !=
        std::string::npos);
}

TEST_CASE("long conversations stay far from the limits") {
  Json messages = Json::array();
  for (int i = 0; i < 1000; ++i)
    messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", std::string(200, 'x')}});
  const std::string text = read(kChat / "templates/qwen3.jinja");
  const std::string prompt =
      ChatTemplate(text).render({{"messages", messages}}, {.steps = 200'000, .bytes = 20'000'000});
  CHECK(prompt.size() > 200'000);
}

TEST_CASE("a model folder's templates: files first, then tokenizer_config.json") {
  const Tokenizer several = tokenizer_with(
      R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})");
  const Tokenizer one = tokenizer_with(R"({"chat_template": "S"})");
  const Tokenizer none = tokenizer_with("{}");
  const fs::path folder = empty_folder();
  const auto chosen = [&](const Tokenizer& tokenizer, bool with_tools) {
    return choose_chat_template(find_chat_templates(folder, tokenizer), with_tools).text;
  };
  CHECK(find_chat_templates(folder, none).empty());
  CHECK_THROWS_WITH_AS((void)choose_chat_template({}, false), "the model has no chat template", Error);
  CHECK(chosen(one, true) == "S");
  CHECK(chosen(several, false) == "D");
  CHECK(chosen(several, true) == "T");
  std::ofstream(folder / "additional_chat_templates/rag.jinja") << "R";
  CHECK_THROWS_WITH_AS((void)chosen(several, false), doctest::Contains("none named default: rag"), Error);
  std::ofstream(folder / "chat_template.jinja") << "F";
  CHECK(chosen(several, true) == "F");
  std::ofstream(folder / "additional_chat_templates/tool_use.jinja") << "U";
  CHECK(chosen(several, true) == "U");
  CHECK(chosen(several, false) == "F");
  CHECK(find_chat_templates(folder, several).at("rag").file ==
        (folder / "additional_chat_templates/rag.jinja").string());
  fs::remove_all(folder);
}

TEST_CASE("templates get the variables that apply_chat_template hands over") {
  const Json messages = Json::parse(
      R"([{"role": "user", "content": "a", "name": null}, {"role": "assistant", "content": null, "reasoning": "r"},
          {"role": "assistant", "thinking": "t", "reasoning_content": "rc"}])");
  const Json extra = {{"bos_token", "mine"}, {"enable_thinking", false}};
  const std::map<std::string, std::string> tokens = {
      {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"image_token", "<i>"}};
  const Json variables =
      chat_variables({.messages = &messages, .extra = &extra, .add_generation_prompt = false}, tokens);
  CHECK(variables == Json::parse(R"({
    "bos_token": "mine", "eos_token": "</s>", "image_token": "<i>",
    "messages": [{"role": "user", "content": "a"},
                 {"thinking": "r", "role": "assistant", "reasoning": "r", "reasoning_content": "r"},
                 {"thinking": "t", "role": "assistant", "reasoning_content": "rc"}],
    "tools": null, "documents": null, "add_generation_prompt": false,
    "enable_thinking": false})"));
  const Json empty = Json::array(), wrong = {1};
  CHECK_THROWS_AS((void)chat_variables({.messages = &empty}, {}), UsageError);
  CHECK_THROWS_AS((void)chat_variables({.messages = &wrong}, {}), UsageError);
  CHECK_THROWS_AS((void)chat_variables({.messages = &messages, .tools = &wrong}, {}), UsageError);
}
