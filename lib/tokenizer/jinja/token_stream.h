// The tokens of a template as the parsers read them, one after the other.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja/lexer.h"
#include "tokenizer/jinja/value.h"

namespace baleen::jinja {

constexpr int kMaxNesting = 100;  // of brackets, statements and prefix operators in the text

std::string described(const Token& token);  // as an error names it

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // Counts how deep the parsers call each other.
  class Nested {
   public:
    explicit Nested(TokenStream& tokens) : tokens_(tokens) {
      if (++tokens_.nesting_ > kMaxNesting)
        tokens_.wrong("the template is nested more than " + std::to_string(kMaxNesting) + " deep, the limit");
    }
    ~Nested() { --tokens_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    TokenStream& tokens_;
  };

  const Token& at(std::size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  const Token& take() {
    const Token& token = at();
    if (next_ + 1 < tokens_.size()) ++next_;
    return token;
  }
  const Token& last() const { return tokens_[next_ > 0 ? next_ - 1 : 0]; }  // the one taken
  std::size_t position() const { return next_; }
  void go_back(std::size_t position) { next_ = position; }  // or forth again

  [[noreturn]] void wrong(std::string message) const { fail(std::move(message), at().line); }

  bool skip_op(std::string_view op) { return at().is_op(op) && (take(), true); }
  bool skip_name(std::string_view name) { return at().is_name(name) && (take(), true); }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) wrong("expected '" + std::string(op) + "', found " + described(at()));
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) wrong("expected '" + std::string(name) + "', found " + described(at()));
  }
  std::string name() {
    if (at().kind != Token::Kind::name) wrong("expected a name, found " + described(at()));
    return take().text;
  }
  void expect(Token::Kind kind, std::string_view what) {
    if (at().kind != kind) wrong("expected " + std::string(what) + ", found " + described(at()));
    take();
  }

 private:
  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  int nesting_ = 0;
};

}  // namespace baleen::jinja
