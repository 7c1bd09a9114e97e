// Python's str as far as it is about characters: positions, case, classes, white space. All texts are valid
// UTF-8; positions and lengths are in code points unless a name says bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace baleen::jinja {

std::size_t count_characters(std::string_view text);
std::size_t byte_offset(std::string_view text, std::size_t characters);  // at most text.size()
std::vector<std::string_view> characters(std::string_view text);

std::u32string decode(std::string_view text);

bool is_letter(char32_t c);
bool is_word(char32_t c);  // \w of re

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);
std::string swap_case(std::string_view text);
std::string case_fold(std::string_view text);

// str.isupper() and the like. Not empty and every character (for upper, lower and title: every cased one).
enum class Class {
  alnum,
  alpha,
  ascii,
  decimal,
  digit,
  identifier,
  lower,
  numeric,
  printable,
  space,
  title,
  upper
};
bool is_all(std::string_view text, Class which);
bool is_printable(char32_t c);

enum class Side { left, right, both };
// Without `chars`: white space.
std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> chars = {});

// Pieces between separators, or between runs of white space; at most `most` cuts if it is not negative.
std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    std::int64_t most, bool from_right);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

// Where `part` stands first or last, npos if nowhere: in linear time, whatever the texts.
std::size_t find_text(std::string_view text, std::string_view part);
std::size_t find_last_text(std::string_view text, std::string_view part);
std::size_t count_occurrences(std::string_view text, std::string_view part);  // not overlapping

}  // namespace baleen::jinja
