#include "tokenizer/jinja/parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <set>

#include "tokenizer/jinja/expression_parser.h"
#include "tokenizer/jinja/token_stream.h"

namespace baleen::jinja {
namespace {

using Kind = Token::Kind;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Block run() {
    Block block = statements({});
    if (tokens_.at().kind != Kind::end) tokens_.wrong("unexpected " + described(tokens_.at()));
    return block;
  }

 private:
  // Up to a tag in `ends`, which is left with its name as the current token; no `ends`: the whole template.
  Block statements(std::initializer_list<std::string_view> ends) {
    const TokenStream::Nested nested(tokens_);
    Block block;
    while (tokens_.at().kind != Kind::end) {
      const Token& token = tokens_.take();
      if (token.kind == Kind::data) {
        block.push_back({token.line, Data{token.text}});
      } else if (token.kind == Kind::print_begin) {
        ExpressionPtr value = parse_tuple(tokens_);
        tokens_.expect(Kind::print_end, "'}}'");
        block.push_back({token.line, Print{std::move(value)}});
      } else {
        const bool is_end = tokens_.at().kind == Kind::name &&
                            std::find(ends.begin(), ends.end(), tokens_.at().text) != ends.end();
        if (is_end) return block;
        statement(block);
        tokens_.expect(Kind::block_end, "'%}'");
      }
    }
    if (ends.size() > 0)
      tokens_.wrong("the template ends where '" + std::string(*(ends.end() - 1)) + "' is missing");
    return block;
  }

  // The body of a statement whose opening tag is read but for its end; drops the tag that ends it.
  Block body(std::initializer_list<std::string_view> ends) {
    tokens_.skip_op(":");
    tokens_.expect(Kind::block_end, "'%}'");
    return statements(ends);
  }
  Block body(std::string_view end) {
    Block block = body({end});
    tokens_.take();
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
    const std::size_t line = tokens_.at().line;
    const std::string tag = tokens_.name();
    const auto found = std::find_if(tags.begin(), tags.end(), [&](const Tag& t) { return t.name == tag; });
    if (tag == "block") fail("the tag 'block' is not supported: a chat template has no parents", line);
    if (found == tags.end()) fail("unknown or misplaced tag '" + tag + "'", line);
    (this->*found->parse)(block, line);
  }

  void parse_if(Block& block, std::size_t line) {
    If node;
    do {
      ExpressionPtr test = parse_tuple(tokens_, {.conditional = false});
      Block then = body({"elif", "else", "endif"});
      node.branches.emplace_back(std::move(test), std::move(then));
    } while (tokens_.take().text == "elif");
    if (tokens_.last().text == "else") node.otherwise = body("endif");
    block.push_back({line, std::move(node)});
  }

  void parse_for(Block& block, std::size_t line) {
    For node;
    const std::size_t begin = tokens_.position();
    node.target = parse_target(tokens_, {.end = "in"});
    tokens_.expect_name("in");
    node.iterable = parse_tuple(tokens_, {.conditional = false, .end = "recursive"});
    if (tokens_.skip_name("if")) {
      node.test = parse_expression(tokens_);
      // The test has a scope of its own, and so needs its own copy of the target.
      const std::size_t after = tokens_.position();
      tokens_.go_back(begin);
      node.test_target = parse_target(tokens_, {.end = "in"});
      tokens_.go_back(after);
    }
    node.recursive = tokens_.skip_name("recursive");
    ++loops_;
    node.body = body({"else", "endfor"});
    --loops_;
    if (tokens_.take().text == "else") node.otherwise = body("endfor");
    block.push_back({line, std::move(node)});
  }

  void parse_set(Block& block, std::size_t line) {
    ExpressionPtr to = parse_target(tokens_, {.fields = true});
    if (tokens_.skip_op("=")) {
      ExpressionPtr value = parse_tuple(tokens_);
      block.push_back({line, Set{std::move(to), std::move(value)}});
      return;
    }
    ExpressionPtr filter = tokens_.at().is_op("|") ? parse_filters(tokens_, false) : nullptr;
    Block content = body("endset");
    block.push_back({line, SetBlock{std::move(to), std::move(filter), std::move(content), {}}});
  }

  void signature(Function& function) {
    tokens_.expect_op("(");
    std::set<std::string> names;
    while (!tokens_.at().is_op(")")) {
      if (!function.parameters.empty()) tokens_.expect_op(",");
      ExpressionPtr parameter = parse_parameter(tokens_);
      const std::string& name = std::get<Name>(parameter->node).name;
      if (!names.insert(name).second) tokens_.wrong("the parameter '" + name + "' occurs twice");
      function.parameters.push_back(std::move(parameter));
      if (tokens_.skip_op("="))
        function.defaults.push_back(parse_expression(tokens_));
      else if (!function.defaults.empty())
        tokens_.wrong("a parameter without a default stands behind one with a default");
    }
    tokens_.take();
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
    function->name = parse_assignable_name(tokens_);
    signature(*function);
    function->body = function_body("endmacro");
    const std::string called = function->name;
    block.push_back({line, MacroDefinition{called, {}, std::move(function)}});
  }

  void parse_call(Block& block, std::size_t line) {
    auto function = std::make_shared<Function>();
    if (tokens_.at().is_op("(")) signature(*function);
    ExpressionPtr call = parse_expression(tokens_);
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
    ExpressionPtr filter = parse_filters(tokens_, true);
    Block content = body("endfilter");
    block.push_back({line, FilterBlock{std::move(filter), std::move(content), {}}});
  }

  void parse_with(Block& block, std::size_t line) {
    With node;
    while (tokens_.at().kind != Kind::block_end) {
      if (!node.assignments.empty()) tokens_.expect_op(",");
      ExpressionPtr to = parse_target(tokens_, {.use = Name::Use::parameter});
      tokens_.expect_op("=");
      ExpressionPtr value = parse_expression(tokens_);
      node.assignments.emplace_back(std::move(to), std::move(value));
    }
    node.body = body("endwith");
    block.push_back({line, std::move(node)});
  }

  // Escaping is off anyway, so all that remains is a scope.
  void parse_autoescape(Block& block, std::size_t line) {
    const ExpressionPtr value = parse_expression(tokens_);
    const Literal* literal = std::get_if<Literal>(&value->node);
    if (!literal || is_true(literal->value)) fail("autoescape is only supported with false", line);
    With node;
    node.body = body("endautoescape");
    block.push_back({line, std::move(node)});
  }

  void parse_print(Block& block, std::size_t line) {
    for (bool first = true; tokens_.at().kind != Kind::block_end; first = false) {
      if (!first) tokens_.expect_op(",");
      block.push_back({line, Print{parse_expression(tokens_)}});
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
    parse_expression(tokens_);
    if (tokens_.at().is_name("ignore") && tokens_.at(1).is_name("missing")) tokens_.take(), tokens_.take();
    import_context();
    block.push_back({line, Unsupported{"include, extends"}});
  }
  void parse_import(Block& block, std::size_t line) {
    parse_expression(tokens_);
    tokens_.expect_name("as");
    tokens_.name();
    import_context();
    block.push_back({line, Unsupported{"import"}});
  }
  void parse_from(Block& block, std::size_t line) {
    parse_expression(tokens_);
    tokens_.expect_name("import");
    do {
      if (import_context()) break;
      tokens_.name();
      if (tokens_.skip_name("as")) tokens_.name();
    } while (!import_context() && tokens_.skip_op(","));
    block.push_back({line, Unsupported{"import"}});
  }
  bool import_context() {
    const bool found =
        (tokens_.at().is_name("with") || tokens_.at().is_name("without")) && tokens_.at(1).is_name("context");
    if (found) tokens_.take(), tokens_.take();
    return found;
  }

  TokenStream tokens_;
  int loops_ = 0;  // around the current statement, in the same function
};

}  // namespace

Program parse(std::string_view text) {
  Program program;
  program.source = normalize_lines(text);
  program.root.body = Parser(tokenize(program.source)).run();
  return program;
}

}  // namespace baleen::jinja
