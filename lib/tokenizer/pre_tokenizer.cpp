#include "tokenizer/pre_tokenizer.h"

#include <utility>

#include "tokenizer/byte_level.h"
#include "tokenizer/growth.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

struct Piece {
  std::size_t begin, end;
  bool match;
};

// Cuts a text into matches and what is between them, then joins or drops them as the behavior says.
class Splitter {
 public:
  Splitter(SplitBehavior behavior, bool invert) : behavior_(behavior), invert_(invert) {}

  void start() {
    pieces_.clear();
    done_ = 0;
  }

  void match(std::size_t begin, std::size_t end) {
    if (done_ != begin) pieces_.push_back({done_, begin, invert_});
    pieces_.push_back({begin, end, !invert_});
    done_ = end;
  }

  void finish(const Segment& word, std::vector<Segment>& out) {
    if (done_ != word.text.size()) pieces_.push_back({done_, word.text.size(), invert_});
    join();
    for (const Piece& piece : pieces_) {
      if (piece.begin == piece.end || (behavior_ == SplitBehavior::removed && piece.match)) continue;
      out.push_back({word.text.substr(piece.begin, piece.end - piece.begin), kNoToken,
                     word.at_start && piece.begin == 0});
    }
  }

 private:
  void join() {
    switch (behavior_) {
      case SplitBehavior::removed:
      case SplitBehavior::isolated:
        return;
      case SplitBehavior::contiguous:
        return join_if([](bool is_match, bool previous) { return is_match == previous; });
      case SplitBehavior::merged_with_previous:
        return join_if([](bool is_match, bool previous) { return is_match && !previous; });
      case SplitBehavior::merged_with_next:
        return join_next();
    }
  }

  // Appends a piece to the one before it where `joins` says so; before the first there is no match.
  template <typename Joins>
  void join_if(Joins joins) {
    bool previous = false;
    std::size_t count = 0;
    for (const Piece piece : pieces_) {  // a copy: the place it came from is written below
      if (count > 0 && joins(piece.match, previous)) {
        pieces_[count - 1].end = piece.end;
      } else {
        pieces_[count++] = {piece.begin, piece.end, false};
      }
      previous = piece.match;
    }
    pieces_.resize(count);
  }

  // The mirror image of merged_with_previous, from the end.
  void join_next() {
    bool following = false;
    std::size_t first = pieces_.size();
    for (std::size_t i = pieces_.size(); i-- > 0;) {
      const Piece piece = pieces_[i];
      if (first < pieces_.size() && piece.match && !following) {
        pieces_[first].begin = piece.begin;
      } else {
        pieces_[--first] = {piece.begin, piece.end, false};
      }
      following = piece.match;
    }
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first));
  }

  SplitBehavior behavior_;
  bool invert_;
  std::vector<Piece> pieces_;
  std::size_t done_ = 0;
};

// Runs split(word, out) on every word that is text.
template <typename SplitWord>
void split_words(Words& words, SplitWord&& split) {
  std::vector<Segment> out;
  out.reserve(words.list.size());
  for (const Segment& word : words.list) {
    if (word.token != kNoToken) {
      out.push_back(word);
    } else {
      split(word, out);
    }
  }
  words.list = std::move(out);
}

void split_by_pattern(Words& words, const Pattern& pattern, SplitBehavior behavior, bool invert) {
  Matcher matcher(pattern);
  Splitter splitter(behavior, invert);
  split_words(words, [&](const Segment& word, std::vector<Segment>& out) {
    splitter.start();
    matcher.for_each(word.text, [&](std::size_t begin, std::size_t end) { splitter.match(begin, end); });
    splitter.finish(word, out);
  });
}

// Every character that `is_match` accepts is a match.
template <typename IsMatch>
void split_by_character(Words& words, IsMatch is_match, SplitBehavior behavior) {
  Splitter splitter(behavior, false);
  split_words(words, [&](const Segment& word, std::vector<Segment>& out) {
    splitter.start();
    for (std::size_t at = 0; at < word.text.size();) {
      const std::size_t begin = at;
      if (is_match(unicode::next(word.text, at))) splitter.match(begin, at);
    }
    splitter.finish(word, out);
  });
}

// Runs of word characters, and runs of what is neither that nor white space.
void split_whitespace(Words& words) {
  const auto kind = [](char32_t c) { return unicode::is_word(c) ? 1 : unicode::is_space(c) ? 0 : 2; };
  split_words(words, [&](const Segment& word, std::vector<Segment>& out) {
    std::size_t begin = 0;
    int current = 0;
    const auto flush = [&](std::size_t end) {
      if (current != 0)
        out.push_back({word.text.substr(begin, end - begin), kNoToken, word.at_start && begin == 0});
      begin = end;
    };
    for (std::size_t at = 0; at < word.text.size();) {
      const std::size_t here = at;
      const int k = kind(unicode::next(word.text, at));
      if (k != current) flush(here);
      current = k;
    }
    flush(word.text.size());
  });
}

// A run is counted from the last boundary or the last change between white space and the rest, so a piece may
// hold many short runs.
void cut_long(Words& words, const pretokenize::Cut& step) {
  split_words(words, [&](const Segment& word, std::vector<Segment>& out) {
    std::size_t begin = 0, piece = 0, run = 0;  // where the piece begins; characters of it, and of the run
    bool in_space = false;
    const auto emit = [&](std::size_t end) {
      out.push_back({word.text.substr(begin, end - begin), kNoToken, word.at_start && begin == 0});
      begin = end;
    };
    if (word.text.size() <= step.run) return emit(word.text.size());
    for (std::size_t at = 0; at < word.text.size(); ++piece) {
      const std::size_t here = at;
      const bool is_space = unicode::is_python_space(unicode::next(word.text, at));
      run = is_space == in_space ? run + 1 : 1;
      in_space = is_space;
      if (piece == step.piece || run > step.run) {
        emit(here);
        if (piece == step.piece) piece = 0;
        run = 1;
      }
    }
    emit(word.text.size());
  });
}

// Rewrites every word as edit(word, buffer), all into one block of memory of at most `bound` bytes. No word
// is left in the block of an earlier step.
template <typename Edit>
void rewrite_words(Words& words, std::size_t bound, Edit&& edit) {
  std::string& buffer = words.memory.emplace_back();
  buffer.reserve(bound);  // the views into it must stay
  for (Segment& word : words.list) {
    if (word.token != kNoToken) continue;
    const std::size_t begin = buffer.size();
    edit(word, buffer);
    word.text = std::string_view(buffer).substr(begin);
  }
  if (words.memory.size() > 1) words.memory.pop_front();
}

std::size_t text_size(const Words& words) {
  std::size_t size = 0;
  for (const Segment& word : words.list) size += word.text.size();
  return size;
}

struct Apply {
  Words& words;

  void operator()(const pretokenize::Split& step) const {
    split_by_pattern(words, step.pattern, step.behavior, step.invert);
  }

  void operator()(const pretokenize::ByteLevel& step) const {
    if (step.add_prefix_space) {
      rewrite_words(words, text_size(words) + words.list.size(), [](const Segment& word, std::string& out) {
        if (!word.text.starts_with(' ')) out.push_back(' ');
        out += word.text;
      });
    }
    if (step.use_regex) split_by_pattern(words, step.words, SplitBehavior::isolated, false);
    rewrite_words(words, text_size(words) * 2,
                  [](const Segment& word, std::string& out) { to_byte_level(word.text, out); });
  }

  void operator()(const pretokenize::Metaspace& step) const {
    using Prepend = pretokenize::Metaspace::Prepend;
    const std::size_t bound = (text_size(words) + words.list.size()) * step.replacement.size();
    rewrite_words(words, bound, [&](const Segment& word, std::string& out) {
      const bool there = word.text.starts_with(' ') || word.text.starts_with(step.replacement);
      const bool wanted =
          step.prepend == Prepend::always || (step.prepend == Prepend::first && word.at_start);
      if (wanted && !there) out += step.replacement;
      for (const char c : word.text) {
        if (c == ' ') {
          out += step.replacement;
        } else {
          out.push_back(c);
        }
      }
    });
    if (step.split) {
      std::size_t at = 0;
      const char32_t mark = unicode::next(step.replacement, at);
      split_by_character(
          words, [&](char32_t c) { return c == mark; }, SplitBehavior::merged_with_next);
    }
  }

  void operator()(const pretokenize::Digits& step) const {
    split_by_character(words, unicode::is_numeric,
                       step.individual ? SplitBehavior::isolated : SplitBehavior::contiguous);
  }

  void operator()(const pretokenize::Punctuation& step) const {
    split_by_character(words, unicode::is_punctuation, step.behavior);
  }

  void operator()(const pretokenize::Delimiter& step) const {
    std::size_t at = 0;
    const char32_t mark = unicode::next(step.character, at);
    split_by_character(
        words, [&](char32_t c) { return c == mark; }, SplitBehavior::removed);
  }

  void operator()(pretokenize::Whitespace) const { split_whitespace(words); }

  void operator()(pretokenize::WhitespaceSplit) const {
    split_by_character(words, unicode::is_space, SplitBehavior::removed);
  }

  void operator()(const pretokenize::Cut& step) const { cut_long(words, step); }
};

}  // namespace

void PreTokenizer::operator()(Words& words) const {
  std::size_t size = text_size(words);
  Growth growth("pre_tokenizer", size);
  for (const PreTokenizeStep& step : steps_) {
    std::visit(Apply{words}, step);
    const std::size_t before = std::exchange(size, text_size(words));
    growth.change(before, size);
  }
}

}  // namespace baleen
