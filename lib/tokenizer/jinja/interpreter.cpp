#include "tokenizer/jinja/interpreter.h"

#include <algorithm>
#include <map>

#include "tokenizer/jinja/loop.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace baleen::jinja {
namespace {

// Expressions and statements inside each other while running, macros included: what the stack must hold.
constexpr int kMaxEvaluationDepth = 1500;

enum class Flow { on, leave, next };  // what a statement does to the loop around it

using ActivationPtr = std::shared_ptr<Activation>;

class Interpreter {
 public:
  Interpreter(const Program& program, Runtime& runtime, const Value& variables)
      : program_(program), runtime_(runtime), variables_(*variables.dict()), out_(runtime) {}

  std::string run() {
    const Function& root = program_.root;
    frame_ = std::make_shared<Activation>(Activation{std::vector<Value>(root.slots), nullptr});
    enter(root.loads);
    execute(root.body);
    return out_.take();
  }

 private:
  class Deeper {
   public:
    explicit Deeper(Interpreter& interpreter) : depth_(interpreter.depth_) {
      if (++depth_ > kMaxEvaluationDepth) {
        --depth_;
        fail("more than " + std::to_string(kMaxEvaluationDepth) + " calls inside each other, the limit");
      }
    }
    ~Deeper() { --depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    int& depth_;
  };

  // Makes `activation` the current one until the end of the scope.
  class Inside {
   public:
    Inside(Interpreter& interpreter, ActivationPtr activation)
        : interpreter_(interpreter), around_(std::exchange(interpreter.frame_, std::move(activation))) {}
    ~Inside() { interpreter_.frame_ = std::move(around_); }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    Interpreter& interpreter_;
    ActivationPtr around_;
  };

  // Collects what is printed until take() or the end of the scope.
  class Capture {
   public:
    explicit Capture(Interpreter& interpreter)
        : interpreter_(interpreter), around_(std::exchange(interpreter.out_, Writer(interpreter.runtime_))) {}
    ~Capture() { interpreter_.out_ = std::move(around_); }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    Value take() { return make_text(interpreter_.out_.take()); }

   private:
    Interpreter& interpreter_;
    Writer around_;
  };

  // Variables.

  Value& variable(const Slot& slot) {
    Activation* frame = frame_.get();
    for (int i = 0; i < slot.hops; ++i) frame = frame->outer.get();
    return frame->slots[static_cast<std::size_t>(slot.index)];
  }

  Value given(const std::string& name) {
    if (const Value* value = variables_.find(name)) return *value;
    if (const auto known = globals_.find(name); known != globals_.end()) return known->second;
    if (auto global = find_global(name)) return globals_[name] = std::move(*global);
    return missing(name);
  }

  Value missing(const std::string& name) { return runtime_.undefined("'" + name + "' is undefined"); }

  void enter(const Loads& loads) {
    runtime_.step(loads.size());
    for (const Load& load : loads) {
      Value& slot = frame_->slots[static_cast<std::size_t>(load.index)];
      switch (load.from) {
        case Load::From::context:
          slot = given(load.name);
          break;
        case Load::From::outer:
          slot = variable(load.outer);
          break;
        case Load::From::nothing:
          slot = missing(load.name);
          break;
      }
    }
  }

  // Statements.

  Flow execute(const Block& block) {
    const Deeper deeper(*this);
    for (const Statement& statement : block) {
      runtime_.step();
      const Flow flow = located(statement.line, [&] {
        return std::visit([this](const auto& node) { return run(node); }, statement.node);
      });
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  // Adds the line to a failure that has none.
  template <typename Work>
  static Flow located(std::size_t line, Work work) {
    try {
      return work();
    } catch (Failure& failure) {
      if (failure.line == 0) failure.line = line;
      throw;
    }
  }

  Flow run(const Data& data) {
    out_.add(data.text);
    return Flow::on;
  }

  Flow run(const Print& print) {
    write(out_, evaluate(*print.value));
    return Flow::on;
  }

  Flow run(const If& node) {
    for (const auto& [test, body] : node.branches)
      if (is_true(evaluate(*test))) return execute(body);
    return execute(node.otherwise);
  }

  Flow run(const For& node) {
    const Value iterable = evaluate(*node.iterable);
    if (!node.recursive) return run_loop(node, iterable, 0, frame_);
    print_text(run_recursively(node, iterable, 0, frame_));
    return Flow::on;
  }

  // The loop as a function of its own that gives what it printed.
  Value run_recursively(const For& node, const Value& iterable, int depth, ActivationPtr outer) {
    const Deeper deeper(*this);
    const Inside inside(*this, new_activation(node.slots, outer));
    Capture capture(*this);
    run_loop(node, iterable, depth, outer);
    return capture.take();
  }

  Flow run_loop(const For& node, const Value& iterable, int depth, ActivationPtr outer) {
    auto loop =
        std::make_shared<Loop>(runtime_, node.test ? tested(node, iterable, outer) : iterate(iterable),
                               node.test ? std::nullopt : length(runtime_, iterable), depth);
    std::optional<Value> variable_loop;
    if (node.loop >= 0) variable_loop = loop->variable(recursion(node, depth, outer));
    bool completed = false;
    while (const auto item = loop->next()) {
      runtime_.step();
      assign(*node.target, *item);
      if (variable_loop) frame_->slots[static_cast<std::size_t>(node.loop)] = *variable_loop;
      enter(node.body_loads);
      const Flow flow = execute(node.body);
      if (flow == Flow::leave) break;
      completed |= flow == Flow::on;
    }
    // As Jinja compiles it: else also follows rounds that were all left early.
    if (completed || node.otherwise.empty()) return Flow::on;
    enter(node.otherwise_loads);
    return execute(node.otherwise);
  }

  std::function<Value(const Value&)> recursion(const For& node, int depth, ActivationPtr outer) {
    if (!node.recursive) return {};
    runtime_.keep(outer);
    return [this, &node, depth, outer](const Value& iterable) {
      return run_recursively(node, iterable, depth + 1, outer);
    };
  }

  // The items that pass the loop's test, which runs in a scope of its own, item by item.
  Iterator tested(const For& node, const Value& iterable, ActivationPtr outer) {
    runtime_.keep(outer);
    return {
        [this, &node, outer, items = iterate(iterable), started = false]() mutable -> std::optional<Value> {
          const Inside inside(*this, outer);
          if (!std::exchange(started, true)) enter(node.test_loads);
          while (auto item = items.next()) {
            runtime_.step();
            assign(*node.test_target, *item);
            if (is_true(evaluate(*node.test))) return item;
          }
          return std::nullopt;
        },
        depth_of(iterable) + 1};
  }

  Flow run(const Set& node) {
    Value value = evaluate(*node.value);
    assign(*node.target, std::move(value));
    return Flow::on;
  }

  Flow run(const SetBlock& node) {
    enter(node.loads);
    Value value;
    {
      Capture capture(*this);
      const Flow flow = execute(node.body);
      if (flow != Flow::on) return flow;
      value = capture.take();
    }
    if (node.filter) value = evaluate_with(*node.filter, std::move(value));
    assign(*node.target, std::move(value));
    return Flow::on;
  }

  Flow run(const FilterBlock& node) {
    enter(node.loads);
    Value text;
    {
      Capture capture(*this);
      const Flow flow = execute(node.body);
      if (flow != Flow::on) return flow;
      text = capture.take();
    }
    print_text(evaluate_with(*node.filter, std::move(text)));
    return Flow::on;
  }

  // Filters whose innermost subject is the text of the block around them.
  Value evaluate_with(const Expression& filter, Value text) {
    const Value around = std::exchange(block_text_, std::move(text));
    Value result = evaluate(filter);
    block_text_ = around;
    return result;
  }

  // Where Jinja joins pieces of text without str(): anything else is an error.
  void print_text(const Value& value) {
    if (!value.text()) fail("expected text to print, found " + std::string(type_name(value)));
    out_.add(*value.text());
  }

  Flow run(const With& node) {
    std::vector<Value> values;
    for (const auto& [target, value] : node.assignments) values.push_back(evaluate(*value));
    enter(node.loads);
    for (std::size_t i = 0; i < values.size(); ++i) assign(*node.assignments[i].first, std::move(values[i]));
    return execute(node.body);
  }

  Flow run(const MacroDefinition& node) {
    variable(node.slot) = closure(node.function);
    return Flow::on;
  }

  Flow run(const CallBlock& node) {
    const Value caller = closure(node.function);
    if (!node.call) {
      print_text(runtime_.call(caller, {}));
      return Flow::on;
    }
    const auto& call = std::get<CallExpression>(node.call->node);
    Value callee = evaluate(*call.callee);
    Arguments arguments = evaluate(call.arguments);
    add_named(arguments, "caller", caller);
    print_text(runtime_.call(callee, std::move(arguments)));
    return Flow::on;
  }

  Flow run(const LoopControl& node) {
    return node.kind == LoopControl::Kind::leave ? Flow::leave : Flow::next;
  }

  [[noreturn]] Flow run(const Unsupported& node) {
    fail("the tag '" + node.tag + "' is not supported: there is nothing to load from");
  }

  // Assignment.

  void assign(const Expression& target, Value value) {
    if (const Name* name = std::get_if<Name>(&target.node)) {
      variable(name->slot) = std::move(value);
    } else if (const auto* field = std::get_if<NamespaceField>(&target.node)) {
      assign_field(*field, std::move(value));
    } else {
      const auto& items = std::get<Sequence>(target.node).items;
      std::vector<Value> values = to_vector(runtime_, value);
      if (values.size() != items.size())
        fail("cannot unpack " + std::to_string(values.size()) + " values into " +
             std::to_string(items.size()) + " names");
      for (std::size_t i = 0; i < values.size(); ++i) assign(*items[i], std::move(values[i]));
    }
  }

  void assign_field(const NamespaceField& field, Value value) {
    const auto* names = variable(field.slot).get<std::shared_ptr<Namespace>>();
    if (!names) fail("cannot assign attribute on non-namespace object '" + field.name + "'");
    check_namespace_name(field.field);
    auto& attributes = (*names)->attributes;
    runtime_.step(attributes.size() / 8);
    const auto at = std::find_if(attributes.begin(), attributes.end(),
                                 [&](const auto& a) { return a.first == field.field; });
    if (at == attributes.end())
      attributes.emplace_back(field.field, std::move(value));
    else
      std::swap(at->second, value);  // the old value goes when nothing is half done
  }

  // Functions.

  ActivationPtr new_activation(int slots, const ActivationPtr& outer) {
    runtime_.spend(sizeof(Activation) + static_cast<std::size_t>(slots) * sizeof(Value));
    return std::make_shared<Activation>(
        Activation{std::vector<Value>(static_cast<std::size_t>(slots)), outer});
  }

  Value closure(const std::shared_ptr<Function>& function) {
    runtime_.keep(frame_);
    Native native;
    native.name = function->name.empty() ? "<Macro anonymous>" : "<Macro " + quoted(function->name) + ">";
    native.call = [this, function, outer = frame_](Runtime&, Arguments arguments) {
      return call(*function, outer, std::move(arguments));
    };
    native.attribute = [this, function](std::string_view name) { return describe(*function, name); };
    return {std::make_shared<const Native>(std::move(native))};
  }

  std::optional<Value> describe(const Function& function, std::string_view name) {
    if (name == "name") return function.name.empty() ? Value{None()} : make_text(function.name);
    if (name == "catch_kwargs") return Value{function.kwargs >= 0};
    if (name == "catch_varargs") return Value{function.varargs >= 0};
    if (name == "caller") return Value{function.caller >= 0};
    if (name != "arguments") return std::nullopt;
    std::vector<Value> names;
    for (const auto& parameter : function.parameters)
      names.push_back(runtime_.text(std::get<Name>(parameter->node).name));
    return runtime_.list(std::move(names), List::Kind::tuple);
  }

  Value call(const Function& function, const ActivationPtr& outer, Arguments arguments) {
    const Deeper deeper(*this);
    const Inside inside(*this, new_activation(function.slots, outer));
    enter(function.loads);
    pass(function, std::move(arguments));
    Capture capture(*this);
    execute(function.body);
    return capture.take();
  }

  void pass(const Function& function, Arguments arguments) {
    const std::size_t count = function.parameters.size();
    const std::string name = function.name.empty() ? "the call block" : "macro '" + function.name + "'";
    const auto slot = [&](int index) -> Value& { return frame_->slots[static_cast<std::size_t>(index)]; };
    std::vector<std::optional<Value>> passed(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (i < arguments.positional.size())
        passed[i] = std::move(arguments.positional[i]);
      else
        passed[i] = take_named(arguments, std::get<Name>(function.parameters[i]->node).name);
    }
    if (function.caller >= 0)
      slot(function.caller) = take_named(arguments, "caller").value_or(undefined("No caller defined"));
    if (function.kwargs >= 0)
      slot(function.kwargs) = as_dict(std::exchange(arguments.named, {}));
    else if (!arguments.named.empty())
      fail(name + " takes no keyword argument '" + arguments.named[0].first + "'");
    const std::size_t used = std::min(count, arguments.positional.size());
    arguments.positional.erase(arguments.positional.begin(),
                               arguments.positional.begin() + static_cast<std::ptrdiff_t>(used));
    if (function.varargs >= 0)
      slot(function.varargs) = runtime_.list(std::move(arguments.positional), List::Kind::tuple);
    else if (!arguments.positional.empty())
      fail(name + " takes not more than " + std::to_string(count) + " argument(s)");
    set_parameters(function, std::move(passed));
  }

  // A default may use the parameters before it; those behind it are not there yet.
  void set_parameters(const Function& function, std::vector<std::optional<Value>> passed) {
    const std::size_t count = passed.size(), required = count - function.defaults.size();
    for (std::size_t i = 0; i < count; ++i) {
      const Name& name = std::get<Name>(function.parameters[i]->node);
      variable(name.slot) = passed[i] ? std::move(*passed[i]) : missing(name.name);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (passed[i]) continue;
      const Name& name = std::get<Name>(function.parameters[i]->node);
      variable(name.slot) = i >= required ? evaluate(*function.defaults[i - required])
                                          : undefined("parameter '" + name.name + "' was not provided");
    }
  }

  std::optional<Value> take_named(Arguments& arguments, std::string_view name) {
    runtime_.step(arguments.named.size() / 8);
    const auto at = std::find_if(arguments.named.begin(), arguments.named.end(),
                                 [&](const auto& a) { return a.first == name; });
    if (at == arguments.named.end()) return std::nullopt;
    Value value = std::move(at->second);
    arguments.named.erase(at);
    return value;
  }

  Value as_dict(std::vector<std::pair<std::string, Value>> named) {
    std::vector<std::pair<Value, Value>> items;
    for (auto& [name, value] : named) items.emplace_back(runtime_.text(std::move(name)), std::move(value));
    return make_dict(std::move(items));
  }

  void add_named(Arguments& arguments, const std::string& name, Value value) {
    runtime_.step(arguments.named.size() / 8);
    for (const auto& other : arguments.named)
      if (other.first == name) fail("the argument '" + name + "' is given twice");
    arguments.named.emplace_back(name, std::move(value));
  }

  Arguments evaluate(const ArgumentList& list) {
    Arguments arguments;
    for (const auto& value : list.positional) arguments.positional.push_back(evaluate(*value));
    for (const auto& [name, value] : list.named) arguments.named.emplace_back(name, evaluate(*value));
    if (list.star)
      for (Value& value : to_vector(runtime_, evaluate(*list.star)))
        arguments.positional.push_back(std::move(value));
    if (!list.double_star) return arguments;
    const Value named = evaluate(*list.double_star);
    if (!named.dict()) fail("'**' takes a dict, not " + std::string(type_name(named)));
    for (const auto& [key, value] : named.dict()->items) {
      if (!key.text()) fail("the names of arguments must be strings");
      add_named(arguments, *key.text(), value);
    }
    return arguments;
  }

  // Expressions.

  Value evaluate(const Expression& expression) {
    try {
      const Deeper deeper(*this);
      runtime_.step();
      return std::visit([this](const auto& node) { return value_of(node); }, expression.node);
    } catch (Failure& failure) {
      if (failure.line == 0) {
        failure.line = expression.line;
        if (!failure.is_own)
          failure.expression = program_.source.substr(expression.begin, expression.end - expression.begin);
      }
      throw;
    }
  }

  Value value_of(const Literal& node) { return node.value; }
  Value value_of(const Name& node) { return variable(node.slot); }
  [[noreturn]] Value value_of(const NamespaceField&) { fail("a target is no value"); }

  Value value_of(const Sequence& node) {
    std::vector<Value> items;
    for (const auto& item : node.items) items.push_back(evaluate(*item));
    return runtime_.list(std::move(items), node.is_tuple ? List::Kind::tuple : List::Kind::list);
  }

  Value value_of(const Pairs& node) {
    std::vector<std::pair<Value, Value>> items;
    for (const auto& [key, value] : node.items) {
      Value name = evaluate(*key);
      jinja::assign(runtime_, items, std::move(name), evaluate(*value));
    }
    return make_dict(std::move(items));
  }

  Value value_of(const Unary& node) { return unary(node.op, evaluate(*node.operand)); }

  Value value_of(const Binary& node) {
    Value left = evaluate(*node.left);
    if (node.op == Binary::Op::both) return is_true(left) ? evaluate(*node.right) : left;
    if (node.op == Binary::Op::either) return is_true(left) ? left : evaluate(*node.right);
    return binary(runtime_, node.op, left, evaluate(*node.right));
  }

  Value value_of(const Comparison& node) {
    Value left = evaluate(*node.first);
    for (const auto& [op, right] : node.rest) {
      Value value = evaluate(*right);
      if (!compare(runtime_, op, left, value)) return {false};
      left = std::move(value);
    }
    return {true};
  }

  Value value_of(const Concatenation& node) {
    Writer text(runtime_);
    for (const auto& part : node.parts) write(text, evaluate(*part));
    return make_text(text.take());
  }

  Value value_of(const Conditional& node) {
    if (is_true(evaluate(*node.test))) return evaluate(*node.then);
    if (node.otherwise) return evaluate(*node.otherwise);
    return undefined("the inline if-expression evaluated to false and no else section was defined");
  }

  Value value_of(const Attribute& node) { return get_attribute(runtime_, evaluate(*node.object), node.name); }

  Value value_of(const Subscript& node) {
    const Value object = evaluate(*node.object);
    return get_item(runtime_, object, evaluate(*node.key));
  }

  Value value_of(const Slice& node) {
    const auto bound = [&](const ExpressionPtr& part) { return part ? evaluate(*part) : Value{None()}; };
    const Value object = evaluate(*node.object);
    const Value start = bound(node.start), stop = bound(node.stop);
    return slice(runtime_, object, start, stop, bound(node.step));
  }

  Value value_of(const CallExpression& node) {
    const Value callee = evaluate(*node.callee);
    return runtime_.call(callee, evaluate(node.arguments));
  }

  Value value_of(const Application& node) {
    const bool is_filter = node.of == Application::Of::filter;
    if (!node.builtin)
      fail("there is no " + std::string(is_filter ? "filter" : "test") + " '" + node.name + "'");
    Value subject = node.subject ? evaluate(*node.subject) : block_text_;
    Arguments arguments = evaluate(node.arguments);
    arguments.positional.insert(arguments.positional.begin(), std::move(subject));
    return apply(runtime_, *node.builtin, std::move(arguments));
  }

  const Program& program_;
  Runtime& runtime_;
  const Dict& variables_;
  Writer out_;
  ActivationPtr frame_;
  Value block_text_;
  std::map<std::string, Value> globals_;  // those in use: each is one object, whoever compares it
  int depth_ = 0;
};

}  // namespace

std::string run(const Program& program, Runtime& runtime, const Value& variables) {
  return Interpreter(program, runtime, variables).run();
}

}  // namespace baleen::jinja
