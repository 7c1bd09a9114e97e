#include "tokenizer/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <set>

namespace baleen::jinja {
namespace {

using Kind = Token::Kind;

constexpr int kMaxTreeDepth = 300;  // a + b + c + ... is a tree as deep as it is long

int depth_of(const ExpressionPtr& expression) {
  return expression ? expression->depth : 0;
}

int depth_of(const std::vector<ExpressionPtr>& expressions) {
  int depth = 0;
  for (const auto& expression : expressions) depth = std::max(depth, depth_of(expression));
  return depth;
}

int depth_of(const ArgumentList& arguments) {
  int depth =
      std::max({depth_of(arguments.positional), depth_of(arguments.star), depth_of(arguments.double_star)});
  for (const auto& [name, value] : arguments.named) depth = std::max(depth, depth_of(value));
  return depth;
}

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  // Targets of assignments.

  std::string assignable(std::string variable) const {
    static constexpr std::array<std::string_view, 6> constants = {"true", "false", "none",
                                                                  "True", "False", "None"};
    if (std::find(constants.begin(), constants.end(), variable) != constants.end())
      tokens_.wrong("cannot assign to '" + variable + "'");
    return variable;
  }

  ExpressionPtr target(TargetOptions options) {
    ExpressionPtr result =
        tuple({.conditional = true, .end = options.end, .simple = true, .fields = options.fields});
    make_target(*result, options.use);
    return result;
  }

  void make_target(Expression& expression, Name::Use use) const {
    if (auto* variable = std::get_if<Name>(&expression.node)) {
      variable->use = use;
    } else if (auto* items = std::get_if<Sequence>(&expression.node); items && items->is_tuple) {
      for (const auto& item : items->items) make_target(*item, use);
    } else if (!std::holds_alternative<NamespaceField>(expression.node)) {
      fail("cannot assign to this", expression.line);
    }
  }

  // Expressions, from the loosest binding to the tightest.

  ExpressionPtr tuple(TupleOptions options) {
    const Token& first = tokens_.at();
    std::vector<ExpressionPtr> items;
    bool is_tuple = false;
    while (true) {
      if (!items.empty()) tokens_.expect_op(",");
      if (tokens_.at().kind == Kind::print_end || tokens_.at().kind == Kind::block_end ||
          tokens_.at().is_op(")") || (!options.end.empty() && tokens_.at().is_name(options.end)))
        break;
      items.push_back(options.simple        ? primary(options.fields)
                      : options.conditional ? expression()
                                            : either());
      if (!tokens_.at().is_op(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && !items.empty()) return std::move(items[0]);
    if (!is_tuple && !options.in_brackets)
      tokens_.wrong("expected an expression, found " + described(tokens_.at()));
    const int depth = depth_of(items);
    return make(first, depth, Sequence{std::move(items), true});
  }

  ExpressionPtr expression() {
    const TokenStream::Nested nested(tokens_);
    const Token& first = tokens_.at();
    ExpressionPtr left = either();
    while (tokens_.skip_name("if")) {
      ExpressionPtr test = either();
      ExpressionPtr otherwise = tokens_.skip_name("else") ? expression() : nullptr;
      const int depth = std::max({depth_of(left), depth_of(test), depth_of(otherwise)});
      left = make(first, depth, Conditional{std::move(test), std::move(left), std::move(otherwise)});
    }
    return left;
  }

  template <typename Next>
  ExpressionPtr binary(Next next, std::initializer_list<std::pair<std::string_view, Binary::Op>> ops,
                       Kind kind) {
    const Token& first = tokens_.at();
    ExpressionPtr left = (this->*next)();
    while (true) {
      const auto op = std::find_if(ops.begin(), ops.end(), [&](const auto& o) {
        return tokens_.at().kind == kind && tokens_.at().text == o.first;
      });
      if (op == ops.end()) return left;
      tokens_.take();
      ExpressionPtr right = (this->*next)();
      const int depth = std::max(depth_of(left), depth_of(right));
      left = make(first, depth, Binary{op->second, std::move(left), std::move(right)});
    }
  }

  ExpressionPtr either() { return binary(&ExpressionParser::both, {{"or", Binary::Op::either}}, Kind::name); }
  ExpressionPtr both() {
    return binary(&ExpressionParser::negation, {{"and", Binary::Op::both}}, Kind::name);
  }

  ExpressionPtr negation() {
    const Token& first = tokens_.at();
    if (!tokens_.skip_name("not")) return comparison();
    const TokenStream::Nested nested(tokens_);
    ExpressionPtr operand = negation();
    const int depth = depth_of(operand);
    return make(first, depth, Unary{Unary::Op::invert, std::move(operand)});
  }

  std::optional<Comparison::Op> comparison_op() {
    using Op = Comparison::Op;
    static constexpr std::array<std::pair<std::string_view, Op>, 6> ops = {{{"==", Op::equal},
                                                                            {"!=", Op::not_equal},
                                                                            {"<", Op::less},
                                                                            {"<=", Op::less_equal},
                                                                            {">", Op::greater},
                                                                            {">=", Op::greater_equal}}};
    for (const auto& [text, op] : ops)
      if (tokens_.skip_op(text)) return op;
    if (tokens_.skip_name("in")) return Op::in;
    if (!tokens_.at().is_name("not") || !tokens_.at(1).is_name("in")) return std::nullopt;
    tokens_.take(), tokens_.take();
    return Op::not_in;
  }

  ExpressionPtr comparison() {
    const Token& first = tokens_.at();
    ExpressionPtr left = sum();
    Comparison node;
    int depth = depth_of(left);
    while (const auto op = comparison_op()) {
      node.rest.emplace_back(*op, sum());
      depth = std::max(depth, depth_of(node.rest.back().second));
    }
    if (node.rest.empty()) return left;
    node.first = std::move(left);
    return make(first, depth, std::move(node));
  }

  ExpressionPtr sum() {
    return binary(&ExpressionParser::concatenation, {{"+", Binary::Op::add}, {"-", Binary::Op::subtract}},
                  Kind::op);
  }

  ExpressionPtr concatenation() {
    const Token& first = tokens_.at();
    std::vector<ExpressionPtr> parts;
    do {
      parts.push_back(product());
    } while (tokens_.skip_op("~"));
    if (parts.size() == 1) return std::move(parts[0]);
    const int depth = depth_of(parts);
    return make(first, depth, Concatenation{std::move(parts)});
  }

  ExpressionPtr product() {
    return binary(&ExpressionParser::power,
                  {{"*", Binary::Op::multiply},
                   {"/", Binary::Op::divide},
                   {"//", Binary::Op::floor_divide},
                   {"%", Binary::Op::modulo}},
                  Kind::op);
  }

  ExpressionPtr power() {
    return binary(&ExpressionParser::filtered_unary, {{"**", Binary::Op::power}}, Kind::op);
  }

  ExpressionPtr filtered_unary() { return unary(true); }

  ExpressionPtr unary(bool with_filters) {
    const Token& first = tokens_.at();
    ExpressionPtr node;
    if (tokens_.at().is_op("-") || tokens_.at().is_op("+")) {
      const TokenStream::Nested nested(tokens_);
      const auto op = tokens_.take().text == "-" ? Unary::Op::negate : Unary::Op::plus;
      ExpressionPtr operand = unary(false);
      const int depth = depth_of(operand);
      node = make(first, depth, Unary{op, std::move(operand)});
    } else {
      node = primary(false);
    }
    node = postfix(std::move(node));
    return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
  }

  ExpressionPtr primary(bool fields) {
    const Token& token = tokens_.at();
    switch (token.kind) {
      case Kind::name:
        return name_or_constant(fields);
      case Kind::string:
        return strings();
      case Kind::integer:
        tokens_.take();
        return make(token, 0, Literal{{token.integer}});
      case Kind::real:
        tokens_.take();
        return make(token, 0, Literal{{token.real}});
      default:
        break;
    }
    if (tokens_.skip_op("(")) {
      const TokenStream::Nested nested(tokens_);
      ExpressionPtr inside = tuple({.in_brackets = true});
      inside->begin = token.begin;
      inside->end = tokens_.at().end;
      tokens_.expect_op(")");
      return inside;
    }
    if (tokens_.at().is_op("[")) return list();
    if (tokens_.at().is_op("{")) return dict();
    tokens_.wrong("unexpected " + described(token));
  }

  ExpressionPtr name_or_constant(bool fields) {
    const Token& token = tokens_.take();
    const std::string& text = token.text;
    if (text == "true" || text == "True") return make(token, 0, Literal{{true}});
    if (text == "false" || text == "False") return make(token, 0, Literal{{false}});
    if (text == "none" || text == "None") return make(token, 0, Literal{{None()}});
    if (fields && tokens_.skip_op(".")) {
      std::string field = tokens_.name();
      return make(token, 0, NamespaceField{text, std::move(field), {}});
    }
    return make(token, 0, Name{Name::Use::load, text, {}});
  }

  ExpressionPtr strings() {
    const Token& first = tokens_.at();
    std::string all;
    while (tokens_.at().kind == Kind::string) all += tokens_.take().text;
    return make(first, 0, Literal{make_text(std::move(all))});
  }

  ExpressionPtr list() {
    const Token& first = tokens_.take();
    std::vector<ExpressionPtr> items;
    while (!tokens_.at().is_op("]")) {
      if (!items.empty()) tokens_.expect_op(",");
      if (tokens_.at().is_op("]")) break;
      items.push_back(expression());
    }
    tokens_.take();
    const int depth = depth_of(items);
    return make(first, depth, Sequence{std::move(items), false});
  }

  ExpressionPtr dict() {
    const Token& first = tokens_.take();
    Pairs pairs;
    int depth = 0;
    while (!tokens_.at().is_op("}")) {
      if (!pairs.items.empty()) tokens_.expect_op(",");
      if (tokens_.at().is_op("}")) break;
      ExpressionPtr key = expression();
      tokens_.expect_op(":");
      ExpressionPtr value = expression();
      depth = std::max({depth, depth_of(key), depth_of(value)});
      pairs.items.emplace_back(std::move(key), std::move(value));
    }
    tokens_.take();
    return make(first, depth, std::move(pairs));
  }

  ExpressionPtr postfix(ExpressionPtr node) {
    while (true) {
      if (tokens_.at().is_op("."))
        node = attribute(std::move(node));
      else if (tokens_.at().is_op("["))
        node = subscript(std::move(node));
      else if (tokens_.at().is_op("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  ExpressionPtr attribute(ExpressionPtr object) {
    tokens_.take();
    const Token& token = tokens_.take();
    const std::size_t line = object->line, begin = object->begin;
    const int depth = object->depth;
    if (token.kind == Kind::name)
      return make_at(line, begin, depth, Attribute{std::move(object), token.text});
    if (token.kind != Kind::integer) fail("expected a name or a number behind '.'", token.line);
    ExpressionPtr key = make(token, 0, Literal{{token.integer}});
    return make_at(line, begin, depth, Subscript{std::move(object), std::move(key)});
  }

  ExpressionPtr subscript(ExpressionPtr object) {
    const Token& open = tokens_.take();
    const std::size_t line = object->line, begin = object->begin;
    std::vector<ExpressionPtr> keys;
    if (!tokens_.at().is_op(":") && !tokens_.at().is_op("]")) keys.push_back(expression());
    if (tokens_.at().is_op(":")) return slice(std::move(object), keys.empty() ? nullptr : std::move(keys[0]));
    while (!tokens_.at().is_op("]")) {
      tokens_.expect_op(",");
      keys.push_back(expression());
    }
    tokens_.take();
    const int keys_depth = depth_of(keys);
    ExpressionPtr key =
        keys.size() == 1 ? std::move(keys[0]) : make(open, keys_depth, Sequence{std::move(keys), true});
    const int depth = std::max(object->depth, key->depth);
    return make_at(line, begin, depth, Subscript{std::move(object), std::move(key)});
  }

  // [start:stop:step] from the first colon on.
  ExpressionPtr slice(ExpressionPtr object, ExpressionPtr start) {
    const std::size_t line = object->line, begin = object->begin;
    const auto part = [&] {
      return tokens_.at().is_op(":") || tokens_.at().is_op("]") ? nullptr : expression();
    };
    tokens_.take();
    Slice node{std::move(object), std::move(start), part(), nullptr};
    if (tokens_.skip_op(":")) node.step = part();
    tokens_.expect_op("]");
    const int depth =
        std::max({depth_of(node.object), depth_of(node.start), depth_of(node.stop), depth_of(node.step)});
    return make_at(line, begin, depth, std::move(node));
  }

  ArgumentList arguments() {
    tokens_.expect_op("(");
    ArgumentList list;
    std::set<std::string> names;
    const auto check = [&](bool in_order) {
      if (!in_order) tokens_.wrong("the arguments of a call are in an order that is not allowed");
    };
    for (bool first = true; !tokens_.at().is_op(")"); first = false) {
      if (!first) tokens_.expect_op(",");
      if (tokens_.at().is_op(")")) break;
      if (tokens_.skip_op("*")) {
        check(!list.star && !list.double_star);
        list.star = expression();
      } else if (tokens_.skip_op("**")) {
        check(!list.double_star);
        list.double_star = expression();
      } else if (tokens_.at().kind == Kind::name && tokens_.at(1).is_op("=")) {
        check(!list.double_star);
        named_argument(list, names);
      } else {
        check(!list.star && !list.double_star && list.named.empty());
        list.positional.push_back(expression());
      }
    }
    tokens_.take();
    return list;
  }

  void named_argument(ArgumentList& list, std::set<std::string>& names) {
    std::string key = tokens_.name();
    if (!names.insert(key).second) tokens_.wrong("the argument '" + key + "' occurs twice");
    tokens_.take();
    list.named.emplace_back(std::move(key), expression());
  }

  ExpressionPtr call(ExpressionPtr callee) {
    ArgumentList list = arguments();
    const std::size_t line = callee->line, begin = callee->begin;
    const int depth = std::max(depth_of(callee), depth_of(list));
    return make_at(line, begin, depth, CallExpression{std::move(callee), std::move(list)});
  }

  ExpressionPtr filters_and_tests(ExpressionPtr node) {
    while (true) {
      if (tokens_.at().is_op("|"))
        node = filters(std::move(node), false);
      else if (tokens_.at().is_name("is"))
        node = test(std::move(node));
      else if (tokens_.at().is_op("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  std::string dotted_name() {
    std::string all = tokens_.name();
    while (tokens_.skip_op(".")) all += "." + tokens_.name();
    return all;
  }

  // One or more filters; `inline_start`: the first one has no "|" before it.
  ExpressionPtr filters(ExpressionPtr node, bool inline_start) {
    while (inline_start || tokens_.at().is_op("|")) {
      if (!inline_start) tokens_.take();
      inline_start = false;
      const Token& first = tokens_.at();
      const std::size_t line = node ? node->line : first.line, begin = node ? node->begin : first.begin;
      std::string filter = dotted_name();
      ArgumentList list = tokens_.at().is_op("(") ? arguments() : ArgumentList();
      const int depth = std::max(depth_of(node), depth_of(list));
      node =
          make_at(line, begin, depth,
                  Application{Application::Of::filter, std::move(filter), std::move(node), std::move(list)});
    }
    return node;
  }

  ExpressionPtr test(ExpressionPtr node) {
    tokens_.take();
    const bool negated = tokens_.skip_name("not");
    const std::size_t line = node->line, begin = node->begin;
    std::string test_name = dotted_name();
    ArgumentList list;
    if (tokens_.at().is_op("("))
      list = arguments();
    else if (begins_argument())
      list.positional.push_back(postfix(primary(false)));
    const int depth = std::max(depth_of(node), depth_of(list));
    node =
        make_at(line, begin, depth,
                Application{Application::Of::test, std::move(test_name), std::move(node), std::move(list)});
    if (!negated) return node;
    const int inner = node->depth;
    return make_at(line, begin, inner, Unary{Unary::Op::invert, std::move(node)});
  }

  // Whether the argument of a test follows without brackets: `x is divisibleby 3`.
  bool begins_argument() const {
    const Token& token = tokens_.at();
    if (token.is_name("is")) tokens_.wrong("tests with 'is' cannot be chained");
    if (token.kind == Kind::name) return token.text != "else" && token.text != "or" && token.text != "and";
    return token.kind == Kind::string || token.kind == Kind::integer || token.kind == Kind::real ||
           token.is_op("[") || token.is_op("{");
  }

  // An expression from token `first` up to the one just taken, as deep as its deepest part and one.
  template <typename Node>
  ExpressionPtr make(const Token& first, int depth, Node node) {
    return make_at(first.line, first.begin, depth, std::move(node));
  }
  template <typename Node>
  ExpressionPtr make_at(std::size_t line, std::size_t begin, int depth, Node node) {
    if (depth >= kMaxTreeDepth)
      tokens_.wrong("an expression has more than " + std::to_string(kMaxTreeDepth) +
                    " steps one behind the other, the limit");
    const std::size_t end = tokens_.last().end;
    return std::make_unique<Expression>(Expression{line, begin, end, depth + 1, std::move(node)});
  }

 private:
  TokenStream& tokens_;
};

}  // namespace

ExpressionPtr parse_expression(TokenStream& tokens) {
  return ExpressionParser(tokens).expression();
}

ExpressionPtr parse_tuple(TokenStream& tokens, TupleOptions options) {
  return ExpressionParser(tokens).tuple(options);
}

ExpressionPtr parse_target(TokenStream& tokens, TargetOptions options) {
  return ExpressionParser(tokens).target(options);
}

std::string parse_assignable_name(TokenStream& tokens) {
  return ExpressionParser(tokens).assignable(tokens.name());
}

ExpressionPtr parse_parameter(TokenStream& tokens) {
  const Token& token = tokens.at();
  Name name{Name::Use::parameter, parse_assignable_name(tokens), {}};
  return ExpressionParser(tokens).make(token, 0, std::move(name));
}

ExpressionPtr parse_filters(TokenStream& tokens, bool inline_start) {
  return ExpressionParser(tokens).filters(nullptr, inline_start);
}

}  // namespace baleen::jinja
