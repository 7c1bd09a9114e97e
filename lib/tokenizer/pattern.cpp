#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pattern.h"

#include <pcre2.h>

#include <stdexcept>

#include "error.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

// The largest stack that the compiled matcher may take; it grows as needed from 64 KiB.
constexpr std::size_t kMaxJitStack = std::size_t{64} << 20;

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};
template <typename T>
using Handle = std::unique_ptr<T, Free>;

PCRE2_SPTR bytes(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

std::string message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Pattern::Code {
  Handle<pcre2_code> program;
  bool jit = false;

  Code(std::string_view pattern, std::uint32_t options) {
    const Handle<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
    if (!context) throw std::bad_alloc();
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context.get(), 100);
    int error = 0;
    std::size_t offset = 0;
    program.reset(
        pcre2_compile(bytes(pattern), pattern.size(), options | PCRE2_UTF, &error, &offset, context.get()));
    if (!program)
      throw std::invalid_argument(message(error) + " (as translated: " + std::string(pattern) + ")");
    // Without JIT (a hardened system may forbid writable code) the interpreter does the same, slower.
    jit = pcre2_jit_compile(program.get(), PCRE2_JIT_COMPLETE) == 0;
  }
};

Pattern Pattern::regex(std::string_view oniguruma) {
  const std::string pattern = translate_pattern(oniguruma);
  return Pattern(
      std::make_shared<const Code>(pattern, PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C));
}

Pattern Pattern::literal(std::string_view text) {
  return Pattern(std::make_shared<const Code>(text, PCRE2_LITERAL));
}

struct Matcher::State {
  Handle<pcre2_match_data> match{pcre2_match_data_create(1, nullptr)};
  Handle<pcre2_match_context> context{pcre2_match_context_create(nullptr)};
  Handle<pcre2_jit_stack> stack;
};

Matcher::Matcher(const Pattern& pattern) : code_(pattern.code_), state_(std::make_unique<State>()) {
  if (!state_->match || !state_->context) throw std::bad_alloc();
}

Matcher::~Matcher() = default;

std::size_t Matcher::character_at(std::string_view text, std::size_t at) {
  return at < text.size() ? unicode::length(text[at]) : 1;
}

// The 32 KiB that JIT code takes from the machine stack did not do: give it more, and after that let the
// interpreter try, whose memory is on the heap.
int Matcher::find_with_stack(std::string_view text, std::size_t from) {
  if (!state_->stack) {
    state_->stack.reset(pcre2_jit_stack_create(std::size_t{64} << 10, kMaxJitStack, nullptr));
    if (!state_->stack) throw std::bad_alloc();
    pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
  }
  const auto* program = code_->program.get();
  const int found =
      pcre2_jit_match(program, bytes(text), text.size(), from, 0, state_->match.get(), state_->context.get());
  if (found != PCRE2_ERROR_JIT_STACKLIMIT) return found;
  return pcre2_match(program, bytes(text), text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                     state_->match.get(), state_->context.get());
}

bool Matcher::find(std::string_view text, std::size_t from, std::size_t& begin, std::size_t& end) {
  int found = 0;
  const auto* program = code_->program.get();
  if (code_->jit) {
    found = pcre2_jit_match(program, bytes(text), text.size(), from, 0, state_->match.get(),
                            state_->context.get());
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = find_with_stack(text, from);
  } else {
    found = pcre2_match(program, bytes(text), text.size(), from, PCRE2_NO_UTF_CHECK, state_->match.get(),
                        state_->context.get());
  }
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) throw Error("the tokenizer's pattern gave up on this text: " + message(found));
  const std::size_t* bounds = pcre2_get_ovector_pointer(state_->match.get());
  begin = bounds[0];
  end = bounds[1];
  if (begin < from || end < begin)
    throw Error("the tokenizer's pattern matched backwards (\\K in a lookahead)");
  return true;
}

}  // namespace baleen
