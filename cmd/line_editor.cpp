#include "cmd/line_editor.h"

#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cwchar>
#include <utility>

#include "cmd/signals.h"
#include "error.h"

namespace baleen::cmd {
namespace {

namespace fs = std::filesystem;

constexpr int history_lines = 1000;

// Bracketed paste: a terminal puts marks around what is pasted, so that its newlines can be told from Enter.
constexpr std::string_view paste_on = "\x1b[?2004h";
constexpr std::string_view paste_off = "\x1b[?2004l";
constexpr const char* paste_begins = "\x1b[200~";
constexpr std::string_view paste_ends = "\x1b[201~";

// Around what of a prompt takes no room on the screen.
constexpr char escape_mark = '\1';

// The terminal by its name, as standard input may be open for reading only.
std::FILE* open_screen() {
  const char* const name = ::ttyname(STDIN_FILENO);
  int fd = name == nullptr ? -1 : ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) fd = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
  std::FILE* const screen = fd < 0 ? nullptr : ::fdopen(fd, "r+");
  if (screen == nullptr) throw Error("the terminal of standard input cannot be opened for writing");
  return screen;
}

// Text is UTF-8 here, whatever the environment says.
void choose_characters() {
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(::nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

void print(std::FILE* screen, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), screen);
  std::fflush(screen);
}

std::string utf8(wchar_t character) {
  std::array<char, MB_LEN_MAX> bytes = {};
  std::mbstate_t state = {};
  const std::size_t count = std::wcrtomb(bytes.data(), character, &state);
  return count == static_cast<std::size_t>(-1) ? std::string() : std::string(bytes.data(), count);
}

}  // namespace

struct LineEditor::Keys {
  static LineEditor& self(EditLine* editor) {
    void* data = nullptr;
    el_get(editor, EL_CLIENTDATA, &data);
    return *static_cast<LineEditor*>(data);
  }

  static char* prompt(EditLine* editor) { return self(editor).prompt_.data(); }

  // Ends the line as Enter does, so that libedit leaves the cursor below all of it.
  static unsigned char interrupt(EditLine* editor, int) {
    self(editor).interrupted_ = true;
    el_push(editor, "\n");
    return CC_NORM;
  }

  // What the terminal does with Ctrl-Z where a program does not take the keys itself.
  static unsigned char suspend(EditLine* editor, int) {
    std::FILE* const screen = self(editor).screen_.get();
    if (!is_dumb()) print(screen, paste_off);
    el_set(editor, EL_PREP_TERM, 0);
    ::kill(0, SIGTSTP);
    el_set(editor, EL_PREP_TERM, 1);
    if (!is_dumb()) print(screen, paste_on);
    return CC_REDISPLAY;
  }

  static unsigned char paste(EditLine* editor, int) {
    std::string text;
    while (!text.ends_with(paste_ends)) {
      wchar_t character = 0;
      if (el_wgetc(editor, &character) != 1) return CC_EOF;
      text += character == L'\r' ? "\n" : utf8(character);  // terminals send Enter for a newline
    }
    text.resize(text.size() - paste_ends.size());
    if (text.ends_with('\n')) text.pop_back();
    return el_insertstr(editor, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }
};

LineEditor::LineEditor(fs::path history_file, ColorChoice color)
    : history_file_(std::move(history_file)),
      screen_(open_screen(), std::fclose),
      style_(::fileno(screen_.get()), color),
      history_(history_init(), history_end),
      editor_(nullptr, el_end) {
  choose_characters();
  editor_.reset(el_init("baleen", stdin, screen_.get(), screen_.get()));
  if (!history_ || !editor_) throw Error("the line editor cannot be set up: out of memory?");
  EditLine* const editor = editor_.get();
  el_set(editor, EL_CLIENTDATA, this);
  el_set(editor, EL_PROMPT_ESC, &Keys::prompt, escape_mark);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_HIST, ::history, history_.get());
  HistEvent event;
  ::history(history_.get(), &event, H_SETSIZE, history_lines);
  ::history(history_.get(), &event, H_SETUNIQUE, 1);  // the same line twice in a row is kept once
  // Ctrl-C and Ctrl-Z come as keys, not as signals, while a line is edited.
  el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
  // Wide: of other characters libedit keeps copies that it never frees.
  el_wset(editor, EL_ADDFN, L"baleen-interrupt", L"give up this line", &Keys::interrupt);
  el_wset(editor, EL_ADDFN, L"baleen-suspend", L"suspend the program", &Keys::suspend);
  el_wset(editor, EL_ADDFN, L"baleen-paste", L"insert what is pasted", &Keys::paste);
  el_source(editor, nullptr);  // ~/.editrc: the user's own keys
  el_set(editor, EL_BIND, "^C", "baleen-interrupt", nullptr);
  el_set(editor, EL_BIND, "^Z", "baleen-suspend", nullptr);
  el_set(editor, EL_BIND, paste_begins, "baleen-paste", nullptr);
  load_history();
}

LineEditor::~LineEditor() = default;

// Escape sequences between marks. libedit wants a visible character behind the last one: a space.
std::string LineEditor::decorated(std::string_view prompt) const {
  if (!style_.colored()) return std::string(prompt) + " ";
  const std::string mark(1, escape_mark);
  return mark + style_.green(mark + std::string(prompt) + mark) + mark + " ";
}

LineEditor::Input LineEditor::read(std::string_view prompt) {
  prompt_ = decorated(prompt);
  interrupted_ = false;
  const std::string_view farewell = is_dumb() ? "" : paste_off;
  const TerminalGuard guard(::fileno(screen_.get()), farewell);
  el_set(editor_.get(), EL_PREP_TERM,
         1);  // libedit would draw the prompt first: a key in between was a signal
  if (!is_dumb()) print(screen_.get(), paste_on);
  int count = 0;
  const char* const line = el_gets(editor_.get(), &count);
  const bool ended = line == nullptr || count <= 0;
  print(screen_.get(), ended ? std::string(farewell) + "\n" : farewell);
  if (ended) return {.end = Input::End::end_of_input, .text = {}};
  Input input{.end = interrupted_ ? Input::End::interrupt : Input::End::line, .text = line};
  if (input.text.ends_with('\n')) input.text.pop_back();
  if (!interrupted_) remember(input.text);
  return input;
}

// Only a history, or an empty file: whatever else the name stands for is left alone.
void LineEditor::load_history() {
  constexpr std::uintmax_t most_bytes = std::uintmax_t{64} << 20U;
  if (history_file_.empty()) return;
  std::error_code error;
  const fs::file_status status = fs::status(history_file_, error);
  if (!fs::exists(status)) return;
  const bool plain = fs::is_regular_file(status);
  const std::uintmax_t bytes = plain ? fs::file_size(history_file_, error) : 0;
  HistEvent event;
  const auto load = [&] { return ::history(history_.get(), &event, H_LOAD, history_file_.c_str()) >= 0; };
  const bool ours = plain && (bytes == 0 || (bytes <= most_bytes && load()));
  if (!ours) history_file_.clear();
}

// Written with every line, as no signal leaves time for it at the end.
void LineEditor::remember(const std::string& line) {
  if (line.find_first_not_of(" \t\n") == line.npos) return;
  HistEvent event;
  ::history(history_.get(), &event, H_ENTER, line.c_str());
  if (history_file_.empty()) return;
  std::error_code error;
  fs::create_directories(history_file_.parent_path(), error);
  ::history(history_.get(), &event, H_SAVE, history_file_.c_str());  // with mode 0600
}

fs::path default_history_file() {
  if (const char* const file = std::getenv("BALEEN_HISTORY")) return file;
  const char* const state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && fs::path(state).is_absolute()) return fs::path(state) / "baleen" / "history";
  const char* const home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return {};
  return fs::path(home) / ".local" / "state" / "baleen" / "history";
}

}  // namespace baleen::cmd
