// A template's text as tokens, with Jinja's white space control applied (trim_blocks and lstrip_blocks on, as
// transformers has them), so that the data tokens are what gets printed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace baleen::jinja {

struct Token {
  enum class Kind {
    data,
    print_begin,
    print_end,
    block_begin,
    block_end,
    name,
    string,
    integer,
    real,
    op,
    end
  };
  Kind kind;
  std::string text;  // a string's value, a name, an operator, data
  std::size_t line, begin, end;
  std::int64_t integer = 0;
  double real = 0;

  bool is_op(std::string_view op) const { return kind == Kind::op && text == op; }
  bool is_name(std::string_view name) const { return kind == Kind::name && text == name; }
};

// Line ends become "\n", and the last one goes.
std::string normalize_lines(std::string_view text);

// `source` is normalized. The last token is `end`. Throws Failure.
std::vector<Token> tokenize(std::string_view source);

// What a literal's text between the quotes stands for. Throws Failure.
std::string unescape(std::string_view literal);

}  // namespace baleen::jinja
