#include "tokenizer/jinja/parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "tokenizer/jinja/lexer.h"

namespace baleen::jinja {
namespace {

using Kind = Token::Kind;

constexpr int kMaxNesting = 100;    // of brackets, statements and prefix operators in the text
constexpr int kMaxTreeDepth = 300;  // a + b + c + ... is a tree as deep as it is long

std::string described(const Token& token) {
  switch (token.kind) {
    case Kind::data:
      return "text";
    case Kind::print_begin:
      return "'{{'";
    case Kind::print_end:
      return "'}}'";
    case Kind::block_begin:
      return "'{%'";
    case Kind::block_end:
      return "'%}'";
    case Kind::string:
      return "a string";
    case Kind::integer:
    case Kind::real:
      return "a number";
    case Kind::end:
      return "the end of the template";
    default:
      return "'" + token.text + "'";
  }
}

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

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Block run() {
    Block block = statements({});
    if (at().kind != Kind::end) wrong("unexpected " + described(at()));
    return block;
  }

 private:
  // Counts how deep the parser calls itself.
  class Nested {
   public:
    explicit Nested(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxNesting)
        parser_.wrong("the template is nested more than " + std::to_string(kMaxNesting) + " deep, the limit");
    }
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  const Token& at(std::size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  const Token& take() {
    const Token& token = at();
    if (next_ + 1 < tokens_.size()) ++next_;
    return token;
  }
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
    if (at().kind != Kind::name) wrong("expected a name, found " + described(at()));
    return take().text;
  }
  void expect(Kind kind, std::string_view what) {
    if (at().kind != kind) wrong("expected " + std::string(what) + ", found " + described(at()));
    take();
  }

  // An expression from token `first` up to the one just taken, as deep as its deepest part and one.
  template <typename Node>
  ExpressionPtr make(const Token& first, int depth, Node node) {
    return make_at(first.line, first.begin, depth, std::move(node));
  }
  template <typename Node>
  ExpressionPtr make_at(std::size_t line, std::size_t begin, int depth, Node node) {
    if (depth >= kMaxTreeDepth)
      wrong("an expression has more than " + std::to_string(kMaxTreeDepth) +
            " steps one behind the other, the limit");
    const std::size_t end = next_ > 0 ? tokens_[next_ - 1].end : 0;
    return std::make_unique<Expression>(Expression{line, begin, end, depth + 1, std::move(node)});
  }

  // Statements.

  // Up to a tag in `ends`, which is left with its name as the current token; no `ends`: the whole template.
  Block statements(std::initializer_list<std::string_view> ends) {
    const Nested nested(*this);
    Block block;
    while (at().kind != Kind::end) {
      const Token& token = take();
      if (token.kind == Kind::data) {
        block.push_back({token.line, Data{token.text}});
      } else if (token.kind == Kind::print_begin) {
        ExpressionPtr value = tuple();
        expect(Kind::print_end, "'}}'");
        block.push_back({token.line, Print{std::move(value)}});
      } else {
        const bool is_end =
            at().kind == Kind::name && std::find(ends.begin(), ends.end(), at().text) != ends.end();
        if (is_end) return block;
        statement(block);
        expect(Kind::block_end, "'%}'");
      }
    }
    if (ends.size() > 0) wrong("the template ends where '" + std::string(*(ends.end() - 1)) + "' is missing");
    return block;
  }

  // The body of a statement whose opening tag is read but for its end; drops the tag that ends it.
  Block body(std::initializer_list<std::string_view> ends) {
    skip_op(":");
    expect(Kind::block_end, "'%}'");
    return statements(ends);
  }
  Block body(std::string_view end) {
    Block block = body({end});
    take();
    return block;
  }

  void statement(Block& block) {
    struct Tag {
      std::string_view name;
      void (Parser::*parse)(Block&, std::size_t line);
    };
    static constexpr std::array<Tag, 16> tags = {{{"if", &Parser::parse_if},
                                                  {"for", &Parser::parse_for},
                                                  {"set", &Parser::parse_set},
                                                  {"macro", &Parser::parse_macro},
                                                  {"call", &Parser::parse_call},
                                                  {"filter", &Parser::parse_filter_block},
                                                  {"with", &Parser::parse_with},
                                                  {"print", &Parser::parse_print},
                                                  {"generation", &Parser::parse_generation},
                                                  {"break", &Parser::parse_break},
                                                  {"continue", &Parser::parse_continue},
                                                  {"autoescape", &Parser::parse_autoescape},
                                                  {"include", &Parser::parse_include},
                                                  {"import", &Parser::parse_import},
                                                  {"from", &Parser::parse_from},
                                                  {"extends", &Parser::parse_include}}};
    const std::size_t line = at().line;
    const std::string tag = name();
    const auto found = std::find_if(tags.begin(), tags.end(), [&](const Tag& t) { return t.name == tag; });
    if (tag == "block") fail("the tag 'block' is not supported: a chat template has no parents", line);
    if (found == tags.end()) fail("unknown or misplaced tag '" + tag + "'", line);
    (this->*found->parse)(block, line);
  }

  void parse_if(Block& block, std::size_t line) {
    If node;
    do {
      ExpressionPtr test = tuple({.conditional = false});
      Block then = body({"elif", "else", "endif"});
      node.branches.emplace_back(std::move(test), std::move(then));
    } while (take().text == "elif");
    if (tokens_[next_ - 1].text == "else") node.otherwise = body("endif");
    block.push_back({line, std::move(node)});
  }

  void parse_for(Block& block, std::size_t line) {
    For node;
    const std::size_t begin = next_;
    node.target = target({.end = "in"});
    const std::size_t end = next_;
    expect_name("in");
    node.iterable = tuple({.conditional = false, .end = "recursive"});
    if (skip_name("if")) {
      node.test = expression();
      // The test has a scope of its own, and so needs its own copy of the target.
      const std::size_t after = std::exchange(next_, begin);
      node.test_target = target({.end = "in"});
      if (next_ != end) wrong("for: a target that cannot be read twice");
      next_ = after;
    }
    node.recursive = skip_name("recursive");
    ++loops_;
    node.body = body({"else", "endfor"});
    --loops_;
    if (take().text == "else") node.otherwise = body("endfor");
    block.push_back({line, std::move(node)});
  }

  void parse_set(Block& block, std::size_t line) {
    ExpressionPtr to = target({.fields = true});
    if (skip_op("=")) {
      ExpressionPtr value = tuple();
      block.push_back({line, Set{std::move(to), std::move(value)}});
      return;
    }
    ExpressionPtr filter = at().is_op("|") ? filters(nullptr, false) : nullptr;
    Block content = body("endset");
    block.push_back({line, SetBlock{std::move(to), std::move(filter), std::move(content), {}}});
  }

  void signature(Function& function) {
    expect_op("(");
    while (!at().is_op(")")) {
      if (!function.parameters.empty()) expect_op(",");
      const Token& token = at();
      const std::string parameter = assignable(name());
      for (const auto& other : function.parameters)
        if (std::get<Name>(other->node).name == parameter)
          wrong("the parameter '" + parameter + "' occurs twice");
      function.parameters.push_back(make(token, 0, Name{Name::Use::parameter, parameter, {}}));
      if (skip_op("="))
        function.defaults.push_back(expression());
      else if (!function.defaults.empty())
        wrong("a parameter without a default stands behind one with a default");
    }
    take();
  }

  // A function's body; the loops around it are not its own.
  Block function_body(std::string_view end) {
    const int around = std::exchange(loops_, 0);
    Block content = body(end);
    loops_ = around;
    return content;
  }

  void parse_macro(Block& block, std::size_t line) {
    auto function = std::make_shared<Function>();
    function->name = assignable(name());
    signature(*function);
    function->body = function_body("endmacro");
    const std::string called = function->name;
    block.push_back({line, MacroDefinition{called, {}, std::move(function)}});
  }

  void parse_call(Block& block, std::size_t line) {
    auto function = std::make_shared<Function>();
    if (at().is_op("(")) signature(*function);
    ExpressionPtr call = expression();
    if (!std::holds_alternative<CallExpression>(call->node)) fail("expected a call", line);
    function->body = function_body("endcall");
    block.push_back({line, CallBlock{std::move(call), std::move(function)}});
  }

  void parse_generation(Block& block, std::size_t line) {
    auto function = std::make_shared<Function>();
    function->body = function_body("endgeneration");
    block.push_back({line, CallBlock{nullptr, std::move(function)}});
  }

  void parse_filter_block(Block& block, std::size_t line) {
    ExpressionPtr filter = filters(nullptr, true);
    Block content = body("endfilter");
    block.push_back({line, FilterBlock{std::move(filter), std::move(content), {}}});
  }

  void parse_with(Block& block, std::size_t line) {
    With node;
    while (at().kind != Kind::block_end) {
      if (!node.assignments.empty()) expect_op(",");
      ExpressionPtr to = target({.use = Name::Use::parameter});
      expect_op("=");
      ExpressionPtr value = expression();
      node.assignments.emplace_back(std::move(to), std::move(value));
    }
    node.body = body("endwith");
    block.push_back({line, std::move(node)});
  }

  // Escaping is off anyway, so all that remains is a scope.
  void parse_autoescape(Block& block, std::size_t line) {
    const ExpressionPtr value = expression();
    const Literal* literal = std::get_if<Literal>(&value->node);
    if (!literal || is_true(literal->value)) fail("autoescape is only supported with false", line);
    With node;
    node.body = body("endautoescape");
    block.push_back({line, std::move(node)});
  }

  void parse_print(Block& block, std::size_t line) {
    for (bool first = true; at().kind != Kind::block_end; first = false) {
      if (!first) expect_op(",");
      block.push_back({line, Print{expression()}});
    }
  }

  void parse_loop_control(Block& block, std::size_t line, LoopControl::Kind kind, std::string_view tag) {
    if (loops_ == 0) fail("'" + std::string(tag) + "' outside of a loop", line);
    block.push_back({line, LoopControl{kind}});
  }
  void parse_break(Block& block, std::size_t line) {
    parse_loop_control(block, line, LoopControl::Kind::leave, "break");
  }
  void parse_continue(Block& block, std::size_t line) {
    parse_loop_control(block, line, LoopControl::Kind::next, "continue");
  }

  void parse_include(Block& block, std::size_t line) {
    expression();
    if (at().is_name("ignore") && at(1).is_name("missing")) take(), take();
    import_context();
    block.push_back({line, Unsupported{"include, extends"}});
  }
  void parse_import(Block& block, std::size_t line) {
    expression();
    expect_name("as");
    name();
    import_context();
    block.push_back({line, Unsupported{"import"}});
  }
  void parse_from(Block& block, std::size_t line) {
    expression();
    expect_name("import");
    do {
      if (import_context()) break;
      name();
      if (skip_name("as")) name();
    } while (!import_context() && skip_op(","));
    block.push_back({line, Unsupported{"import"}});
  }
  bool import_context() {
    const bool found = (at().is_name("with") || at().is_name("without")) && at(1).is_name("context");
    if (found) take(), take();
    return found;
  }

  // Targets of assignments.

  struct TargetOptions {
    bool fields = false;        // namespace.field is allowed
    std::string_view end = {};  // a name that ends a tuple
    Name::Use use = Name::Use::store;
  };

  std::string assignable(std::string variable) const {
    static constexpr std::array<std::string_view, 6> constants = {"true", "false", "none",
                                                                  "True", "False", "None"};
    if (std::find(constants.begin(), constants.end(), variable) != constants.end())
      wrong("cannot assign to '" + variable + "'");
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

  struct TupleOptions {
    bool conditional = true;    // a if b else c may stand without brackets
    std::string_view end = {};  // a name that ends the tuple
    bool simple = false;        // only names and literals
    bool fields = false;        // namespace.field too
    bool in_brackets = false;   // may be empty
  };

  ExpressionPtr tuple() { return tuple(TupleOptions()); }
  ExpressionPtr tuple(TupleOptions options) {
    const Token& first = at();
    std::vector<ExpressionPtr> items;
    bool is_tuple = false;
    while (true) {
      if (!items.empty()) expect_op(",");
      if (at().kind == Kind::print_end || at().kind == Kind::block_end || at().is_op(")") ||
          (!options.end.empty() && at().is_name(options.end)))
        break;
      items.push_back(options.simple        ? primary(options.fields)
                      : options.conditional ? expression()
                                            : either());
      if (!at().is_op(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && !items.empty()) return std::move(items[0]);
    if (!is_tuple && !options.in_brackets) wrong("expected an expression, found " + described(at()));
    const int depth = depth_of(items);
    return make(first, depth, Sequence{std::move(items), true});
  }

  ExpressionPtr expression() {
    const Nested nested(*this);
    const Token& first = at();
    ExpressionPtr left = either();
    while (skip_name("if")) {
      ExpressionPtr test = either();
      ExpressionPtr otherwise = skip_name("else") ? expression() : nullptr;
      const int depth = std::max({depth_of(left), depth_of(test), depth_of(otherwise)});
      left = make(first, depth, Conditional{std::move(test), std::move(left), std::move(otherwise)});
    }
    return left;
  }

  template <typename Next>
  ExpressionPtr binary(Next next, std::initializer_list<std::pair<std::string_view, Binary::Op>> ops,
                       Kind kind) {
    const Token& first = at();
    ExpressionPtr left = (this->*next)();
    while (true) {
      const auto op = std::find_if(ops.begin(), ops.end(),
                                   [&](const auto& o) { return at().kind == kind && at().text == o.first; });
      if (op == ops.end()) return left;
      take();
      ExpressionPtr right = (this->*next)();
      const int depth = std::max(depth_of(left), depth_of(right));
      left = make(first, depth, Binary{op->second, std::move(left), std::move(right)});
    }
  }

  ExpressionPtr either() { return binary(&Parser::both, {{"or", Binary::Op::either}}, Kind::name); }
  ExpressionPtr both() { return binary(&Parser::negation, {{"and", Binary::Op::both}}, Kind::name); }

  ExpressionPtr negation() {
    const Token& first = at();
    if (!skip_name("not")) return comparison();
    const Nested nested(*this);
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
      if (skip_op(text)) return op;
    if (skip_name("in")) return Op::in;
    if (!at().is_name("not") || !at(1).is_name("in")) return std::nullopt;
    take(), take();
    return Op::not_in;
  }

  ExpressionPtr comparison() {
    const Token& first = at();
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
    return binary(&Parser::concatenation, {{"+", Binary::Op::add}, {"-", Binary::Op::subtract}}, Kind::op);
  }

  ExpressionPtr concatenation() {
    const Token& first = at();
    std::vector<ExpressionPtr> parts;
    do {
      parts.push_back(product());
    } while (skip_op("~"));
    if (parts.size() == 1) return std::move(parts[0]);
    const int depth = depth_of(parts);
    return make(first, depth, Concatenation{std::move(parts)});
  }

  ExpressionPtr product() {
    return binary(&Parser::power,
                  {{"*", Binary::Op::multiply},
                   {"/", Binary::Op::divide},
                   {"//", Binary::Op::floor_divide},
                   {"%", Binary::Op::modulo}},
                  Kind::op);
  }

  ExpressionPtr power() { return binary(&Parser::filtered_unary, {{"**", Binary::Op::power}}, Kind::op); }

  ExpressionPtr filtered_unary() { return unary(true); }

  ExpressionPtr unary(bool with_filters) {
    const Token& first = at();
    ExpressionPtr node;
    if (at().is_op("-") || at().is_op("+")) {
      const Nested nested(*this);
      const auto op = take().text == "-" ? Unary::Op::negate : Unary::Op::plus;
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
    const Token& token = at();
    switch (token.kind) {
      case Kind::name:
        return name_or_constant(fields);
      case Kind::string:
        return strings();
      case Kind::integer:
        take();
        return make(token, 0, Literal{{token.integer}});
      case Kind::real:
        take();
        return make(token, 0, Literal{{token.real}});
      default:
        break;
    }
    if (skip_op("(")) {
      const Nested nested(*this);
      ExpressionPtr inside = tuple({.in_brackets = true});
      inside->begin = token.begin;
      inside->end = at().end;
      expect_op(")");
      return inside;
    }
    if (at().is_op("[")) return list();
    if (at().is_op("{")) return dict();
    wrong("unexpected " + described(token));
  }

  ExpressionPtr name_or_constant(bool fields) {
    const Token& token = take();
    const std::string& text = token.text;
    if (text == "true" || text == "True") return make(token, 0, Literal{{true}});
    if (text == "false" || text == "False") return make(token, 0, Literal{{false}});
    if (text == "none" || text == "None") return make(token, 0, Literal{{None()}});
    if (fields && skip_op(".")) {
      std::string field = name();
      return make(token, 0, NamespaceField{text, std::move(field), {}});
    }
    return make(token, 0, Name{Name::Use::load, text, {}});
  }

  ExpressionPtr strings() {
    const Token& first = at();
    std::string all;
    while (at().kind == Kind::string) all += take().text;
    return make(first, 0, Literal{make_text(std::move(all))});
  }

  ExpressionPtr list() {
    const Token& first = take();
    std::vector<ExpressionPtr> items;
    while (!at().is_op("]")) {
      if (!items.empty()) expect_op(",");
      if (at().is_op("]")) break;
      items.push_back(expression());
    }
    take();
    const int depth = depth_of(items);
    return make(first, depth, Sequence{std::move(items), false});
  }

  ExpressionPtr dict() {
    const Token& first = take();
    Pairs pairs;
    int depth = 0;
    while (!at().is_op("}")) {
      if (!pairs.items.empty()) expect_op(",");
      if (at().is_op("}")) break;
      ExpressionPtr key = expression();
      expect_op(":");
      ExpressionPtr value = expression();
      depth = std::max({depth, depth_of(key), depth_of(value)});
      pairs.items.emplace_back(std::move(key), std::move(value));
    }
    take();
    return make(first, depth, std::move(pairs));
  }

  ExpressionPtr postfix(ExpressionPtr node) {
    while (true) {
      if (at().is_op("."))
        node = attribute(std::move(node));
      else if (at().is_op("["))
        node = subscript(std::move(node));
      else if (at().is_op("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  ExpressionPtr attribute(ExpressionPtr object) {
    take();
    const Token& token = take();
    const std::size_t line = object->line, begin = object->begin;
    const int depth = object->depth;
    if (token.kind == Kind::name)
      return make_at(line, begin, depth, Attribute{std::move(object), token.text});
    if (token.kind != Kind::integer) fail("expected a name or a number behind '.'", token.line);
    ExpressionPtr key = make(token, 0, Literal{{token.integer}});
    return make_at(line, begin, depth, Subscript{std::move(object), std::move(key)});
  }

  ExpressionPtr subscript(ExpressionPtr object) {
    const Token& open = take();
    const std::size_t line = object->line, begin = object->begin;
    std::vector<ExpressionPtr> keys;
    if (!at().is_op(":") && !at().is_op("]")) keys.push_back(expression());
    if (at().is_op(":")) return slice(std::move(object), keys.empty() ? nullptr : std::move(keys[0]));
    while (!at().is_op("]")) {
      expect_op(",");
      keys.push_back(expression());
    }
    take();
    const int keys_depth = depth_of(keys);
    ExpressionPtr key =
        keys.size() == 1 ? std::move(keys[0]) : make(open, keys_depth, Sequence{std::move(keys), true});
    const int depth = std::max(object->depth, key->depth);
    return make_at(line, begin, depth, Subscript{std::move(object), std::move(key)});
  }

  // [start:stop:step] from the first colon on.
  ExpressionPtr slice(ExpressionPtr object, ExpressionPtr start) {
    const std::size_t line = object->line, begin = object->begin;
    const auto part = [&] { return at().is_op(":") || at().is_op("]") ? nullptr : expression(); };
    take();
    Slice node{std::move(object), std::move(start), part(), nullptr};
    if (skip_op(":")) node.step = part();
    expect_op("]");
    const int depth =
        std::max({depth_of(node.object), depth_of(node.start), depth_of(node.stop), depth_of(node.step)});
    return make_at(line, begin, depth, std::move(node));
  }

  ArgumentList arguments() {
    expect_op("(");
    ArgumentList list;
    const auto check = [&](bool in_order) {
      if (!in_order) wrong("the arguments of a call are in an order that is not allowed");
    };
    for (bool first = true; !at().is_op(")"); first = false) {
      if (!first) expect_op(",");
      if (at().is_op(")")) break;
      if (skip_op("*")) {
        check(!list.star && !list.double_star);
        list.star = expression();
      } else if (skip_op("**")) {
        check(!list.double_star);
        list.double_star = expression();
      } else if (at().kind == Kind::name && at(1).is_op("=")) {
        check(!list.double_star);
        named_argument(list);
      } else {
        check(!list.star && !list.double_star && list.named.empty());
        list.positional.push_back(expression());
      }
    }
    take();
    return list;
  }

  void named_argument(ArgumentList& list) {
    std::string key = name();
    for (const auto& other : list.named)
      if (other.first == key) wrong("the argument '" + key + "' occurs twice");
    take();
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
      if (at().is_op("|"))
        node = filters(std::move(node), false);
      else if (at().is_name("is"))
        node = test(std::move(node));
      else if (at().is_op("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  std::string dotted_name() {
    std::string all = name();
    while (skip_op(".")) all += "." + name();
    return all;
  }

  // One or more filters; `inline_start`: the first one has no "|" before it.
  ExpressionPtr filters(ExpressionPtr node, bool inline_start) {
    while (inline_start || at().is_op("|")) {
      if (!inline_start) take();
      inline_start = false;
      const Token& first = at();
      const std::size_t line = node ? node->line : first.line, begin = node ? node->begin : first.begin;
      std::string filter = dotted_name();
      ArgumentList list = at().is_op("(") ? arguments() : ArgumentList();
      const int depth = std::max(depth_of(node), depth_of(list));
      node =
          make_at(line, begin, depth,
                  Application{Application::Of::filter, std::move(filter), std::move(node), std::move(list)});
    }
    return node;
  }

  ExpressionPtr test(ExpressionPtr node) {
    take();
    const bool negated = skip_name("not");
    const std::size_t line = node->line, begin = node->begin;
    std::string test_name = dotted_name();
    ArgumentList list;
    if (at().is_op("("))
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
    const Token& token = at();
    if (token.is_name("is")) wrong("tests with 'is' cannot be chained");
    if (token.kind == Kind::name) return token.text != "else" && token.text != "or" && token.text != "and";
    return token.kind == Kind::string || token.kind == Kind::integer || token.kind == Kind::real ||
           token.is_op("[") || token.is_op("{");
  }

  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  int nesting_ = 0, loops_ = 0;
};

}  // namespace

Program parse(std::string_view text) {
  Program program;
  program.source = normalize_lines(text);
  program.root.body = Parser(tokenize(program.source)).run();
  return program;
}

}  // namespace baleen::jinja
