// The rules of --bits: which kind of tensor, in which layers, is stored how.
//
//   RULES  = RULE {"," RULE}                  later rules win over earlier ones
//   RULE   = KIND ["@" LAYERS] "=" FORMAT
//   KIND   = experts | shared | dense | attention | all
//   LAYERS = RANGE {"," RANGE}                commas up to the "=" part layers, behind it rules
//   RANGE  = NUMBER ["-" NUMBER]              the model's numbers, both ends included
//   FORMAT = int4[":" GROUP] | int8[":" GROUP] | fp8 | mxfp4 | keep
//   GROUP  = NUMBER | channel
//
// experts=int4,attention=int8:channel,dense@0-2=keep,experts@3,5-7=int8 has four rules.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/target.h"

namespace baleen {

struct LayerRange {
  std::size_t first = 0, last = 0;  // both included
};

struct BitsRule {
  std::string text;                // the rule as it was written
  std::string_view part;           // a TensorSpec's; empty: any that --bits has a name for
  std::vector<LayerRange> layers;  // empty: all of them
  std::optional<Target> target;    // none: stays as it is
};

// How FORMAT is stored; none for keep. `group` is that of int4 and int8 where it names none. Throws
// UsageError.
std::optional<Target> parse_format(std::string_view text, std::size_t group);

// Throws UsageError naming the rule and what is supported.
std::vector<BitsRule> parse_bits(std::string_view text, std::size_t group);

// The rule that decides about tensors of this part (TensorSpec::part) in this layer: the last one that
// speaks of them. nullptr if none does.
const BitsRule* bits_rule(std::span<const BitsRule>, std::string_view part, std::size_t layer);

// Throws UsageError for a rule about layers from `layers` on: the model does not have them.
void check_bits(std::span<const BitsRule>, std::size_t layers);

// Throws UsageError unless these can stand in one checkpoint: DeepSeek's fp8 form has room for no other.
void check_together(std::span<const Target>);

}  // namespace baleen
