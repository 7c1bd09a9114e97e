#include "cmd/prompt.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>

#include "checkpoint/files.h"
#include "error.h"
#include "tokenizer/unicode.h"

namespace baleen::cmd {
namespace {

// More than any context holds: reading /dev/zero must end.
constexpr std::size_t longest_prompt = std::size_t{256} << 20U;

std::string read_all(int fd, const std::string& name) {
  std::string text;
  std::vector<char> buffer(std::size_t{1} << 16U);
  while (true) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error(name, "", errno);
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    if (text.size() > longest_prompt) throw Error(name + ": longer than 256 MiB: no prompt can be that long");
  }
}

std::string read_file(const std::string& name) {
  if (name == "-") return read_all(STDIN_FILENO, "standard input");
  const FileDescriptor file(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw_system_error(name, "", errno);
  return read_all(file.get(), name);
}

void drop_final_newline(std::string& text) {
  if (!text.ends_with('\n')) return;
  text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
}

void check_utf8(const std::string& text) {
  if (unicode::is_valid(text)) return;
  std::size_t bad = 0;  // where the first character begins that is none
  while (unicode::is_valid(std::string_view(text).substr(bad, unicode::length(text[bad])))) {
    bad += unicode::length(text[bad]);
  }
  throw Error("the prompt is not UTF-8 text: byte " + std::to_string(bad + 1) +
              " does not fit; iconv can convert it");
}

}  // namespace

void check_prompt_source(const RunOptions& options) {
  if (options.prompt || options.file || !is_terminal(STDIN_FILENO)) return;
  throw UsageError(
      "no prompt: interactive chat is not in this version of baleen\n"
      "give a prompt as an argument, with -f FILE, or through a pipe");
}

std::string read_prompt(const RunOptions& options) {
  std::string text;
  if (options.file || !options.prompt) {
    text = read_file(options.file.value_or("-"));
    if (!options.raw) drop_final_newline(text);
    if (options.prompt) text += "\n" + *options.prompt;
  } else {
    text = *options.prompt;
  }
  check_utf8(text);
  return text;
}

std::vector<TokenId> parse_ids(std::string_view text) {
  constexpr std::string_view white_space = " \t\r\n\v\f";
  std::vector<TokenId> ids;
  for (std::size_t at = text.find_first_not_of(white_space); at != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(white_space, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    TokenId id = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error == std::errc::result_out_of_range) {
      throw Error("token id " + std::string(word) + " at place " + std::to_string(ids.size() + 1) +
                  " of the prompt is out of range");
    }
    if (error != std::errc() || stop != word.data() + word.size()) {
      throw Error("'" + std::string(word.substr(0, 40)) + "' at place " + std::to_string(ids.size() + 1) +
                  " of the prompt is no token id: --ids takes whole numbers separated by white space");
    }
    ids.push_back(id);
    at = text.find_first_not_of(white_space, end);
  }
  return ids;
}

Prompt make_prompt(const RunOptions& options, const Tokenizer* tokenizer) {
  Prompt prompt{.text = read_prompt(options), .ids = {}};
  if (!options.ids) {
    const auto start = std::chrono::steady_clock::now();
    prompt.ids = tokenizer->encode(prompt.text, Tokenizer::SpecialTokens::add);
    prompt.tokenize_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return prompt;
  }
  prompt.ids = parse_ids(prompt.text);
  prompt.text = tokenizer ? tokenizer->decode(prompt.ids) : "";
  return prompt;
}

}  // namespace baleen::cmd
