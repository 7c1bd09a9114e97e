// Builds a template's tree from its text, by Jinja's grammar with the tags that transformers adds (break,
// continue, generation). Variables have no slots yet: see scopes.h.
#pragma once

#include <string_view>

#include "tokenizer/jinja/ast.h"

namespace baleen::jinja {

// `text` is valid UTF-8. Throws Failure with the line.
Program parse(std::string_view text);

}  // namespace baleen::jinja
