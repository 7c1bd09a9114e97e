// What the Unicode versions of the libraries in use and of the tokenizers library disagree on.
#pragma once

#include <cstddef>
#include <span>

namespace baleen::unicode {

struct Range {
  char32_t first, last;
};

// Code points of Unicode 15 to 16 with their general category, in ascending order. Oniguruma, which splits
// texts in the tokenizers library, knows them; PCRE2 10.42 (Unicode 14) does not.
struct NewCategory {
  char32_t first, last;
  char major, minor;  // 'L', 'o'
};
std::span<const NewCategory> new_categories();

// Han ideographs that Unicode 14 does not have.
std::span<const Range> new_han();

// Code points newer than Unicode 9 that have a combining class, a decomposition or a composition today: to
// the normalizer of the tokenizers library they are unassigned, so nothing moves across them or merges with
// them.
std::span<const Range> unknown_to_normalizer();

// Capital letters newer than Unicode 15 and the distance to their small letters.
struct NewCapital {
  char32_t first, last;
  int to_small;
};
std::span<const NewCapital> new_capitals();

// Punctuation younger than the table of the unicode_categories crate.
std::span<const Range> new_punctuation();

bool contains(std::span<const Range> ranges, char32_t c);

}  // namespace baleen::unicode
