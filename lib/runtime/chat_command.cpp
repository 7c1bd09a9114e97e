#include "runtime/chat_command.h"

#include <algorithm>
#include <array>
#include <utility>

#include "error.h"

namespace baleen {
namespace {

constexpr std::string_view white_space = " \t\r\n";
constexpr std::string_view block_mark = "\"\"\"";

enum class Argument { none, optional, required };

struct Row {
  std::string_view name;
  ChatCommand::Kind kind;
  Argument argument;
  std::string_view value;  // what the argument is called
  std::string_view help;
};

using Kind = ChatCommand::Kind;
constexpr std::array rows = {
    Row{"/reset", Kind::reset, Argument::none, "", "forget the conversation; the system message stays"},
    Row{"/system", Kind::system, Argument::optional, "TEXT",
        "set the system message, and keep the conversation; alone: show it"},
    Row{"/save", Kind::save, Argument::required, "FILE", "write the conversation, for /load and --messages"},
    Row{"/save!", Kind::save, Argument::required, "FILE", "the same over a file that is there"},
    Row{"/load", Kind::load, Argument::required, "FILE", "go on with the conversation in FILE"},
    Row{"/stats", Kind::stats, Argument::none, "", "tokens and speed"},
    Row{"/help", Kind::help, Argument::none, "", "this list"},
    Row{"/quit", Kind::quit, Argument::none, "", "end, as Ctrl-D does"},
};

std::string_view trim(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(white_space), text.size()));
  return text.substr(0, text.find_last_not_of(white_space) + 1);
}

std::string words(const Row& row) {
  return std::string(row.name) + (row.value.empty() ? "" : " ") + std::string(row.value);
}

}  // namespace

ChatCommand parse_chat_command(std::string_view text) {
  if (!text.starts_with('/')) return {.argument = std::string(text)};
  if (text.starts_with("//")) return {.argument = std::string(text.substr(1))};
  const std::size_t end = std::min(text.find_first_of(white_space), text.size());
  const std::string_view name = text.substr(0, end);
  const std::string_view argument = trim(text.substr(end));
  const auto* const row =
      std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.name == name; });
  if (row == rows.end()) {
    throw UsageError("unknown command " + std::string(name.substr(0, 40)) +
                     "\n/help lists them; a message that begins with / takes two: //");
  }
  if (argument.empty() && row->argument == Argument::required)
    throw UsageError(std::string(name) + " without a file: expected " + words(*row));
  if (!argument.empty() && row->argument == Argument::none)
    throw UsageError(std::string(name) + " stands alone, found '" + std::string(argument.substr(0, 40)) +
                     "'");
  return {.kind = row->kind, .argument = std::string(argument), .overwrite = name.ends_with('!')};
}

std::string chat_command_help() {
  std::size_t width = 0;
  for (const Row& row : rows) width = std::max(width, words(row).size());
  std::string text;
  for (const Row& row : rows) {
    std::string name = words(row);
    name.resize(width + 2, ' ');
    text += name + std::string(row.help) + "\n";
  }
  return text;
}

bool ChatLines::push(std::string_view line) {
  const bool is_mark = trim(line) == block_mark;
  if (in_block_) {
    in_block_ = !is_mark;
    if (is_mark) return true;
    text_ += (has_lines_ ? "\n" : "") + std::string(line);
    has_lines_ = true;
    return false;
  }
  if (is_mark && !joins_) {
    in_block_ = is_block_ = true;
    return false;
  }
  if (joins_) text_ += '\n';
  joins_ = line.ends_with('\\');
  text_ += line.substr(0, line.size() - (joins_ ? 1 : 0));
  return !joins_;
}

ChatCommand ChatLines::take() {
  const bool is_block = is_block_;
  const std::string text = std::exchange(text_, {});
  clear();
  if (is_block) return {.argument = text};
  return parse_chat_command(text);
}

void ChatLines::clear() {
  *this = {};
}

}  // namespace baleen
