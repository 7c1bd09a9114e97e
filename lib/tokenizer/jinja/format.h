// Python's two ways of formatting: "%s" % value and "{}".format(value).
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/jinja/runtime.h"

namespace baleen::jinja {

// `format % values`: a tuple holds one value a directive, a dict those that %(name)s asks for.
Value format_percent(Runtime& runtime, const Text& format, const Value& values);

// format.format(...), with attributes and items of the fields looked up as the template itself would.
Value format_braces(Runtime& runtime, const Text& format, const Arguments& arguments);

// Text put to one side (or in the middle) of `width` characters.
enum class Align { left, right, center };
std::string padded(Runtime& runtime, std::string_view text, std::int64_t width, Align align,
                   std::string_view fill = " ");

std::string fixed(double value, int digits);  // "%.*f"

}  // namespace baleen::jinja
