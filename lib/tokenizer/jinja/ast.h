// A chat template as a tree: what the parser builds, scopes.cpp completes, and the interpreter walks.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/jinja/builtin.h"
#include "tokenizer/jinja/value.h"

namespace baleen::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;
struct Statement;
using Block = std::vector<Statement>;

// Where a variable lives: so many functions outwards, at that index of the function's activation.
struct Slot {
  int hops = 0, index = -1;
};

struct Literal {
  Value value;
};
struct Name {
  enum class Use { load, store, parameter } use = Use::load;
  std::string name;
  Slot slot;
};
struct NamespaceField {  // only as a target of set
  std::string name, field;
  Slot slot;
};
struct Sequence {
  std::vector<ExpressionPtr> items;
  bool is_tuple;
};
struct Pairs {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
};
struct Unary {
  enum class Op { negate, plus, invert } op;  // invert: `not`
  ExpressionPtr operand;
};
struct Binary {
  enum class Op { add, subtract, multiply, divide, floor_divide, modulo, power, both, either } op;
  ExpressionPtr left, right;
};
struct Comparison {
  enum class Op { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };
  ExpressionPtr first;
  std::vector<std::pair<Op, ExpressionPtr>> rest;  // a < b < c holds if both do
};
struct Concatenation {
  std::vector<ExpressionPtr> parts;
};
struct Conditional {
  ExpressionPtr test, then, otherwise;  // otherwise may be null
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Subscript {
  ExpressionPtr object, key;
};
struct Slice {
  ExpressionPtr object, start, stop, step;  // all but the object may be null
};
struct ArgumentList {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr star, double_star;  // may be null
};
struct CallExpression {
  ExpressionPtr callee;
  ArgumentList arguments;
};
struct Application {  // of a filter or a test
  enum class Of { filter, test } of;
  std::string name;
  ExpressionPtr subject;  // null: the text of the filter or set block around it
  ArgumentList arguments;
  const Builtin* builtin = nullptr;  // null: unknown, which is an error only when it is reached
};

struct Expression {
  std::size_t line, begin, end;  // of the source with normalized line ends
  int depth;                     // of the tree below
  std::variant<Literal, Name, NamespaceField, Sequence, Pairs, Unary, Binary, Comparison, Concatenation,
               Conditional, Attribute, Subscript, Slice, CallExpression, Application>
      node;
};

// What a variable is when its part of the template is entered.
struct Load {
  enum class From { context, outer, nothing } from;
  std::string name;
  int index;   // in this function's activation
  Slot outer;  // From::outer: whose value it starts with
};
using Loads = std::vector<Load>;

struct Function {
  std::string name;                       // empty: a call block
  std::vector<ExpressionPtr> parameters;  // Name
  std::vector<ExpressionPtr> defaults;    // of the last parameters
  Block body;
  Loads loads;
  int slots = 0;
  int caller = -1, kwargs = -1, varargs = -1;  // slots, if the body uses them
};

struct Data {
  std::string text;
};
struct Print {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};
struct For {
  ExpressionPtr target, iterable, test;  // test may be null
  bool recursive = false;
  Block body, otherwise;
  Loads body_loads, otherwise_loads, test_loads;
  ExpressionPtr test_target;  // the same names in the test's own scope
  int loop = -1;              // slot of `loop`, if the body uses it
  int slots = 0;              // recursive: of the function that the loop is
};
struct Set {
  ExpressionPtr target, value;
};
struct SetBlock {
  ExpressionPtr target, filter;  // filter may be null
  Block body;
  Loads loads;
};
struct FilterBlock {
  ExpressionPtr filter;
  Block body;
  Loads loads;
};
struct With {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> assignments;
  Block body;
  Loads loads;
};
struct MacroDefinition {
  std::string name;
  Slot slot;
  std::shared_ptr<Function> function;
};
struct CallBlock {
  ExpressionPtr call;  // null: a generation block, which is just its body
  std::shared_ptr<Function> function;
};
struct LoopControl {
  enum class Kind { leave, next } kind;
};
struct Unsupported {  // include and import: there is nothing to load from, so reaching them is an error
  std::string tag;
};

struct Statement {
  std::size_t line;
  std::variant<Data, Print, If, For, Set, SetBlock, FilterBlock, With, MacroDefinition, CallBlock,
               LoopControl, Unsupported>
      node;
};

struct Program {
  std::string source;
  Function root;
};

}  // namespace baleen::jinja
