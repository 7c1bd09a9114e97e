#include "tokenizer/jinja/scopes.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "tokenizer/jinja/overload.h"

namespace baleen::jinja {
namespace {

// Calls `visit` for each expression that `arguments` hold.
template <typename Visit>
void each_argument(ArgumentList& arguments, Visit visit) {
  for (auto& value : arguments.positional) visit(value);
  for (auto& [name, value] : arguments.named) visit(value);
  visit(arguments.star);
  visit(arguments.double_star);
}

// Calls `visit` for the expressions directly inside `expression`, null ones included.
template <typename Visit>
void each_part(Expression& expression, Visit visit) {
  std::visit(
      Overload{[](Literal&) {}, [](Name&) {}, [](NamespaceField&) {},
               [&](Sequence& n) {
                 for (auto& item : n.items) visit(item);
               },
               [&](Pairs& n) {
                 for (auto& [key, value] : n.items) visit(key), visit(value);
               },
               [&](Unary& n) { visit(n.operand); }, [&](Binary& n) { visit(n.left), visit(n.right); },
               [&](Comparison& n) {
                 visit(n.first);
                 for (auto& [op, value] : n.rest) visit(value);
               },
               [&](Concatenation& n) {
                 for (auto& part : n.parts) visit(part);
               },
               [&](Conditional& n) { visit(n.test), visit(n.then), visit(n.otherwise); },
               [&](Attribute& n) { visit(n.object); }, [&](Subscript& n) { visit(n.object), visit(n.key); },
               [&](Slice& n) { visit(n.object), visit(n.start), visit(n.stop), visit(n.step); },
               [&](CallExpression& n) { visit(n.callee), each_argument(n.arguments, visit); },
               [&](Application& n) { visit(n.subject), each_argument(n.arguments, visit); }},
      expression.node);
}

// Walks names in the order in which Jinja does, statements inside functions and loops included.
template <typename Visit>
class NameWalk {
 public:
  explicit NameWalk(Visit visit) : visit_(visit) {}

  void walk(ExpressionPtr& expression) {
    if (!expression) return;
    if (Name* name = std::get_if<Name>(&expression->node)) visit_(*name, expression->line);
    each_part(*expression, [this](ExpressionPtr& part) { walk(part); });
  }

  void walk(Block& block) {
    for (Statement& statement : block) std::visit([this](auto& node) { in(node); }, statement.node);
  }

  void walk(Function& function) {
    for (auto& parameter : function.parameters) walk(parameter);
    for (auto& value : function.defaults) walk(value);
    walk(function.body);
  }

 private:
  void in(Data&) {}
  void in(LoopControl&) {}
  void in(Unsupported&) {}
  void in(Print& n) { walk(n.value); }
  void in(If& n) {
    for (auto& [test, body] : n.branches) walk(test), walk(body);
    walk(n.otherwise);
  }
  void in(For& n) {
    walk(n.target), walk(n.iterable);
    walk(n.body), walk(n.otherwise), walk(n.test);
  }
  void in(Set& n) { walk(n.target), walk(n.value); }
  void in(SetBlock& n) { walk(n.target), walk(n.filter), walk(n.body); }
  void in(FilterBlock& n) { walk(n.body), walk(n.filter); }
  void in(With& n) {
    for (auto& [target, value] : n.assignments) walk(target);
    for (auto& [target, value] : n.assignments) walk(value);
    walk(n.body);
  }
  void in(MacroDefinition& n) { walk(*n.function); }
  void in(CallBlock& n) { walk(n.call), walk(*n.function); }

  Visit visit_;
};

// Which of `names` a body reads before it assigns them.
std::set<std::string> read_names(Block& body, std::set<std::string> names) {
  std::set<std::string> found;
  NameWalk walk([&](const Name& name, std::size_t) {
    if (name.use != Name::Use::load)
      names.erase(name.name);
    else if (names.contains(name.name))
      found.insert(name.name);
  });
  walk.walk(body);
  return found;
}

// The slots of a function, which may be resolved in several scopes.
struct Slots {
  Slots* outer;
  int count = 0;
};

// What Jinja's analysis knows about a variable of a scope before any code runs.
struct Variable {
  struct Start {
    Load::From from;
    Slot outer;
  };
  int slot;  // kept when a branch of an if is forgotten
  bool known = false, assigned = false;
  std::optional<Start> start = {};  // none: it is passed
};

struct Scope {
  using Entry = std::pair<const std::string, Variable>;
  using States = std::vector<std::pair<Entry*, Variable>>;

  Scope* parent;
  Slots* slots;
  std::map<std::string, Variable> variables;
  // How changed variables were before, the latest last: what it takes to forget a branch of an if. Copies of
  // the scope would make a template of many ifs and names quadratic.
  States changes;

  Scope(Scope* around, Slots* in) : parent(around), slots(in) {}

  std::optional<Slot> find(const std::string& name) const {
    int hops = 0;
    for (const Scope* scope = this; scope; scope = scope->parent) {
      const auto at = scope->variables.find(name);
      if (at != scope->variables.end() && at->second.known) return Slot{hops, at->second.slot};
      if (scope->parent && scope->parent->slots != scope->slots) ++hops;
    }
    return std::nullopt;
  }
  std::optional<Slot> find_outside(const std::string& name) const {
    if (!parent) return std::nullopt;
    auto slot = parent->find(name);
    if (slot && parent->slots != slots) ++slot->hops;
    return slot;
  }

  // The variable of that name, about to be changed.
  Variable& change(Entry& entry) {
    changes.emplace_back(&entry, entry.second);
    return entry.second;
  }
  Variable& change(const std::string& name) {
    const auto [at, is_new] = variables.try_emplace(name, Variable{slots->count});
    if (is_new) ++slots->count;
    return change(*at);
  }

  void read(const std::string& name) {
    if (find(name)) return;
    Variable& variable = change(name);
    variable.known = true;
    variable.start = {Load::From::context, {}};
  }
  void assign(const std::string& name) {
    Variable& variable = change(name);
    variable.assigned = true;
    if (std::exchange(variable.known, true)) return;
    const auto outer = find_outside(name);
    variable.start = {outer ? Load::From::outer : Load::From::nothing, outer.value_or(Slot{})};
  }
  int pass(const std::string& name) {
    Variable& variable = change(name);
    variable = {variable.slot, true, true, {}};
    return variable.slot;
  }

  // Goes back to how the scope was after `kept` changes. What is returned is how the later ones had left
  // their variables.
  States forget(std::size_t kept) {
    States after;
    for (std::size_t i = kept; i < changes.size(); ++i)
      after.emplace_back(changes[i].first, changes[i].first->second);
    for (; changes.size() > kept; changes.pop_back()) changes.back().first->second = changes.back().second;
    return after;
  }

  Loads all_loads() const {
    Loads all;
    for (const auto& [name, variable] : variables)
      if (variable.start) all.push_back({variable.start->from, name, variable.slot, variable.start->outer});
    return all;
  }
};

// First pass over the statements of one scope: which names it reads and assigns. Stops at what has its own.
class Analysis {
 public:
  explicit Analysis(Scope& scope) : scope_(scope) {}

  void read(ExpressionPtr& expression) {
    NameWalk walk([this](const Name& name, std::size_t) { use(name); });
    walk.walk(expression);
    fields(expression);
  }

  // The target of a for, or with: its names are given their values from outside.
  void pass(ExpressionPtr& target) {
    NameWalk walk([this](const Name& name, std::size_t) { scope_.pass(name.name); });
    walk.walk(target);
  }

  void block(Block& block) {
    for (Statement& statement : block) std::visit([this](auto& node) { in(node); }, statement.node);
  }

 private:
  void use(const Name& name) {
    if (name.use == Name::Use::load) return scope_.read(name.name);
    if (name.use == Name::Use::store) return scope_.assign(name.name);
    scope_.pass(name.name);
  }

  // `ns.field = ` reads ns.
  void fields(ExpressionPtr& expression) {
    if (!expression) return;
    if (auto* field = std::get_if<NamespaceField>(&expression->node)) scope_.read(field->name);
    if (auto* items = std::get_if<Sequence>(&expression->node))
      for (auto& item : items->items) fields(item);
  }

  void in(Data&) {}
  void in(LoopControl&) {}
  void in(Unsupported&) {}
  void in(Print& n) { read(n.value); }
  void in(For& n) { read(n.iterable); }
  void in(Set& n) { read(n.value), read(n.target); }
  void in(SetBlock& n) { read(n.target); }
  void in(FilterBlock& n) { read(n.filter); }
  void in(With& n) {
    for (auto& [target, value] : n.assignments) read(value);
  }
  void in(MacroDefinition& n) { scope_.assign(n.name); }
  void in(CallBlock& n) { read(n.call); }

  // Each branch sees what stands before the if, not the other branches. What only some assign starts with the
  // value from around, as the if may take none of them.
  void in(If& n) {
    read(n.branches[0].first);
    const std::size_t before = scope_.changes.size();
    const Scope::States taken = branch(n.branches[0].second);
    for (std::size_t i = 1; i < n.branches.size(); ++i) {
      read(n.branches[i].first);
      const Scope::States body = branch(n.branches[i].second);
      merge({&body});
    }
    const Scope::States elifs = scope_.forget(before), otherwise = branch(n.otherwise);
    merge({&taken, &elifs, &otherwise});
  }

  // What `body` makes of the scope, which stays as it was.
  Scope::States branch(Block& body) {
    const std::size_t before = scope_.changes.size();
    block(body);
    return scope_.forget(before);
  }

  void merge(std::initializer_list<const Scope::States*> branches) {
    std::vector<Scope::Entry*> newly;
    for (const Scope::States* branch : branches)
      for (const auto& [entry, after] : *branch)
        if (after.assigned && !entry->second.assigned) newly.push_back(entry);
    for (const Scope::States* branch : branches)
      for (const auto& [entry, after] : *branch) {
        const Variable now = entry->second;
        if (now.known && (now.assigned || !after.assigned)) continue;
        scope_.change(*entry) = {now.slot, true, now.assigned || after.assigned,
                                 after.start ? after.start : now.start};
      }
    for (Scope::Entry* entry : newly) {
      const auto outer = scope_.find_outside(entry->first);
      entry->second.start = {outer ? Load::From::outer : Load::From::context, outer.value_or(Slot{})};
    }
  }

  Scope& scope_;
};

// Second pass: gives every name its slot and every inner scope its loads.
class Resolver {
 public:
  void root(Function& function) {
    Slots slots{nullptr};
    Scope scope(nullptr, &slots);
    Analysis(scope).block(function.body);
    resolve(function.body, scope, false);
    function.loads = scope.all_loads();
    function.slots = slots.count;
  }

 private:
  // `lenient`: directly inside an if, where unknown filters may stand.
  void resolve(Block& block, Scope& scope, bool lenient) {
    for (Statement& statement : block) {
      line_ = statement.line;
      std::visit([&](auto& node) { in(node, scope, lenient); }, statement.node);
    }
  }

  void resolve(ExpressionPtr& expression, Scope& scope, bool lenient) {
    if (!expression) return;
    line_ = expression->line;
    if (auto* name = std::get_if<Name>(&expression->node)) name->slot = slot(scope, name->name);
    if (auto* field = std::get_if<NamespaceField>(&expression->node)) field->slot = slot(scope, field->name);
    if (auto* applied = std::get_if<Application>(&expression->node)) look_up(*applied, lenient);
    const bool inner = lenient || std::holds_alternative<Conditional>(expression->node);
    each_part(*expression, [&](ExpressionPtr& part) { resolve(part, scope, inner); });
  }

  Slot slot(const Scope& scope, const std::string& name) const {
    const auto found = scope.find(name);
    // Jinja does not look into the filter of a set block before it is too late.
    if (!found) fail("'" + name + "' is not known in the filter of a set block", line_);
    return *found;
  }

  void look_up(Application& n, bool lenient) const {
    const bool is_filter = n.of == Application::Of::filter;
    n.builtin = is_filter ? find_filter(n.name) : find_test(n.name);
    if (!n.builtin && !lenient)
      fail("there is no " + std::string(is_filter ? "filter" : "test") + " '" + n.name + "'", line_);
  }

  void in(Data&, Scope&, bool) {}
  void in(LoopControl&, Scope&, bool) {}
  void in(Unsupported&, Scope&, bool) {}
  void in(Print& n, Scope& scope, bool lenient) { resolve(n.value, scope, lenient); }
  void in(If& n, Scope& scope, bool) {
    for (auto& [test, body] : n.branches) {
      resolve(test, scope, true);
      resolve(body, scope, true);
    }
    resolve(n.otherwise, scope, true);
  }

  void in(For& n, Scope& scope, bool lenient) {
    forbid_assigning_loop(n);
    resolve(n.iterable, scope, lenient);
    if (n.test) resolve_test(n, scope);
    Slots own{scope.slots};
    Slots* slots = n.recursive ? &own : scope.slots;
    Scope body(&scope, slots);
    if (n.recursive || !read_names(n.body, {"loop"}).empty()) n.loop = body.pass("loop");
    Analysis analysis(body);
    analysis.pass(n.target);
    analysis.block(n.body);
    resolve(n.target, body, false);
    resolve(n.body, body, false);
    n.body_loads = body.all_loads();
    Scope otherwise(&scope, slots);
    Analysis(otherwise).block(n.otherwise);
    resolve(n.otherwise, otherwise, false);
    n.otherwise_loads = otherwise.all_loads();
    n.slots = own.count;
  }

  void resolve_test(For& n, Scope& scope) {
    Scope test(&scope, scope.slots);
    Analysis analysis(test);
    analysis.pass(n.test_target);
    analysis.read(n.test);
    resolve(n.test_target, test, false);
    resolve(n.test, test, false);
    n.test_loads = test.all_loads();
  }

  static void forbid_assigning_loop(For& n) {
    NameWalk walk([](const Name& name, std::size_t line) {
      if (name.use == Name::Use::store && name.name == "loop")
        fail("'loop' cannot be assigned inside a loop", line);
    });
    walk.walk(n.target), walk.walk(n.body), walk.walk(n.otherwise);
  }

  void in(Set& n, Scope& scope, bool lenient) {
    resolve(n.value, scope, lenient);
    resolve(n.target, scope, lenient);
  }

  void in(SetBlock& n, Scope& scope, bool lenient) {
    Scope body(&scope, scope.slots);
    Analysis(body).block(n.body);
    resolve(n.body, body, false);
    resolve(n.filter, body, false);
    resolve(n.target, scope, lenient);
    n.loads = body.all_loads();
  }

  void in(FilterBlock& n, Scope& scope, bool) {
    Scope body(&scope, scope.slots);
    Analysis analysis(body);
    analysis.block(n.body);
    analysis.read(n.filter);
    resolve(n.body, body, false);
    resolve(n.filter, body, false);
    n.loads = body.all_loads();
  }

  void in(With& n, Scope& scope, bool lenient) {
    for (auto& [target, value] : n.assignments) resolve(value, scope, lenient);
    Scope body(&scope, scope.slots);
    Analysis analysis(body);
    for (auto& [target, value] : n.assignments) analysis.pass(target);
    analysis.block(n.body);
    for (auto& [target, value] : n.assignments) resolve(target, body, false);
    resolve(n.body, body, false);
    n.loads = body.all_loads();
  }

  void in(MacroDefinition& n, Scope& scope, bool) {
    function(*n.function, scope);
    n.slot = slot(scope, n.name);
  }

  void in(CallBlock& n, Scope& scope, bool lenient) {
    function(*n.function, scope);
    resolve(n.call, scope, lenient);
  }

  void function(Function& f, Scope& scope) {
    Slots slots{scope.slots};
    Scope own(&scope, &slots);
    Analysis analysis(own);
    for (auto& parameter : f.parameters) analysis.read(parameter);
    special_parameters(f, own);
    for (auto& value : f.defaults) analysis.read(value);
    analysis.block(f.body);
    for (auto& parameter : f.parameters) resolve(parameter, own, false);
    for (auto& value : f.defaults) resolve(value, own, false);
    resolve(f.body, own, false);
    f.loads = own.all_loads();
    f.slots = slots.count;
  }

  // `caller`, `kwargs` and `varargs` exist where a body reads them.
  void special_parameters(Function& f, Scope& scope) const {
    std::set<std::string> used = read_names(f.body, {"caller", "kwargs", "varargs"});
    const std::size_t required = f.parameters.size() - f.defaults.size();
    for (std::size_t i = 0; i < f.parameters.size(); ++i) {
      const std::string& name = std::get<Name>(f.parameters[i]->node).name;
      if (name == "caller" && used.contains(name) && i < required)
        fail("the parameter 'caller' needs a default", line_);
      used.erase(name);
    }
    if (used.contains("caller")) f.caller = scope.pass("caller");
    if (used.contains("kwargs")) f.kwargs = scope.pass("kwargs");
    if (used.contains("varargs")) f.varargs = scope.pass("varargs");
  }

  std::size_t line_ = 1;
};

}  // namespace

void resolve_names(Program& program) {
  Resolver().root(program.root);
}

}  // namespace baleen::jinja
