// The input is what stands behind --bits: refused, or rules that are read again the same from their texts.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "error.h"
#include "quant/bits.h"

using namespace baleen;

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void check_rules(const std::vector<BitsRule>& rules) {
  std::string again;
  for (const BitsRule& rule : rules) {
    again += (again.empty() ? "" : ",") + rule.text;
    for (const LayerRange& range : rule.layers) check(range.first <= range.last);
    if (rule.target) check(rule.target->group == whole_row || rule.target->group <= 1U << 20U);
  }
  const std::vector<BitsRule> back = parse_bits(again, 32);
  check(back.size() == rules.size());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    check(back[i].part == rules[i].part && back[i].target == rules[i].target);
    check(back[i].layers.size() == rules[i].layers.size());
  }
  for (const std::size_t layer : {0, 3, 61}) {
    const BitsRule* rule = bits_rule(rules, "attention", layer);
    if (rule != nullptr) check(rule->part.empty() || rule->part == "attention");
    check(bits_rule(rules, "router", layer) == nullptr);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    check_rules(parse_bits(std::string_view(reinterpret_cast<const char*>(data), size), 32));
  } catch (const UsageError&) {
  }
  return 0;
}
