#include "tokenizer/jinja/scopes.h"

#include <algorithm>
#include <map>
#include <set>

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

// The variables of a scope: what Jinja's analysis knows about each before any code runs.
struct Scope {
  Scope* parent;
  Slots* slots;
  std::map<std::string, int> index;   // slot by name; kept when a branch of an if is forgotten
  std::map<std::string, Load> loads;  // how those known start; parameters start by being passed
  std::set<std::string> known, assigned;

  Scope(Scope* around, Slots* in) : parent(around), slots(in) {}

  std::optional<Slot> find(const std::string& name) const {
    int hops = 0;
    for (const Scope* scope = this; scope; scope = scope->parent) {
      if (scope->known.contains(name)) return Slot{hops, scope->index.at(name)};
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

  int define(const std::string& name) {
    known.insert(name);
    const auto [at, is_new] = index.try_emplace(name, slots->count);
    if (is_new) ++slots->count;
    return at->second;
  }
  void start(const std::string& name, Load::From from, Slot outer = {}) {
    const int slot = define(name);
    loads[name] = {from, name, slot, outer};
  }

  void read(const std::string& name) {
    if (!find(name)) start(name, Load::From::context);
  }
  void assign(const std::string& name) {
    assigned.insert(name);
    if (known.contains(name)) return;
    if (const auto outer = find_outside(name))
      start(name, Load::From::outer, *outer);
    else
      start(name, Load::From::nothing);
  }
  int pass(const std::string& name) {
    assigned.insert(name);
    loads.erase(name);
    return define(name);
  }

  Loads all_loads() const {
    Loads all;
    for (const auto& [name, load] : loads) all.push_back(load);
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
    const Scope before = scope_;
    const Scope taken = branch(before, n.branches[0].second);
    for (std::size_t i = 1; i < n.branches.size(); ++i) {
      read(n.branches[i].first);
      const Scope before_body = scope_;
      const Scope body = branch(before_body, n.branches[i].second);
      merge({&body});
    }
    const Scope elifs = scope_;
    restore(before);
    const Scope otherwise = branch(before, n.otherwise);
    merge({&taken, &elifs, &otherwise});
  }

  // The scope as it is after `body`; goes back to how it was before.
  Scope branch(const Scope& before, Block& body) {
    block(body);
    Scope after = scope_;
    restore(before);
    return after;
  }

  void restore(const Scope& before) {
    scope_.known = before.known;
    scope_.assigned = before.assigned;
    scope_.loads = before.loads;
  }

  void merge(std::initializer_list<const Scope*> all) {
    std::set<std::string> newly;
    for (const Scope* branch : all)
      for (const std::string& name : branch->assigned)
        if (!scope_.assigned.contains(name)) newly.insert(name);
    for (const Scope* branch : all) {
      scope_.known.insert(branch->known.begin(), branch->known.end());
      scope_.assigned.insert(branch->assigned.begin(), branch->assigned.end());
      for (const auto& [name, load] : branch->loads) scope_.loads[name] = load;
    }
    for (const std::string& name : newly) {
      if (const auto outer = scope_.find_outside(name))
        scope_.start(name, Load::From::outer, *outer);
      else
        scope_.start(name, Load::From::context);
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
