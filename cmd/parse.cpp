#include "cmd/parse.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "error.h"

namespace baleen::cmd {
namespace {

// What the command line holds: for each option its values (for a flag one empty value for each time), and
// the other words.
struct Words {
  std::vector<std::vector<std::string>> values;
  std::vector<std::string> operands;
};

// Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last, last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last = std::exchange(last, row);
  }
  return last[b.size()];
}

std::vector<std::string> option_names(const Command& command) {
  std::vector<std::string> names;
  for (const Option& option : command.options) names.push_back(option_name(option));
  return names;
}

[[noreturn]] void throw_unknown(const Command& command, const std::string& word) {
  std::string name = word.substr(0, word.find('='));
  std::vector<std::string> near = option_names(command);
  std::string hint;
  if (name.starts_with("--")) {
    hint = suggestion(name, near);
  } else {  // one letter: the options that begin with it
    name.resize(2);
    std::erase_if(near, [&](const std::string& other) { return !other.starts_with("--" + name.substr(1)); });
    for (const std::string& other : near) hint += (hint.empty() ? "did you mean " : " or ") + other;
    if (!hint.empty()) hint += "?";
  }
  throw UsageError("unknown option " + name + (hint.empty() ? "" : "; " + hint) + "\nbaleen " +
                   std::string(command.name) + " --help lists all options" +
                   (command.dash_hint.empty() ? "" : "; " + std::string(command.dash_hint)));
}

// Words in front of "--" that look like options were none of ours.
std::vector<std::string> take_operands(const Command& command, const std::vector<std::string>& extras) {
  std::vector<std::string> operands;
  bool options_ended = false;
  for (const std::string& word : extras) {
    if (!options_ended && word == "--") {
      options_ended = true;
    } else if (!options_ended && word.size() > 1 && word[0] == '-' &&
               !std::isdigit(static_cast<unsigned char>(word[1]))) {
      throw_unknown(command, word);
    } else {
      operands.push_back(word);
    }
  }
  return operands;
}

void declare(CLI::App& app, const Option& option, std::vector<std::string>& values) {
  std::string names;
  if (option.letter != 0) names = std::string("-") + option.letter;
  if (!option.name.empty()) names += (names.empty() ? "--" : ",--") + std::string(option.name);
  if (option.value.empty()) {
    app.add_flag_callback(names, [&values] { values.emplace_back(); })->disable_flag_override();
  } else {
    app.add_option(names, values)->allow_extra_args(false)->take_all();
  }
}

// Of "--name=value": CLI11 takes the next word for a value that is empty, and has its own words for a flag's.
void check_values(const Command& command, const std::vector<std::string>& words) {
  const auto takes_next_word = [&](const std::string& word) {
    return std::any_of(command.options.begin(), command.options.end(), [&](const Option& option) {
      const bool named = !option.name.empty() && word == "--" + std::string(option.name);
      const bool lettered = option.letter != 0 && word == std::string("-") + option.letter;
      return !option.value.empty() && (named || lettered);
    });
  };
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") return;
    if (i > 0 && takes_next_word(words[i - 1])) continue;
    const std::size_t equals = word.find('=');
    if (!word.starts_with("--") || equals == std::string::npos) continue;
    if (equals + 1 == word.size()) throw UsageError(word + " lacks its value");
    for (const Option& option : command.options) {
      const bool named = !option.name.empty() && word.compare(2, equals - 2, option.name) == 0;
      if (named && option.value.empty()) throw UsageError(option_name(option) + " takes no value");
    }
  }
}

Words read_words(const Command& command, std::vector<std::string> words) {
  check_values(command, words);
  Words result;
  result.values.resize(command.options.size());
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  for (std::size_t i = 0; i < command.options.size(); ++i) {
    declare(app, command.options[i], result.values[i]);
  }
  try {
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    app.parse(std::move(words));
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string_view what = error.what();  // "--model: 1 required TEXT missing"
    throw UsageError(std::string(what.substr(0, what.find(':'))) + " lacks its value");
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
  result.operands = take_operands(command, app.remaining());
  return result;
}

// `source` is the option or the environment variable that the value came from.
void apply(const Option& option, const std::string& source, const std::string& value) {
  try {
    option.set(value);
  } catch (const UsageError& error) {
    throw UsageError(source + ": " + error.what());
  }
}

void apply_environment(const Option& option) {
  if (option.env.empty()) return;
  const std::string variable(option.env);
  const char* value = std::getenv(variable.c_str());
  if (value == nullptr || *value == '\0') return;
  try {
    apply(option, variable, value);
    if (option.set_by_env) option.set_by_env();
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw Error(variable + ": " + error.what());
  }
}

}  // namespace

std::string option_name(const Option& option) {
  return option.name.empty() ? std::string("-") + option.letter : "--" + std::string(option.name);
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const auto letters_of = [](std::string_view name) {
    return name.size() - std::min(name.find_first_not_of('-'), name.size());
  };
  const std::size_t letters = letters_of(word);
  const std::size_t most = std::max<std::size_t>(1, (letters + 1) / 3);
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& candidate : candidates) {
    // A part of the name, or as another program has it: --temperature, --seeds.
    const bool begins = (letters >= 3 && candidate.starts_with(word)) ||
                        (letters_of(candidate) >= 3 && word.starts_with(candidate));
    const std::size_t distance = begins ? 0 : edit_distance(word, candidate);
    if (distance <= most) near.emplace_back(distance, candidate);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  if (near.size() > 3) near.resize(3);
  std::string text;
  for (const auto& [distance, candidate] : near)
    text += (text.empty() ? "did you mean " : " or ") + candidate;
  return text.empty() ? text : text + "?";
}

void parse(const Command& command, std::vector<std::string> words,
           const std::vector<std::string_view>& first) {
  const Words given = read_words(command, std::move(words));
  bool done = false;
  for (std::size_t i = 0; i < command.options.size(); ++i) {
    const Option& option = command.options[i];
    const bool is_first = std::find(first.begin(), first.end(), option_name(option)) != first.end();
    if (is_first && !given.values[i].empty()) {
      apply(option, option_name(option), given.values[i].back());
      done = true;
    }
  }
  if (done) return;
  for (std::size_t i = 0; i < command.options.size(); ++i) {
    const Option& option = command.options[i];
    for (const std::string& value : given.values[i]) apply(option, option_name(option), value);
    if (given.values[i].empty()) apply_environment(option);
  }
  command.operands(given.operands);
}

}  // namespace baleen::cmd
