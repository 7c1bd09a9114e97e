// What a subcommand is to its user: its options, each defined once. The parser, -h, --help, the man page and
// the shells' completions are all made from these definitions.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace baleen::cmd {

struct Option {
  enum class Argument { none, text, file, folder };  // what completions offer

  std::string_view name = {};   // "temp" for --temp; may be empty if there is a letter
  char letter = 0;              // 'm' for -m; 0: none
  std::string_view value = {};  // what the argument is called, "N"; empty: the option is a flag
  Argument argument = Argument::none;
  std::string_view group = {};     // heading in --help and the man page
  std::string_view brief = {};     // for -h and completions: a phrase
  std::string_view text = {};      // for --help and the man page: whole sentences, paragraphs parted by "\n"
  std::string_view fallback = {};  // the default, if there is a fixed one
  std::string_view env = {};       // environment variable that stands in for the option
  std::vector<std::string_view> choices = {};
  bool repeatable = false;
  bool in_brief = true;                                  // shown by -h
  std::function<void(std::string_view value)> set = {};  // throws UsageError for a value that does not fit
  std::function<void()> set_by_env = {};                 // behind set(), where the value is the variable's
};

struct Example {
  std::string_view text = {};     // "Continue a text."
  std::string_view command = {};  // "baleen run --greedy 'Once upon a time'"
};

struct Command {
  std::string_view name = {};       // "run"
  std::string_view summary = {};    // "generate text from a prompt"
  std::string_view synopsis = {};   // "[OPTION]... [PROMPT]"
  std::string_view about = {};      // for --help: a paragraph
  std::string_view dash_hint = {};  // what to do with an argument that begins with -
  std::vector<Example> examples = {};
  std::vector<Option> options = {};
  std::function<void(std::vector<std::string> words)> operands = {};  // what is left beside options
};

// "--temp", or "-n" if the option has a letter only.
std::string option_name(const Option& option);

}  // namespace baleen::cmd
