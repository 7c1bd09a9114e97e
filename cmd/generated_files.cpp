// `baleen --generate WHAT OUT [IN]`, which the build calls: the files that are made from the options'
// definitions. WHAT is bash, zsh or fish for a completion, or man for a man page out of the prose IN, whose
// name tells the command: baleen-run.1.in.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "cmd/commands.h"
#include "cmd/completions.h"
#include "cmd/help.h"
#include "error.h"

namespace baleen::cmd {
namespace {

std::string man_page_from(const std::filesystem::path& prose, const std::vector<Command>& commands) {
  std::ifstream in(prose, std::ios::binary);
  if (!in) throw Error(prose.string() + ": cannot be read");
  std::string page{std::istreambuf_iterator<char>(in), {}};
  for (const Command& command : commands) {
    if (prose.filename() == "baleen-" + std::string(command.name) + ".1.in") {
      return man_page(std::move(page), &command, commands);
    }
  }
  return man_page(std::move(page), nullptr, commands);
}

std::string content(const std::vector<std::string>& words) {
  const std::vector<Command> commands = all_commands();
  const std::string& what = words[0];
  if (what == "bash") return bash_completion(commands);
  if (what == "zsh") return zsh_completion(commands);
  if (what == "fish") return fish_completion(commands);
  if (what == "man" && words.size() == 3) return man_page_from(words[2], commands);
  throw UsageError("--generate " + what + ": unknown kind of file");
}

}  // namespace

int generate_file(const std::vector<std::string>& words) {
  if (words.size() < 2) throw UsageError("--generate needs WHAT OUT [IN]");
  const std::string text = content(words);
  std::ofstream out(words[1], std::ios::binary);
  out << text;
  out.close();
  if (!out) throw Error(words[1] + ": cannot be written");
  return 0;
}

}  // namespace baleen::cmd
