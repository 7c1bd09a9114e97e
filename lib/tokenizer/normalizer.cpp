#include "tokenizer/normalizer.h"

#include "tokenizer/byte_level.h"

namespace baleen {
namespace {

std::string strip(std::string_view text, normalize::Strip sides) {
  std::size_t begin = text.size(), end = 0;  // around everything that is no white space
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t here = at;
    if (unicode::is_space(unicode::next(text, at))) continue;
    begin = std::min(begin, here);
    end = at;
  }
  if (begin == text.size()) return {};
  if (!sides.left) begin = 0;
  if (!sides.right) end = text.size();
  return std::string(text.substr(begin, end - begin));
}

struct Apply {
  std::string_view text;
  Growth& growth;

  std::string operator()(unicode::Form form) const { return unicode::normalize(text, form); }
  std::string operator()(const normalize::Prepend& step) const {
    return text.empty() ? std::string() : step.text + std::string(text);
  }
  std::string operator()(const normalize::Replace& step) const {
    Matcher matcher(step.pattern);
    return replace_all(text, matcher, step.content, growth);
  }
  std::string operator()(const normalize::Strip& step) const {
    return step.left || step.right ? strip(text, step) : std::string(text);
  }
  std::string operator()(normalize::Lowercase) const { return unicode::lowercase(text); }
  std::string operator()(normalize::ByteLevel) const {
    std::string out;
    to_byte_level(text, out);
    return out;
  }
};

}  // namespace

std::string Normalizer::operator()(std::string_view text) const {
  std::string result(text);
  Growth growth("normalizer", text.size());
  for (const NormalizeStep& step : steps_) {
    const std::size_t before = result.size();
    result = std::visit(Apply{result, growth}, step);
    if (!std::holds_alternative<normalize::Replace>(step)) growth.change(before, result.size());
  }
  return result;
}

std::string replace_all(std::string_view text, Matcher& pattern, std::string_view content, Growth& growth) {
  if (text.empty()) return {};  // where even a pattern that matches nothing at all finds no match
  std::string out;
  std::size_t done = 0;
  pattern.for_each(text, [&](std::size_t begin, std::size_t end) {
    growth.change(end - begin, content.size());
    out += text.substr(done, begin - done);
    out += content;
    done = end;
  });
  out += text.substr(done);
  return out;
}

}  // namespace baleen
