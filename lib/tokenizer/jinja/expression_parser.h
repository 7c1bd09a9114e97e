// The part of the parser that reads expressions: Jinja's, which are Python's but for filters, tests and a few
// bindings. Each function starts at the current token and stops at the first that does not belong. They throw
// Failure with the line.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/token_stream.h"

namespace baleen::jinja {

struct TupleOptions {
  bool conditional = true;    // a if b else c may stand without brackets
  std::string_view end = {};  // a name that ends the tuple
  bool simple = false;        // only names and literals
  bool fields = false;        // namespace.field too
  bool in_brackets = false;   // may be empty
};

struct TargetOptions {
  bool fields = false;        // namespace.field is allowed
  std::string_view end = {};  // a name that ends a tuple
  Name::Use use = Name::Use::store;
};

ExpressionPtr parse_expression(TokenStream& tokens);

// An expression, or several with commas between them, which are a tuple.
ExpressionPtr parse_tuple(TokenStream& tokens, TupleOptions options = {});

// What can be assigned to: a name, namespace.field, or a tuple of them.
ExpressionPtr parse_target(TokenStream& tokens, TargetOptions options);
std::string parse_assignable_name(TokenStream& tokens);
ExpressionPtr parse_parameter(TokenStream& tokens);  // of a macro

// The filters of a block, whose subject is left null. `inline_start`: the first one has no "|" before it.
ExpressionPtr parse_filters(TokenStream& tokens, bool inline_start);

}  // namespace baleen::jinja
