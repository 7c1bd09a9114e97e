// What is typed at the prompt of a chat: lines that make up one message, or a command. Owns the grammar; what
// a command does is the dialogue's.
#pragma once

#include <string>
#include <string_view>

namespace baleen {

struct ChatCommand {
  enum class Kind { message, reset, system, save, load, stats, help, quit };
  Kind kind = Kind::message;
  std::string argument = {};  // the message, the system message or the file; may be empty for those two
  bool overwrite = false;     // of save
};

// "/save FILE" and the like; everything else is a message. A message that begins with / is written with two
// of them. Throws UsageError for an unknown command, a missing argument and one that does not belong.
ChatCommand parse_chat_command(std::string_view text);

// The commands, a line each, for /help.
std::string chat_command_help();

// Puts lines together. A backslash at the end of a line joins the next one to it, with a newline between; a
// line of """ begins a block that the next such line ends, in which backslash and slash mean nothing.
class ChatLines {
 public:
  // A line, or pasted lines, without the newline at the end. Returns whether the input is complete.
  bool push(std::string_view line);
  bool unfinished() const { return in_block_ || joins_; }
  // What was put together, parsed; begins anew. Throws as parse_chat_command() does.
  ChatCommand take();
  void clear();

 private:
  std::string text_;
  bool in_block_ = false;
  bool joins_ = false;      // the line before ended in a backslash
  bool is_block_ = false;   // the whole is a block: a message, whatever it begins with
  bool has_lines_ = false;  // of the block
};

}  // namespace baleen
