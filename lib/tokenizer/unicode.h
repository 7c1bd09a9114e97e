// Text as code points, for the tokenizer: repairing UTF-8, normalization forms, lower case and the few
// character classes that the tokenizers library asks of Rust's standard library. Where Unicode versions
// differ, the answer is that of the tokenizers library 0.23, not that of the C library underneath.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace baleen::unicode {

// Decodes the code point at text[at] and moves `at` behind it. The text must be valid UTF-8.
char32_t next(std::string_view text, std::size_t& at);

// Appends a code point as UTF-8.
void append(std::string& text, char32_t code_point);

// The length in bytes of the character that this byte begins.
std::size_t length(char lead);

bool is_ascii(std::string_view text);
bool is_valid(std::string_view text);

// Valid UTF-8 whatever came in: each maximal prefix of a character that does not go on becomes one U+FFFD, as
// with Python's errors="replace" and Rust's from_utf8_lossy.
std::string repair(std::string_view text);

// The same for bytes that come in pieces: whole characters are passed on as soon as they are known.
class LossyDecoder {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);                  // an unfinished character becomes U+FFFD
  std::size_t errors() const { return errors_; }  // how many U+FFFD were put in
  bool is_whole() const { return needed_ == 0; }  // no character is unfinished

 private:
  void push(char byte, std::string& out);
  void begin(char byte, std::string& out);

  std::string pending_;     // the bytes of an unfinished character
  std::size_t needed_ = 0;  // how many more bytes it takes
  std::size_t errors_ = 0;
  unsigned char low_ = 0x80, high_ = 0xBF;  // what the next one may be
};

enum class Form { nfc, nfd, nfkc, nfkd };
std::string normalize(std::string_view text, Form form);

// Character by character, without context: a final sigma is a sigma.
std::string lowercase(std::string_view text);

bool is_space(char32_t c);         // White_Space
bool is_python_space(char32_t c);  // str.isspace and \s of Python: the separators U+001C to U+001F, too
bool is_numeric(char32_t c);       // general category N
bool is_word(char32_t c);          // \w of Rust's regex crate
bool is_punctuation(char32_t c);   // category P as of Unicode 8, and ASCII punctuation

}  // namespace baleen::unicode
