#include "cmd/completions.h"

#include <functional>

namespace baleen::cmd {
namespace {

std::string join(const std::vector<std::string>& words, const std::string& separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

// "-m", "--model"
std::vector<std::string> spellings(const Option& option) {
  std::vector<std::string> names;
  if (option.letter != 0) names.push_back(std::string("-") + option.letter);
  if (!option.name.empty()) names.push_back("--" + std::string(option.name));
  return names;
}

std::string choices(const Option& option) {
  return join({option.choices.begin(), option.choices.end()}, " ");
}

// What may follow the option, in bash: a line for its branch of `case $prev`.
std::string bash_argument(const Option& option) {
  const auto reply = [](const std::string& words) {
    return "mapfile -t COMPREPLY < <(compgen " + words + " -- \"$cur\")";
  };
  if (option.argument == Option::Argument::folder) return "compopt -o filenames; " + reply("-d");
  if (option.argument == Option::Argument::file) return "compopt -o filenames; " + reply("-f");
  return option.choices.empty() ? ":" : reply("-W '" + choices(option) + "'");
}

std::string bash_command(const Command& command) {
  std::string text = "    " + std::string(command.name) + ")\n      case $prev in\n";
  std::vector<std::string> words;
  for (const Option& option : command.options) {
    const std::vector<std::string> names = spellings(option);
    words.insert(words.end(), names.begin(), names.end());
    if (option.value.empty()) continue;
    text += "        " + join(names, " | ") + ") " + bash_argument(option) + "; return ;;\n";
  }
  return text + "      esac\n      [[ $cur == -* ]] && mapfile -t COMPREPLY < <(compgen -W '" +
         join(words, " ") + "' -- \"$cur\")\n      ;;\n";
}

// In a zsh specification between single quotes: ' ends the quotes, ] and : end the description.
std::string escape_zsh(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\'') {
      result += "'\\''";
    } else {
      if (c == ']' || c == '[' || c == ':' || c == '\\') result += '\\';
      result += c;
    }
  }
  return result;
}

std::string zsh_option(const Option& option) {
  const std::vector<std::string> names = spellings(option);
  std::string text = option.repeatable ? "'*'" : "'(" + join(names, " ") + ")'";
  text += names.size() > 1 ? "{" + join(names, ",") + "}'" : names[0] + "'";
  text += "[" + escape_zsh(option.brief) + "]";
  if (!option.value.empty()) {
    text += ":" + escape_zsh(option.value) + ":";
    if (option.argument == Option::Argument::folder) text += "_files -/";
    if (option.argument == Option::Argument::file) text += "_files";
    if (!option.choices.empty()) text += "(" + choices(option) + ")";
  }
  return text + "'";
}

std::string escape_fish(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\'' || c == '\\') result += '\\';
    result += c;
  }
  return "'" + result + "'";
}

std::string fish_option(const Command& command, const Option& option) {
  std::string text = "complete -c baleen -n '__fish_seen_subcommand_from " + std::string(command.name) + "'";
  if (option.letter != 0) text += std::string(" -s ") + option.letter;
  if (!option.name.empty()) text += " -l " + std::string(option.name);
  if (option.argument == Option::Argument::folder) text += " -x -a '(__fish_complete_directories)'";
  if (option.argument == Option::Argument::file) text += " -r -F";
  if (option.argument == Option::Argument::text) {
    text += option.choices.empty() ? " -x" : " -x -a " + escape_fish(choices(option));
  }
  return text + " -d " + escape_fish(option.brief) + "\n";
}

}  // namespace

std::string bash_completion(std::span<const Command> commands) {
  std::string names;
  std::string branches;
  for (const Command& command : commands) {
    names += std::string(command.name) + " ";
    branches += bash_command(command);
  }
  return "# bash completion for baleen\n"
         "_baleen() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=\n"
         "  [[ $COMP_CWORD -gt 1 ]] && command=${COMP_WORDS[1]}\n"
         "  COMPREPLY=()\n"
         "  case $command in\n"
         "    '') mapfile -t COMPREPLY < <(compgen -W '" +
         names + "-h --help --version' -- \"$cur\") ;;\n" + branches +
         "  esac\n"
         "} && complete -F _baleen baleen\n";
}

std::string zsh_completion(std::span<const Command> commands) {
  std::string names;
  std::string branches;
  for (const Command& command : commands) {
    names += " '" + std::string(command.name) + ":" + escape_zsh(command.summary) + "'";
    branches += "        " + std::string(command.name) + ")\n          _arguments -s -S";
    for (const Option& option : command.options) branches += " \\\n            " + zsh_option(option);
    branches += " \\\n            '1:prompt:' && ret=0\n          ;;\n";
  }
  return "#compdef baleen\n"
         "_baleen() {\n"
         "  local curcontext=\"$curcontext\" state line ret=1\n"
         "  local -a commands\n"
         "  commands=(" +
         names +
         ")\n"
         "  _arguments -C \\\n"
         "    '(- *)'{-h,--help}'[list the commands]' \\\n"
         "    '(- *)--version[version, and the instruction sets built in]' \\\n"
         "    '1:command:->command' \\\n"
         "    '*::argument:->argument' && ret=0\n"
         "  case $state in\n"
         "    command) _describe -t commands command commands && ret=0 ;;\n"
         "    argument)\n"
         "      case $line[1] in\n" +
         branches +
         "      esac\n"
         "      ;;\n"
         "  esac\n"
         "  return ret\n"
         "}\n"
         "_baleen \"$@\"\n";
}

std::string fish_completion(std::span<const Command> commands) {
  std::string text =
      "# fish completion for baleen\n"
      "complete -c baleen -f\n"
      "complete -c baleen -n __fish_use_subcommand -s h -l help -d 'list the commands'\n"
      "complete -c baleen -n __fish_use_subcommand -l version -d 'version, and the instruction sets built "
      "in'\n";
  for (const Command& command : commands) {
    text += "complete -c baleen -n __fish_use_subcommand -a " + std::string(command.name) + " -d " +
            escape_fish(command.summary) + "\n";
    for (const Option& option : command.options) text += fish_option(command, option);
  }
  return text;
}

}  // namespace baleen::cmd
