// Runs a resolved template.
#pragma once

#include <string>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/runtime.h"

namespace baleen::jinja {

// `variables` is a dict with string keys. Throws Failure.
std::string run(const Program& program, Runtime& runtime, const Value& variables);

}  // namespace baleen::jinja
