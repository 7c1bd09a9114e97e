// Decides, before anything is rendered, which variable every name of a template means. Owns Jinja's rules of
// scope, which are static: whether a name is local is read off the text, not off what runs.
//
// A function (the template, a macro, a call block, a recursive loop) has an activation with slots. Inside it,
// loops and blocks open scopes. A name that a scope assigns anywhere is its own, and starts with the value of
// the same name around it when the scope is entered; a name only read belongs to the nearest scope around
// that knows it, else it comes from the variables the template was given. A function sees the variables
// around its definition, as they are when it runs.
#pragma once

#include "tokenizer/jinja/ast.h"

namespace baleen::jinja {

// Fills in slots, loads and filters. Throws Failure for unknown filters and tests (but not for those that
// stand directly inside an if: they fail when they are reached) and for an assignment to `loop` inside a
// loop.
void resolve_names(Program& program);

}  // namespace baleen::jinja
