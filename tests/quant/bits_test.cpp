#include "quant/bits.h"

#include <doctest/doctest.h>

#include "error.h"

using namespace baleen;

namespace {

constexpr Target int4_32{Encoding::int4, 32};
constexpr Target int8_channel{Encoding::int8, whole_row};

std::string error_of(const char* text) {
  try {
    parse_bits(text, 32);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

// "-" for nothing said, "keep", or the target's name.
std::string said(const std::vector<BitsRule>& rules, std::string_view part, std::size_t layer) {
  const BitsRule* rule = bits_rule(rules, part, layer);
  return rule == nullptr ? "-" : rule->target ? target_name(*rule->target) : "keep";
}

}  // namespace

TEST_CASE("rules by kind and layer: commas up to the = part layers, behind it rules") {
  const auto rules =
      parse_bits("experts=int4,attention=int8:channel,dense@0-2=keep,experts@3,5-7=int8,shared=int4:64", 32);
  REQUIRE(rules.size() == 5);
  CHECK(rules[0].target == int4_32);
  CHECK(rules[1].target == int8_channel);
  CHECK(rules[3].text == "experts@3,5-7=int8");
  CHECK(said(rules, "routed experts", 2) == "int4 group 32");
  CHECK(said(rules, "routed experts", 3) == "int8 group 32");
  CHECK(said(rules, "routed experts", 4) == "int4 group 32");
  for (const std::size_t layer : {5, 6, 7}) CHECK(said(rules, "routed experts", layer) == "int8 group 32");
  CHECK(said(rules, "routed experts", 8) == "int4 group 32");
  CHECK(said(rules, "attention", 60) == "int8 channel");
  CHECK(said(rules, "dense mlp", 2) == "keep");
  CHECK(said(rules, "dense mlp", 3) == "-");
  CHECK(said(rules, "shared experts", 3) == "int4 group 64");
}

TEST_CASE("later rules win; all means every kind that has a name, and no other tensor") {
  CHECK(said(parse_bits("experts@3=int8,all=int4", 128), "routed experts", 3) == "int4 group 128");
  const auto rules = parse_bits("all=int4,experts@3=keep", whole_row);
  CHECK(said(rules, "routed experts", 3) == "keep");
  for (const char* part : {"routed experts", "shared experts", "dense mlp", "attention"})
    CHECK(said(rules, part, 4) == "int4 channel");
  for (const char* part : {"router", "norms", "embedding", "output head", ""})
    CHECK(said(rules, part, 4) == "-");
}

TEST_CASE("what is wrong is said of the rule, with what is supported") {
  const auto says = [](const char* text, const char* message) {
    CAPTURE(text);
    CHECK(error_of(text) == message);
  };
  says("", "the rule '': expected KIND=FORMAT or KIND@LAYERS=FORMAT");
  says("experts=int4,", "the rule '': expected KIND=FORMAT or KIND@LAYERS=FORMAT");
  says("experts=int4,shared", "the rule 'shared': expected KIND=FORMAT or KIND@LAYERS=FORMAT");
  says("mlp=int4",
       "the rule 'mlp=int4': 'mlp' is no kind of tensor, expected experts, shared, dense, attention or all");
  says("experts=int5",
       "the rule 'experts=int5': 'int5' is no format, expected int4 or int8 (with :GROUP or :channel if need "
       "be), fp8, mxfp4 or keep");
  says("experts=int4:0",
       "the rule 'experts=int4:0': '0' is no group, expected a number of columns or channel");
  for (const char* text : {"all=int4:", "all=int4:x", "all=int4:-1", "all=int8:64x", "all=int8:99999999999"})
    CHECK(error_of(text).find("is no group") != std::string::npos);
  for (const char* text :
       {"all=fp8:128", "all=mxfp4:32", "all=keep:32", "all=", "all=int4=int8", "all= int4"})
    CHECK(error_of(text).find("is no format") != std::string::npos);
  says("experts@3,shared=int8",
       "the rule 'experts@3,shared=int8': 'shared' is no layer, expected numbers and ranges such as 0-2,5");
  for (const char* text :
       {"all@=keep", "all@1,=keep", "all@,1=keep", "all@2-1=keep", "all@-1=keep", "all@1-=keep",
        "all@1-2-3=keep", "all@+1=keep", "all@18446744073709551616=keep", "all@1@2=keep"})
    CHECK(error_of(text).find("is no layer") != std::string::npos);
}

TEST_CASE("formats that cannot stand in one checkpoint") {
  CHECK(error_of("experts=fp8,attention=int8") ==
        "fp8 beside int8 group 32: DeepSeek's fp8 form has no room for other formats\n"
        "beside fp8 there can be keep, beside int4 there can be int8, mxfp4 and keep");
  CHECK(error_of("experts=mxfp4,attention=fp8").starts_with("fp8 beside mxfp4"));
  CHECK(error_of("experts=fp8,attention=keep,shared=fp8").empty());
  CHECK(error_of("experts=mxfp4,attention=int8,shared=int4:channel").empty());
  // What --to says of the other tensors.
  CHECK_THROWS_AS(check_together(std::vector<Target>{int4_32, {.encoding = Encoding::fp8}}), UsageError);
  check_together({});
}

TEST_CASE("layers that the model does not have") {
  check_bits(parse_bits("all=int4,experts@0-26=int8", 32), 27);
  CHECK_THROWS_WITH_AS(check_bits(parse_bits("all=int4,experts@1,20-27=int8", 32), 27),
                       "the rule 'experts@1,20-27=int8': there is no layer 27, the model's are 0 to 26",
                       UsageError);
}
