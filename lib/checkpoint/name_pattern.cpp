#include "checkpoint/name_pattern.h"

#include <algorithm>
#include <array>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "error.h"

namespace baleen {

namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};

std::string message(int error) {
  std::array<PCRE2_UCHAR, 128> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct NamePattern::Code {
  std::string text;
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> context;
};

NamePattern::NamePattern(std::string_view pattern) : code_(std::make_unique<Code>()) {
  constexpr std::size_t max_pattern = 4096;
  constexpr std::uint32_t max_steps = 100'000;
  constexpr std::uint32_t max_heap_kib = 1024;
  code_->text = pattern.substr(0, 80);
  if (pattern.size() > max_pattern)
    throw Error("re:" + code_->text + "...: a pattern of " + std::to_string(pattern.size()) + " bytes");
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_ANCHORED | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP, &error, &offset,
                                  nullptr));
  if (code_->code == nullptr)
    throw Error("re:" + code_->text + ": not a regular expression: " + message(error) + " at " +
                std::to_string(offset));
  pcre2_jit_compile(code_->code.get(), PCRE2_JIT_COMPLETE);  // without it matching only is slower
  code_->context.reset(pcre2_match_context_create(nullptr));
  if (code_->context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(code_->context.get(), max_steps);
  pcre2_set_heap_limit(code_->context.get(), max_heap_kib);
}

NamePattern::NamePattern(NamePattern&&) noexcept = default;
NamePattern& NamePattern::operator=(NamePattern&&) noexcept = default;
NamePattern::~NamePattern() = default;

bool NamePattern::matches(std::string_view name) const {
  const std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>> data(
      pcre2_match_data_create_from_pattern(code_->code.get(), nullptr));
  if (data == nullptr) throw std::bad_alloc();
  const int result = pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0,
                                 0, data.get(), code_->context.get());
  if (result < 0 && result != PCRE2_ERROR_NOMATCH)
    throw Error("re:" + code_->text + ": cannot be matched with " + std::string(name) + ": " +
                message(result));
  return result >= 0;
}

NameList::NameList(const std::vector<std::string>& entries) {
  for (const std::string& entry : entries) {
    if (entry.starts_with(pattern_mark))
      patterns_.emplace_back(std::string_view(entry).substr(pattern_mark.size()));
    else
      names_.insert(entry);
  }
}

bool NameList::names_exactly(std::string_view name) const {
  return names_.find(name) != names_.end();
}

bool NameList::contains(std::string_view name) const {
  return names_exactly(name) ||
         std::any_of(patterns_.begin(), patterns_.end(),
                     [&](const NamePattern& pattern) { return pattern.matches(name); });
}

bool NameList::contains_or_parent(std::string_view name) const {
  if (names_.empty()) return false;
  for (std::size_t end = name.size(); end != name.npos; end = end == 0 ? name.npos : name.rfind('.', end - 1))
    if (names_exactly(name.substr(0, end))) return true;
  return false;
}

}  // namespace baleen
