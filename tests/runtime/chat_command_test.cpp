// The grammar of what is typed at the prompt of a chat.
#include "runtime/chat_command.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>

#include "error.h"

using namespace baleen;
using Kind = ChatCommand::Kind;

namespace {

// What becomes of these lines; all but the last must leave it unfinished.
ChatCommand typed(std::initializer_list<std::string_view> lines) {
  ChatLines input;
  std::size_t left = lines.size();
  for (const std::string_view line : lines) {
    CHECK(input.push(line) == (--left == 0));
    CHECK(input.unfinished() == (left > 0));
  }
  return input.take();
}

std::string problem(std::string_view text) {
  try {
    (void)parse_chat_command(text);
    return "none";
  } catch (const UsageError& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("what does not begin with a slash is a message, as it is") {
  for (const char* const text : {"", "Hi", " /save x", " two  words ", "1/2", "\\", "日本"}) {
    const ChatCommand command = parse_chat_command(text);
    CHECK(command.kind == Kind::message);
    CHECK(command.argument == text);
  }
}

TEST_CASE("two slashes write a message that begins with one") {
  CHECK(parse_chat_command("//usr/bin").kind == Kind::message);
  CHECK(parse_chat_command("//usr/bin").argument == "/usr/bin");
  CHECK(parse_chat_command("//").argument == "/");
  CHECK(parse_chat_command("///x").argument == "//x");
}

TEST_CASE("every command") {
  CHECK(parse_chat_command("/reset").kind == Kind::reset);
  CHECK(parse_chat_command("/stats ").kind == Kind::stats);
  CHECK(parse_chat_command("/help").kind == Kind::help);
  CHECK(parse_chat_command("/quit\t").kind == Kind::quit);
  CHECK(parse_chat_command("/system").kind == Kind::system);
  CHECK(parse_chat_command("/system").argument.empty());
  CHECK(parse_chat_command("/system  Be  brief. ").argument == "Be  brief.");
  CHECK(parse_chat_command("/load my chat.json").kind == Kind::load);
  CHECK(parse_chat_command("/load my chat.json").argument == "my chat.json");
  CHECK(parse_chat_command("/save x").kind == Kind::save);
  CHECK_FALSE(parse_chat_command("/save x").overwrite);
  CHECK(parse_chat_command("/save! x").kind == Kind::save);
  CHECK(parse_chat_command("/save! x").overwrite);
  CHECK(parse_chat_command("/save! x").argument == "x");
}

TEST_CASE("what is wrong with a command is said") {
  CHECK(problem("/sav x") ==
        "unknown command /sav\n/help lists them; a message that begins with / takes two: //");
  CHECK(problem("/").starts_with("unknown command /\n"));
  CHECK(problem("/Reset").starts_with("unknown command /Reset\n"));
  CHECK(problem("/saved").starts_with("unknown command /saved\n"));
  CHECK(problem("/save") == "/save without a file: expected /save FILE");
  CHECK(problem("/save!  ") == "/save! without a file: expected /save! FILE");
  CHECK(problem("/load") == "/load without a file: expected /load FILE");
  CHECK(problem("/quit now") == "/quit stands alone, found 'now'");
}

TEST_CASE("the help names every command once, in columns") {
  const std::string help = chat_command_help();
  for (const char* const name : {"/reset ", "/system ", "/save ", "/save! ", "/load ", "/stats ", "/help "}) {
    const std::size_t at = help.find("\n" + std::string(name));
    CHECK((at != help.npos || help.starts_with(name)));
  }
  CHECK(help.find("/system TEXT  set the system message") != help.npos);
}

TEST_CASE("a backslash at the end of a line joins the next one") {
  CHECK(typed({"one"}).argument == "one");
  CHECK(typed({
                  "one\\",
                  "two\\",
                  "",
              })
            .argument == "one\ntwo\n");
  CHECK(typed({"a\\b"}).argument == "a\\b");
  CHECK(typed({"one\\", "/quit"}).argument == "one\n/quit");
  CHECK(typed({"/system one\\", "two"}).kind == Kind::system);
  CHECK(typed({"/system one\\", "two"}).argument == "one\ntwo");
  CHECK(typed({"\\", "\"\"\""}).argument == "\n\"\"\"");  // no block: the message has begun
}

TEST_CASE("three quotes alone on a line begin and end a block") {
  CHECK(typed({"\"\"\"", "one", "", "two\\", " \"\"\" "}).argument == "one\n\ntwo\\");
  CHECK(typed({"\"\"\"", "\"\"\""}).argument.empty());
  CHECK(typed({"\"\"\"", "", "x", "\"\"\""}).argument == "\nx");
  const ChatCommand command = typed({"\"\"\"", "/quit", "\"\"\""});
  CHECK(command.kind == Kind::message);
  CHECK(command.argument == "/quit");
  CHECK(typed({"\"\"\"x"}).argument == "\"\"\"x");
}

TEST_CASE("input that was begun can be cleared") {
  ChatLines input;
  CHECK_FALSE(input.push("\"\"\""));
  CHECK_FALSE(input.push("x"));
  input.clear();
  CHECK_FALSE(input.unfinished());
  CHECK(input.push("y"));
  CHECK(input.take().argument == "y");
  CHECK(input.push("/quit"));  // take() has begun anew
  CHECK(input.take().kind == Kind::quit);
}
