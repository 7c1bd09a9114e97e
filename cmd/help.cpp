#include "cmd/help.h"

#include <algorithm>
#include <sstream>

#include "report/table.h"
#include "report/version.h"

namespace baleen::cmd {
namespace {

constexpr std::size_t width = 79;

// `text` in lines of at most `width`, each behind `indent` spaces; paragraphs are parted by "\n".
std::string wrap(std::string_view text, std::size_t indent) {
  std::string result;
  std::istringstream paragraphs{std::string(text)};
  for (std::string paragraph; std::getline(paragraphs, paragraph);) {
    std::string line;
    std::istringstream words(paragraph);
    for (std::string word; words >> word;) {
      if (!line.empty() && indent + text_width(line) + 1 + text_width(word) > width) {
        result += std::string(indent, ' ') + line + "\n";
        line.clear();
      }
      line += (line.empty() ? "" : " ") + word;
    }
    result += std::string(indent, ' ') + line + "\n";
  }
  return result;
}

// "-m, --model DIR"; without a letter the name stands where it would stand behind one.
std::string signature(const Option& option) {
  std::string text = option.letter == 0 ? "    " : std::string("-") + option.letter;
  if (option.letter != 0 && !option.name.empty()) text += ", ";
  if (!option.name.empty()) text += "--" + std::string(option.name);
  if (!option.value.empty()) text += " " + std::string(option.value);
  return text;
}

// What follows an option's text: "(default 256; $BALEEN_ISA)".
std::string remarks(const Option& option) {
  std::string text;
  const auto add = [&](const std::string& remark) { text += (text.empty() ? "" : "; ") + remark; };
  if (option.choices.size() > 1) {
    std::string names;
    for (const std::string_view choice : option.choices)
      names += (names.empty() ? "" : ", ") + std::string(choice);
    add("one of " + names);
  }
  if (!option.fallback.empty()) add("default " + std::string(option.fallback));
  if (!option.env.empty()) add("environment $" + std::string(option.env));
  return text.empty() ? text : " (" + text + ")";
}

// The groups in the order of their first option.
std::vector<std::string_view> groups(const Command& command) {
  std::vector<std::string_view> names;
  for (const Option& option : command.options) {
    if (std::find(names.begin(), names.end(), option.group) == names.end()) names.push_back(option.group);
  }
  return names;
}

std::string usage(const Command& command, const Style& style) {
  return style.bold("Usage:") + " baleen " + std::string(command.name) + " " + std::string(command.synopsis) +
         "\n";
}

// In man macros a hyphen that is typed is \-, and a line must not begin with a control character.
std::string escape_man(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else if (c == '\n') {
      result += "\n.IP\n";
    } else {
      if ((c == '.' || c == '\'') && (result.empty() || result.back() == '\n')) result += "\\&";
      result += c;
    }
  }
  return result;
}

std::string man_signature(const Option& option) {
  std::string text;
  if (option.letter != 0) text += "\\fB\\-" + std::string(1, option.letter) + "\\fR";
  if (!option.name.empty()) {
    text += (text.empty() ? "" : ", ") + std::string("\\fB\\-\\-") + escape_man(option.name) + "\\fR";
  }
  if (!option.value.empty()) text += " \\fI" + escape_man(option.value) + "\\fR";
  return text;
}

std::string man_options(const Command& command) {
  std::string text;
  for (const std::string_view group : groups(command)) {
    std::string entries;
    for (const Option& option : command.options) {
      if (option.group != group) continue;
      entries += ".TP\n" + man_signature(option) + "\n" +
                 escape_man(std::string(option.text) + remarks(option)) + "\n";
    }
    text += ".SS " + std::string(group) + "\n" + entries;
  }
  return text;
}

std::string man_examples(const Command& command) {
  std::string text;
  for (const Example& example : command.examples) {
    text += ".PP\n" + escape_man(example.text) + "\n.PP\n.EX\n" + escape_man(example.command) + "\n.EE\n";
  }
  return text;
}

std::string man_commands(std::span<const Command> commands) {
  std::string text;
  for (const Command& command : commands) {
    text += ".TP\n\\fBbaleen " + std::string(command.name) + "\\fR\n" + escape_man(command.summary) +
            "; see\n.BR baleen\\-" + std::string(command.name) + " (1)\n";
  }
  return text;
}

void replace(std::string& page, std::string_view mark, const std::string& text) {
  for (std::size_t at = page.find(mark); at != std::string::npos; at = page.find(mark, at + text.size())) {
    page.replace(at, mark.size(), text);
  }
}

}  // namespace

std::string brief_help(const Command& command, const Style& style) {
  std::size_t column = 0;
  for (const Option& option : command.options) {
    if (option.in_brief) column = std::max(column, signature(option).size());
  }
  std::string text = usage(command, style) + "\n";
  for (const Option& option : command.options) {
    if (!option.in_brief) continue;
    std::string left = signature(option);
    left.resize(column, ' ');
    const std::string fallback =
        option.fallback.empty() ? "" : " (default " + std::string(option.fallback) + ")";
    left = "  " + left + "  ";
    text += left + wrap(std::string(option.brief) + fallback, left.size()).substr(left.size());
  }
  return text;
}

std::string full_help(const Command& command, const Style& style) {
  std::string text = usage(command, style) + "\n" + wrap(command.about, 0);
  for (const Example& example : command.examples) {
    text += "\n" + wrap(example.text, 0) + "    " + std::string(example.command) + "\n";
  }
  for (const std::string_view group : groups(command)) {
    std::string entries;
    for (const Option& option : command.options) {
      if (option.group != group) continue;
      entries += "  " + signature(option) + "\n" + wrap(std::string(option.text) + remarks(option), 10);
    }
    text += "\n" + style.bold(std::string(group) + ":") + "\n" + entries;
  }
  return text + "\nThe manual page baleen-" + std::string(command.name) + "(1) says more.\n";
}

std::string program_help(std::span<const Command> commands, const Style& style) {
  std::string text =
      style.bold("Usage:") + " baleen COMMAND [OPTION]... [ARGUMENT]...\n\n" +
      wrap(
          "Runs mixture-of-experts language models of the DeepSeek kind from the shell, straight from "
          "the safetensors files they are published in.",
          0) +
      "\n" + style.bold("Commands:") + "\n";
  for (const Command& command : commands) {
    std::string name(command.name);
    name.resize(13, ' ');
    text += "  " + name + std::string(command.summary) + "\n";
  }
  return text +
         "\n'baleen COMMAND -h' shows the options most used, '--help' all of them.\n"
         "'baleen --version' names the version and the instruction sets.\n";
}

std::string man_page(std::string page, const Command* command, std::span<const Command> commands) {
  if (command != nullptr) {
    replace(page, "@OPTIONS@\n", man_options(*command));
    replace(page, "@EXAMPLES@\n", man_examples(*command));
  }
  replace(page, "@COMMANDS@\n", man_commands(commands));
  replace(page, "@VERSION@", std::string(version()));
  return page;
}

}  // namespace baleen::cmd
