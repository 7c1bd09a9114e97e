#include "tokenizer/jinja/filters.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tokenizer/jinja/numbers.h"
#include "tokenizer/jinja/operators.h"

namespace baleen::jinja {
namespace {

Value absolute(Runtime&, Call& call) {
  if (const double* d = call[0].get<double>()) return {std::abs(*d)};
  const std::int64_t i = call.integer(0);
  return i < 0 ? unary(Unary::Op::negate, call[0]) : Value{i};
}

Value attribute(Runtime& runtime, Call& call) {
  const std::string& name = call.text(1);
  if (auto found = find_attribute(runtime, call[0], name)) return std::move(*found);
  return runtime.undefined("'" + std::string(type_name(call[0])) + " object' has no attribute '" + name +
                           "'");
}

Value default_value(Runtime&, Call& call) {
  const bool missing = call[0].is_undefined() || (call.flag(2) && !is_true(call[0]));
  return missing ? call.value_or(1, make_text("")) : call[0];
}

Value to_integer(Runtime&, Call& call) {
  const Value& value = call[0];
  if (const Undefined* missing = value.get<Undefined>()) fail(*missing->why);
  if (const auto whole = value.integer()) return {*whole};
  const auto otherwise = call.value_or(1, {std::int64_t{0}});
  if (const double* real = value.get<double>()) {
    if (std::isnan(*real)) return otherwise;
    return {whole_part(*real)};
  }
  const std::string* text = value.text();
  if (!text) return otherwise;
  const auto base = call.has(2) ? call[2].integer() : 10;
  const auto parsed = base ? parse_integer(*text, *base) : std::nullopt;
  if (parsed) return {*parsed};
  // "42.23" is 42.
  const auto real = parse_real(*text);
  const auto whole = real ? truncated(*real) : std::nullopt;
  return whole ? Value{*whole} : otherwise;
}

Value to_real(Runtime&, Call& call) {
  const Value& value = call[0];
  if (const Undefined* missing = value.get<Undefined>()) fail(*missing->why);
  if (is_number(value)) return {to_double(value)};
  const auto real = value.text() ? parse_real(*value.text()) : std::nullopt;
  return real ? Value{*real} : call.value_or(1, {0.0});
}

Value round(Runtime& runtime, Call& call) {
  const std::string method = call.text_or(2, "common");
  if (method != "common" && method != "ceil" && method != "floor")
    fail("round: method must be common, ceil or floor");
  if (!is_number(call[0])) fail("round: expected a number, found " + std::string(type_name(call[0])));
  if (method == "common" && call.has(1) && call[1].is_none() && !call[0].integer()) {
    return {whole_part(std::nearbyint(to_double(call[0])))};
  }
  if (method == "common")
    return rounded(call[0], call.has(1) && call[1].is_none() ? 0 : call.integer_or(1, 0));
  const Value unit =
      binary(runtime, Binary::Op::power, {std::int64_t{10}}, call.value_or(1, {std::int64_t{0}}));
  const Value scaled = binary(runtime, Binary::Op::multiply, call[0], unit);
  if (scaled.integer()) return binary(runtime, Binary::Op::divide, scaled, unit);
  const double cut = method == "ceil" ? std::ceil(to_double(scaled)) : std::floor(to_double(scaled));
  if (!std::isfinite(cut)) fail("cannot convert the float to an integer");
  return {(cut + 0.0) / to_double(unit)};  // Python's ceil(-0.2) is the integer 0, not -0.0
}

Value unsupported(Runtime&, Call&) {
  fail("this filter is not supported");
}

constexpr std::array kFilters = std::to_array<Builtin>({
    {"abs", "x /", absolute},
    {"attr", "obj name", attribute},
    {"batch", "value linecount fill_with?", filters::batch},
    {"capitalize", "s", filters::capitalize},
    {"center", "value width?", filters::center},
    {"count", "obj /", filters::length},
    {"d", "value default_value? boolean?", default_value},
    {"default", "value default_value? boolean?", default_value},
    {"dictsort", "value case_sensitive? by? reverse?", filters::dict_sort},
    {"e", "s /", filters::escape},
    {"escape", "s /", filters::escape},
    {"filesizeformat", "value binary?", filters::file_size},
    {"first", "seq", filters::first},
    {"float", "value default?", to_real},
    {"forceescape", "value", filters::force_escape},
    {"format", "value *", filters::format},
    {"groupby", "value attribute default? case_sensitive?", filters::group_by},
    {"indent", "s width? first? blank?", filters::indent},
    {"int", "value default? base?", to_integer},
    {"items", "value", filters::items},
    {"join", "value d? attribute?", filters::join},
    {"last", "seq", filters::last},
    {"length", "obj /", filters::length},
    {"list", "value", filters::list},
    {"lower", "s", filters::lower},
    {"map", "value *", filters::map},
    {"max", "value case_sensitive? attribute?", filters::max},
    {"min", "value case_sensitive? attribute?", filters::min},
    {"pprint", "value", unsupported},
    {"random", "seq", unsupported},
    {"reject", "value *", filters::reject},
    {"rejectattr", "value *", filters::reject_attribute},
    {"replace", "s old new count?", filters::replace},
    {"reverse", "value", filters::reverse},
    {"round", "value precision? method?", round},
    {"safe", "value", filters::safe},
    {"select", "value *", filters::select},
    {"selectattr", "value *", filters::select_attribute},
    {"slice", "value slices fill_with?", filters::slice},
    {"sort", "value reverse? case_sensitive? attribute?", filters::sort},
    {"string", "s", filters::string},
    {"striptags", "value", filters::strip_tags},
    {"sum", "iterable attribute? start?", filters::sum},
    {"title", "s", filters::title},
    {"tojson", "x ensure_ascii? indent? separators? sort_keys?", filters::to_json},
    {"trim", "value chars?", filters::trim},
    {"truncate", "s length? killwords? end? leeway?", filters::truncate},
    {"unique", "value case_sensitive? attribute?", filters::unique},
    {"upper", "s", filters::upper},
    {"urlencode", "value", filters::url_encode},
    {"urlize", "value *", unsupported},
    {"wordcount", "s", filters::word_count},
    {"wordwrap", "s width? break_long_words? wrapstring? break_on_hyphens?", filters::word_wrap},
    {"xmlattr", "d autospace?", filters::xml_attributes},
});

}  // namespace

const Builtin* find_filter(std::string_view name) {
  const auto at =
      std::find_if(kFilters.begin(), kFilters.end(), [&](const Builtin& b) { return b.name == name; });
  return at == kFilters.end() ? nullptr : &*at;
}

}  // namespace baleen::jinja
