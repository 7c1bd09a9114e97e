// The program: finds the subcommand, and is the one place where an error becomes text and an exit status.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "checkpoint/sigbus.h"
#include "cmd/commands.h"
#include "cmd/help.h"
#include "cmd/output.h"
#include "cmd/parse.h"
#include "cmd/signals.h"
#include "cmd/terminal.h"
#include "error.h"
#include "report/printable.h"

namespace baleen::cmd {
namespace {

constexpr int failed = 1;
constexpr int wrong_usage = 2;

using Words = std::vector<std::string>;

int print(const std::string& text) {
  write_output(text);
  return 0;
}

[[noreturn]] void throw_unknown_command(const std::string& name, const std::vector<Command>& commands) {
  const bool option = name.starts_with('-');
  std::vector<std::string> names;
  if (option) {
    names = {"--help", "--version"};
  } else {
    for (const Command& command : commands) names.emplace_back(command.name);
  }
  const std::string hint = suggestion(name, names);
  throw UsageError((option ? "unknown option " : "unknown command ") + name +
                   (hint.empty() ? "" : "; " + hint) + "\nbaleen --help lists the commands");
}

std::string version_for_environment() {
  const char* isa = std::getenv("BALEEN_ISA");
  if (isa == nullptr || *isa == '\0') return version_text("auto");
  try {
    return version_text(isa);
  } catch (const UsageError& error) {
    throw UsageError(std::string("BALEEN_ISA: ") + error.what());
  }
}

int dispatch(const Words& words) {
  const std::vector<Command> commands = all_commands();
  const Style style(1, ColorChoice::automatic);
  if (words.empty()) throw UsageError("no command\nbaleen --help lists the commands");
  const std::string& name = words[0];
  const Words rest(words.begin() + 1, words.end());
  if (name == "run") return run(rest);
  if (name == "quantize") return quantize(rest);
  if (name == "bench") return bench(rest);
  if (name == "route-stats") return route_stats(rest);
  if (name == "-h" || name == "--help") return print(program_help(commands, style));
  if (name == "--version") return print(version_for_environment());
  if (name == "--generate") return generate_file(rest);
  throw_unknown_command(name, commands);
}

// What --color asks for, known although the options could not be read.
ColorChoice color_choice(const Words& words) {
  const auto given = [&](const std::string& choice) {
    const auto name = std::find(words.begin(), words.end(), "--color");
    return std::find(words.begin(), words.end(), "--color=" + choice) != words.end() ||
           (name != words.end() && name + 1 != words.end() && name[1] == choice);
  };
  if (given("never")) return ColorChoice::never;
  return given("always") ? ColorChoice::always : ColorChoice::automatic;
}

int report(const std::string& who, const Style& style, const std::string& what, int status) {
  write_message(style.red(who + ":") + " " + printable(what) + "\n");
  return status;
}

// "baleen run" once the command is known, so that every message says who speaks.
std::string speaker(const Words& words) {
  for (const Command& command : all_commands()) {
    if (!words.empty() && words[0] == command.name) return "baleen " + words[0];
  }
  return "baleen";
}

int run_program(const Words& words) {
  occupy_closed_streams();
  const std::string who = speaker(words);
  const Style style(2, color_choice(words));
  install_sigbus_handler(who);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is an error of the write that meets it
  try {
    const int status = dispatch(words);
    close_output();
    return status;
  } catch (const ClosedPipe&) {
    raise_again(SIGPIPE);
    return failed;
  } catch (const UsageError& error) {
    return report(who, style, error.what(), wrong_usage);
  } catch (const Error& error) {
    return report(who, style, error.what(), failed);
  } catch (const std::bad_alloc&) {
    return report(who, style, "out of memory", failed);
  } catch (const std::system_error& error) {
    return report(who, style, error.what(), failed);
  } catch (const std::exception& error) {
    return report(who, style, std::string("internal error: ") + error.what(), failed);
  }
}

}  // namespace
}  // namespace baleen::cmd

int main(int argc, char** argv) {
  return baleen::cmd::run_program({argv + std::min(argc, 1), argv + argc});
}
