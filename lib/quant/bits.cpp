#include "quant/bits.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "error.h"

namespace baleen {
namespace {

struct Kind {
  std::string_view name;
  std::string_view part;
};
constexpr std::array<Kind, 5> kinds = {{{"experts", "routed experts"},
                                        {"shared", "shared experts"},
                                        {"dense", "dense mlp"},
                                        {"attention", "attention"},
                                        {"all", ""}}};
constexpr const char* known_kinds = "experts, shared, dense, attention or all";
constexpr const char* known_formats = "int4 or int8 (with :GROUP or :channel if need be), fp8, mxfp4 or keep";
// More than any model has, and no number that overflows.
constexpr std::size_t most = 1U << 20U;

std::string in_quotes(std::string_view text) {
  return "'" + std::string(text) + "'";
}

// A whole number up to `most`.
std::optional<std::size_t> number(std::string_view text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

// What stands before the first `mark`, or all of it; cut off `text` with the mark. found: there was one.
struct Piece {
  std::string_view text;
  bool found;
};
Piece take_until(std::string_view& text, char mark) {
  const std::size_t at = text.find(mark);
  const Piece piece{text.substr(0, at), at != text.npos};
  text.remove_prefix(piece.found ? at + 1 : text.size());
  return piece;
}

LayerRange parse_range(std::string_view text) {
  std::string_view last = text;
  const Piece first = take_until(last, '-');
  const std::optional<std::size_t> from = number(first.text);
  const std::optional<std::size_t> to = first.found ? number(last) : from;
  if (!from || !to || *from > *to)
    throw UsageError(in_quotes(text) + " is no layer, expected numbers and ranges such as 0-2,5");
  return {*from, *to};
}

std::vector<LayerRange> parse_layers(std::string_view text) {
  std::vector<LayerRange> layers;
  while (true) {
    const Piece range = take_until(text, ',');
    layers.push_back(parse_range(range.text));
    if (!range.found) return layers;
  }
}

std::string_view parse_kind(std::string_view name) {
  const auto kind =
      std::find_if(kinds.begin(), kinds.end(), [&](const Kind& known) { return known.name == name; });
  if (kind == kinds.end())
    throw UsageError(in_quotes(name) + " is no kind of tensor, expected " + known_kinds);
  return kind->part;
}

BitsRule parse_rule(std::string_view text, std::size_t group) {
  BitsRule rule;
  rule.text = text;
  std::string_view format = text;
  const Piece head = take_until(format, '=');
  if (!head.found) throw UsageError("expected KIND=FORMAT or KIND@LAYERS=FORMAT");
  std::string_view layers = head.text;
  const Piece kind = take_until(layers, '@');
  rule.part = parse_kind(kind.text);
  if (kind.found) rule.layers = parse_layers(layers);
  rule.target = parse_format(format, group);
  return rule;
}

bool speaks_of(const BitsRule& rule, std::string_view part, std::size_t layer) {
  const bool kind = rule.part.empty() ? std::any_of(kinds.begin(), kinds.end() - 1,
                                                    [&](const Kind& known) { return known.part == part; })
                                      : rule.part == part;
  return kind && (rule.layers.empty() ||
                  std::any_of(rule.layers.begin(), rule.layers.end(), [&](const LayerRange& range) {
                    return range.first <= layer && layer <= range.last;
                  }));
}

}  // namespace

std::optional<Target> parse_format(std::string_view text, std::size_t group) {
  std::string_view columns = text;
  const Piece name = take_until(columns, ':');
  if (name.text == "int4" || name.text == "int8") {
    const Encoding encoding = name.text == "int4" ? Encoding::int4 : Encoding::int8;
    if (!name.found) return Target{encoding, group};
    if (columns == "channel") return Target{encoding, whole_row};
    const std::optional<std::size_t> size = number(columns);
    if (!size || *size == 0)
      throw UsageError(in_quotes(columns) + " is no group, expected a number of columns or channel");
    return Target{encoding, *size};
  }
  if (text == "keep") return std::nullopt;
  if (text == "fp8") return Target{.encoding = Encoding::fp8};
  if (text == "mxfp4") return Target{.encoding = Encoding::mxfp4};
  throw UsageError(in_quotes(text) + " is no format, expected " + known_formats);
}

std::vector<BitsRule> parse_bits(std::string_view text, std::size_t group) {
  std::vector<BitsRule> rules;
  while (true) {
    const std::size_t end = text.find(',', text.find('='));
    const std::string_view rule = text.substr(0, end);
    try {
      rules.push_back(parse_rule(rule, group));
    } catch (const UsageError& error) {
      throw UsageError("the rule " + in_quotes(rule) + ": " + error.what());
    }
    if (end == text.npos) break;
    text.remove_prefix(end + 1);
  }
  std::vector<Target> targets;
  for (const BitsRule& rule : rules)
    if (rule.target) targets.push_back(*rule.target);
  check_together(targets);
  return rules;
}

const BitsRule* bits_rule(std::span<const BitsRule> rules, std::string_view part, std::size_t layer) {
  const auto rule = std::find_if(rules.rbegin(), rules.rend(),
                                 [&](const BitsRule& each) { return speaks_of(each, part, layer); });
  return rule == rules.rend() ? nullptr : &*rule;
}

void check_bits(std::span<const BitsRule> rules, std::size_t layers) {
  for (const BitsRule& rule : rules)
    for (const LayerRange& range : rule.layers)
      if (range.last >= layers)
        throw UsageError("the rule " + in_quotes(rule.text) + ": there is no layer " +
                         std::to_string(range.last) + ", the model's are 0 to " + std::to_string(layers - 1));
}

void check_together(std::span<const Target> targets) {
  const auto is_fp8 = [](const Target& target) { return target.encoding == Encoding::fp8; };
  const auto other = std::find_if_not(targets.begin(), targets.end(), is_fp8);
  if (other != targets.end() && std::any_of(targets.begin(), targets.end(), is_fp8))
    throw UsageError("fp8 beside " + target_name(*other) +
                     ": DeepSeek's fp8 form has no room for other formats\n"
                     "beside fp8 there can be keep, beside int4 there can be int8, mxfp4 and keep");
}

}  // namespace baleen
