#include "cmd/interactive.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/files.h"
#include "cmd/chat.h"
#include "cmd/line_editor.h"
#include "cmd/output.h"
#include "cmd/signals.h"
#include "cmd/terminal.h"
#include "error.h"
#include "report/output_file.h"
#include "report/printable.h"
#include "report/units.h"
#include "runtime/chat_command.h"
#include "runtime/conversation.h"
#include "runtime/thinking.h"

namespace baleen::cmd {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kKeys =
    "A line is a message. One that ends in a backslash goes on with the next; lines\n"
    "of \"\"\" enclose a block. Ctrl-C stops an answer, and gives up a line; Ctrl-D,\n"
    "or Ctrl-C twice, ends.\n";

// The first option given that means one prompt and its output; "" if there is none.
std::string single_prompt_option(const RunOptions& options) {
  if (options.ids) return "--ids";
  if (options.dry_run) return "--dry-run";
  if (options.echo) return "--echo";
  if (options.output) return "-o";
  if (options.prompt_cache) return "--prompt-cache";
  if (options.samples > 0) return "--samples";
  if (options.jsonl()) return "--format jsonl";
  if (options.request.logprobs) return "--logprobs";
  return options.request.n == 0 ? "-n 0" : "";
}

// As shells do: the prompt has no other way to name the home folder.
std::string expand_home(const std::string& file) {
  const char* const home = std::getenv("HOME");
  return home != nullptr && file.starts_with("~/") ? home + file.substr(1) : file;
}

std::string text_of(const Json& message) {
  const auto content = message.find("content");
  if (content == message.end()) return {};
  return content->is_string() ? content->get<std::string>() : content->dump(2);
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n") == text.npos;
}

std::string count_messages(const Json& messages) {
  return std::to_string(messages.size()) + (messages.size() == 1 ? " message" : " messages");
}

std::string describe(const std::string& name, std::size_t tokens, double seconds) {
  std::string text = name + " " + std::to_string(tokens) + " tokens in " + format_seconds(seconds);
  if (tokens > 0 && seconds > 0)
    text += ", " + format_fixed(static_cast<double>(tokens) / seconds, 1) + " tokens/s";
  return text;
}

std::string describe(const GenerateTimes& times) {
  return describe("prefill", times.prefilled_tokens, times.prefill_seconds) + ", " +
         std::to_string(times.shared_tokens) + " known from before; " +
         describe("decode", times.decoded_tokens, times.decode_seconds) + "\n";
}

class Dialogue {
 public:
  explicit Dialogue(const Chat& chat)
      : chat_(chat),
        conversation_(begin_conversation(chat.options)),
        editor_(default_history_file(), chat.options.color),
        style_(2, chat.options.color) {}

  void run();

 private:
  bool raw() const { return !chat_.maker.has_chat_template(); }
  const RunOptions& options() const { return chat_.options; }

  void greet() const;
  bool heeding_signals(const std::function<bool()>& work);
  bool take(const LineEditor::Input& input);
  bool give_up(const std::string& text);
  bool obey(const ChatCommand& command);
  void say(const std::string& text);
  void answer();
  void keep_answer(const Turn& turn, bool inside_thinking);
  void tell_why_it_ended(const Turn& turn, std::size_t prompt_tokens) const;
  bool has_room() const;
  bool waits_for_answer() const;
  Turn generate(const Prompt& prompt);
  void need_template(const std::string& what) const;

  void reset();
  void set_system(const std::string& text);
  void save(const std::string& file, bool overwrite) const;
  void load(const std::string& file);
  void print_stats() const;

  void note(const std::string& text) const {
    if (!options().quiet) write_message(text + "\n");
  }
  void complain(const std::string& what) const {
    write_message(style_.red("baleen run:") + " " + printable(what) + "\n");
  }

  const Chat& chat_;
  Conversation conversation_;
  ChatLines lines_;
  LineEditor editor_;
  Style style_;
  bool leaving_ = false;  // Ctrl-C at an empty prompt: another one ends
  std::size_t turns_ = 0;
  GenerateTimes last_, all_;
};

void Dialogue::run() {
  greet();
  bool goes_on = heeding_signals([this] {
    if (waits_for_answer()) answer();
    return true;
  });
  while (goes_on) {
    const LineEditor::Input input = editor_.read(lines_.unfinished() ? "." : ">");
    goes_on = heeding_signals([&] { return take(input); });
  }
}

// Until the next prompt the first Ctrl-C is for the answer, even if that has just ended by itself.
bool Dialogue::heeding_signals(const std::function<bool()>& work) {
  bool goes_on = false;
  {
    const SignalFlag flag;
    goes_on = work();
  }
  if (const int signal = SignalFlag::signal(); signal != 0 && signal != SIGINT) raise_again(signal);
  return goes_on;
}

void Dialogue::greet() const {
  if (options().quiet) return;
  write_message("Ctrl-D or /quit ends, /help tells the rest.\n");
  if (!raw()) return;
  write_message(std::string(options().raw ? "With --raw" : "This model has no chat template:") +
                " every message is a text of its own that the model goes on from; nothing is remembered.\n");
}

// False: this input ends the chat.
bool Dialogue::take(const LineEditor::Input& input) {
  using End = LineEditor::Input::End;
  if (input.end == End::end_of_input) return false;
  if (input.end == End::interrupt) return give_up(input.text);
  leaving_ = false;
  if (!lines_.push(input.text)) return true;
  try {
    return obey(lines_.take());
  } catch (const OutputError&) {
    throw;
  } catch (const Error& error) {
    complain(error.what());
  }
  return true;
}

// Ctrl-C at the prompt.
bool Dialogue::give_up(const std::string& text) {
  const bool nothing_to_give_up = text.empty() && !lines_.unfinished();
  lines_.clear();
  if (nothing_to_give_up && leaving_) return false;
  leaving_ = nothing_to_give_up;
  if (leaving_) note("Ctrl-C again ends, as Ctrl-D does.");
  return true;
}

bool Dialogue::obey(const ChatCommand& command) {
  using Kind = ChatCommand::Kind;
  switch (command.kind) {
    case Kind::message:
      if (!is_blank(command.argument)) say(command.argument);
      break;
    case Kind::reset:
      reset();
      break;
    case Kind::system:
      set_system(command.argument);
      break;
    case Kind::save:
      save(expand_home(command.argument), command.overwrite);
      break;
    case Kind::load:
      load(expand_home(command.argument));
      break;
    case Kind::stats:
      print_stats();
      break;
    case Kind::help:
      write_message(std::string(kKeys) + chat_command_help() +
                    "A message that begins with / takes two: //\n");
      break;
    case Kind::quit:
      return false;
  }
  return true;
}

void Dialogue::say(const std::string& text) {
  check_utf8(text, "the message");
  if (raw()) {
    const Prompt prompt = chat_.maker.from_text(text);
    const Turn turn = generate(prompt);
    tell_why_it_ended(turn, prompt.ids.size());
    return;
  }
  conversation_.messages.push_back(Json{{"role", "user"}, {"content", text}});
  answer();
}

bool Dialogue::waits_for_answer() const {
  if (conversation_.messages.empty()) return false;
  const Json& role = conversation_.messages.back().at("role");
  return role != "assistant" && role != "system";
}

// Answers the last message; one that cannot be answered is forgotten.
void Dialogue::answer() {
  try {
    const Prompt prompt = chat_.maker.from_conversation(conversation_);
    const Turn turn = generate(prompt);
    keep_answer(turn, prompt.inside_thinking);
    tell_why_it_ended(turn, prompt.ids.size());
  } catch (const OutputError&) {
    throw;
  } catch (const Error& error) {
    conversation_.messages.erase(conversation_.messages.size() - 1);
    complain(error.what());
  }
}

Turn Dialogue::generate(const Prompt& prompt) {
  if (prompt.ids.size() >= chat_.context) {
    throw Error(
        "the " + std::string(raw() ? "text" : "conversation") + " has " + std::to_string(prompt.ids.size()) +
        " tokens, which leaves no room for an answer: the context holds " + std::to_string(chat_.context) +
        (raw() ? "" : "\nthe message is not kept; /reset begins a new conversation"));
  }
  Turn turn = chat_.answer(prompt);
  last_ = turn.times;
  all_ += turn.times;
  ++turns_;
  return turn;
}

// Templates want the answer without its thinking, which those that show it take from reasoning_content.
void Dialogue::keep_answer(const Turn& turn, bool inside_thinking) {
  const Answer answer = split_thinking(turn.text, inside_thinking);
  if (turn.text.empty() && turn.finish_reason == FinishReason::cancelled) {
    conversation_.messages.erase(conversation_.messages.size() - 1);
    return;
  }
  Json message{{"role", "assistant"}, {"content", answer.text}};
  if (!answer.reasoning.empty()) message["reasoning_content"] = answer.reasoning;
  conversation_.messages.push_back(std::move(message));
}

void Dialogue::tell_why_it_ended(const Turn& turn, std::size_t prompt_tokens) const {
  if (turn.finish_reason == FinishReason::cancelled) {
    note(turn.text.empty() ? "Stopped: the message is not kept."
                           : (raw() ? "Stopped." : "Stopped: the answer is kept as far as it went."));
  } else if (turn.finish_reason == FinishReason::length && prompt_tokens + turn.tokens >= chat_.context) {
    const std::string context = "The context of " + std::to_string(chat_.context) + " tokens is full";
    note(context + (raw()        ? "."
                    : has_room() ? " with this answer; without its thinking there is room to go on."
                                 : ": /reset begins a new conversation."));
  } else if (turn.finish_reason == FinishReason::length) {
    note("The answer ends at " + std::to_string(turn.tokens) + " tokens: see -n.");
  }
}

// For another message: the next prompt has the conversation as the template renders it then, which most do
// without the thinking before.
bool Dialogue::has_room() const {
  Conversation next = conversation_;
  next.messages.push_back(Json{{"role", "user"}, {"content", ""}});
  try {
    return chat_.maker.from_conversation(next).ids.size() < chat_.context;
  } catch (const Error&) {
    return false;
  }
}

void Dialogue::need_template(const std::string& what) const {
  if (!raw()) return;
  throw UsageError(what + " needs a chat template" +
                   (options().raw ? ", which --raw leaves out" : ": this model has none"));
}

void Dialogue::reset() {
  Json& messages = conversation_.messages;
  const bool system = begins_with_system(conversation_);
  messages.erase(messages.begin() + (system ? 1 : 0), messages.end());
  note(system ? "A new conversation; the system message stays." : "A new conversation.");
}

void Dialogue::set_system(const std::string& text) {
  need_template("/system");
  Json& messages = conversation_.messages;
  const bool is_set = begins_with_system(conversation_);
  if (text.empty()) {
    write_message((is_set ? text_of(messages.front()) : "There is no system message.") + "\n");
    return;
  }
  check_utf8(text, "the system message");
  if (is_set) messages.erase(messages.begin());
  messages.insert(messages.begin(), Json{{"role", "system"}, {"content", text}});
  note(messages.size() > 1
           ? "The conversation goes on with this system message; /reset would begin a new one."
           : "The system message is set.");
}

void Dialogue::save(const std::string& file, bool overwrite) const {
  need_template("/save");
  if (!overwrite && path_exists(file)) throw Error(file + ": exists; /save! writes over it");
  NewFile out(file, overwrite);
  out.write(write_conversation(conversation_));
  out.commit();
  note(count_messages(conversation_.messages) + " in " + file);
}

void Dialogue::load(const std::string& file) {
  need_template("/load");
  Conversation loaded = read_messages(file == "-" ? "./-" : file);  // standard input is the terminal
  set_template_vars(options(), loaded);
  conversation_ = std::move(loaded);
  note(count_messages(conversation_.messages) + " from " + file);
  if (waits_for_answer()) answer();
}

void Dialogue::print_stats() const {
  std::string text;
  if (!raw()) {
    const Json& messages = conversation_.messages;
    const std::size_t tokens = messages.empty() ? 0 : chat_.maker.from_conversation(conversation_).ids.size();
    text += "conversation  " + count_messages(messages) + ", " + std::to_string(tokens) + " tokens; " +
            std::to_string(chat_.context - std::min(tokens, chat_.context)) + " of the context's " +
            std::to_string(chat_.context) + " are left\n";
  }
  if (turns_ > 0) {
    text += "last answer   " + describe(last_) + "all answers   " + describe(all_);
  }
  write_message(text);
}

}  // namespace

bool asks_for_chat(const RunOptions& options) {
  if (options.prompt || options.file || options.batch || !is_terminal(0)) return false;
  const std::string option = single_prompt_option(options);
  if (options.messages) return *options.messages != "-" && option.empty() && is_terminal(1);
  if (option.empty()) return true;
  throw UsageError("no prompt, and " + option +
                   " has no place in a chat\n"
                   "give a prompt as an argument, with -f FILE, or through a pipe");
}

void interact(const Chat& chat) {
  Dialogue(chat).run();
}

}  // namespace baleen::cmd
