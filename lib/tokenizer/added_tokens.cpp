#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace baleen {
namespace {

std::uint64_t edge(std::uint32_t node, char byte) {
  return std::uint64_t{node} << 8 | static_cast<unsigned char>(byte);
}

// Where the last character of text[0, end) begins.
std::size_t last_character(std::string_view text, std::size_t end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

char32_t character(std::string_view text, std::size_t at) {
  return unicode::next(text, at);
}

std::size_t space_begin(std::string_view text, std::size_t end, std::size_t floor) {
  while (end > floor) {
    const std::size_t previous = last_character(text, end);
    if (!unicode::is_space(character(text, previous))) break;
    end = previous;
  }
  return std::max(end, floor);
}

std::size_t space_end(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    std::size_t after = begin;
    if (!unicode::is_space(unicode::next(text, after))) break;
    begin = after;
  }
  return begin;
}

}  // namespace

bool TokenMatcher::add(const AddedToken& token) {
  std::uint32_t node = 0;
  for (const char byte : token.matched) {
    const auto [found, is_new] =
        edges_.try_emplace(edge(node, byte), static_cast<std::uint32_t>(ends_.size()));
    if (is_new) ends_.push_back(kNone);
    node = found->second;
  }
  if (ends_[node] != kNone) return false;
  ends_[node] = static_cast<std::uint32_t>(tokens_.size());
  begins_[static_cast<unsigned char>(token.matched[0])] = true;
  tokens_.push_back(token);
  return true;
}

std::uint32_t TokenMatcher::longest(std::string_view text, std::size_t at, std::size_t& end) const {
  std::uint32_t node = 0, best = kNone;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto next = edges_.find(edge(node, text[i]));
    if (next == edges_.end()) break;
    node = next->second;
    if (ends_[node] != kNone) {
      best = ends_[node];
      end = i + 1;
    }
  }
  return best;
}

bool TokenMatcher::is_single_word(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && unicode::is_word(character(text, last_character(text, begin)))) return false;
  return end == text.size() || !unicode::is_word(character(text, end));
}

// The search goes on behind each match as it was found. What rstrip takes in addition does not move it, so
// tokens may overlap; what lstrip takes stops at the previous token. With lstrip a token may lie wholly in
// what the previous one took: it is left out, as empty segments are, and where it ends before that (the
// reference stops with an error then) nothing is taken twice.
void TokenMatcher::split(std::string_view text, bool at_start, std::vector<Segment>& out) const {
  std::size_t done = 0, space = 0;  // where the run of white space ends that rstrip took last
  const auto emit_text = [&](std::size_t end) {
    if (done < end) out.push_back({text.substr(done, end - done), kNoToken, at_start && done == 0});
  };
  for (std::size_t at = 0; !tokens_.empty() && at < text.size();) {
    std::size_t end = at;
    const std::uint32_t found =
        begins_[static_cast<unsigned char>(text[at])] ? longest(text, at, end) : kNone;
    if (found == kNone) {
      ++at;
      continue;
    }
    const std::size_t match_end = end;
    const AddedToken& token = tokens_[found];
    if (!token.single_word || is_single_word(text, at, end)) {
      const std::size_t begin = token.lstrip ? std::max(space_begin(text, at, std::min(done, at)), done) : at;
      if (token.rstrip) end = space = end < space ? space : space_end(text, end);
      emit_text(begin);
      if (begin < end) out.push_back({{}, token.id, false});
      done = token.lstrip ? std::max(begin, end) : end;
    }
    at = match_end;
  }
  emit_text(text.size());
}

}  // namespace baleen
