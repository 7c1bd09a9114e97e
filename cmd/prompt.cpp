#include "cmd/prompt.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "checkpoint/files.h"
#include "cmd/chat.h"
#include "error.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/unicode.h"

namespace baleen::cmd {
namespace {

// More than any context holds: reading /dev/zero must end.
constexpr std::size_t longest_prompt = std::size_t{256} << 20U;

std::string read_all(int fd, const std::string& name, std::size_t most_bytes) {
  std::string text;
  std::vector<char> buffer(std::size_t{1} << 16U);
  while (true) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error(name, "", errno);
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    if (text.size() > most_bytes) {
      throw Error(name + ": longer than " + std::to_string(most_bytes >> 20U) +
                  " MiB: no prompt can be that long");
    }
  }
}

void drop_final_newline(std::string& text) {
  if (!text.ends_with('\n')) return;
  text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
}

}  // namespace

std::string input_name(const std::string& name) {
  return name == "-" ? "standard input" : name;
}

std::string read_input(const std::string& name, std::size_t most_bytes) {
  if (name == "-") return read_all(STDIN_FILENO, "standard input", most_bytes);
  const FileDescriptor file(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw_system_error(name, "", errno);
  return read_all(file.get(), name, most_bytes);
}

void check_utf8(const std::string& text, const std::string& what) {
  if (unicode::is_valid(text)) return;
  std::size_t bad = 0;  // where the first character begins that is none
  while (unicode::is_valid(std::string_view(text).substr(bad, unicode::length(text[bad])))) {
    bad += unicode::length(text[bad]);
  }
  throw Error(what + " is not UTF-8 text: byte " + std::to_string(bad + 1) +
              " does not fit; iconv can convert it");
}

std::string read_prompt(const RunOptions& options) {
  std::string text;
  if (options.file || !options.prompt) {
    const std::string file = options.file.value_or("-");
    text = read_input(file, longest_prompt);
    check_utf8(text, input_name(file) + ": the prompt");
    if (!options.raw) drop_final_newline(text);
  }
  if (!options.prompt) return text;
  check_utf8(*options.prompt, "the prompt");
  return options.file ? text + "\n" + *options.prompt : *options.prompt;
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

PromptMaker prompt_maker(const RunOptions& options, const std::filesystem::path& folder,
                         const Tokenizer* tokenizer) {
  if (options.ids || options.raw) return {{}, tokenizer};
  PromptMaker maker(find_chat_templates(folder, *tokenizer), tokenizer);
  if (const std::string option = chat_option(options); !maker.has_chat_template() && !option.empty()) {
    throw UsageError(folder.string() + ": this model has no chat template, which " + option +
                     " needs\nit goes on from a text as it is: write all of it into the prompt");
  }
  return maker;
}

Prompt make_prompt(const RunOptions& options, PromptMaker& maker) {
  if (options.ids) return maker.from_ids(parse_ids(read_prompt(options)));
  if (maker.has_chat_template()) return maker.from_conversation(read_conversation(options));
  return maker.from_text(read_prompt(options));
}

}  // namespace baleen::cmd
