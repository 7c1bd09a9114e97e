#include "tokenizer/components.h"

#include <array>
#include <stdexcept>
#include <string>
#include <utility>

namespace baleen {
namespace {

constexpr int kMaxDepth = 32;  // of sequences in sequences
constexpr std::size_t kMaxSteps = 256;

std::string_view type_of(const JsonValue& json) {
  return json.at("type").string();
}

[[noreturn]] void unsupported(const JsonValue& json, const char* kind, const char* supported) {
  json.fail(std::string(kind) + " '" + std::string(type_of(json)) +
            "' is not supported (supported: " + supported + ")");
}

// Calls read(step) for each step of a component, taking sequences apart; `member` is where a sequence keeps
// them.
template <typename Read>
void for_each_step(const JsonValue& json, const char* member, int depth, std::size_t& count, Read&& read) {
  if (type_of(json) != "Sequence") {
    if (++count > kMaxSteps) json.fail("more than 256 steps");
    return read(json);
  }
  if (depth == kMaxDepth) json.fail("sequences are nested more than 32 deep");
  for (const JsonValue& step : json.at(member).items()) for_each_step(step, member, depth + 1, count, read);
}

template <typename Step, typename Read>
std::vector<Step> read_steps(const JsonValue& json, const char* member, Read&& read) {
  std::vector<Step> steps;
  std::size_t count = 0;
  for_each_step(json, member, 0, count, [&](const JsonValue& step) { steps.push_back(read(step)); });
  return steps;
}

// {"String": "..."} or {"Regex": "..."}; `literal`, if asked for, gets the string.
Pattern read_pattern(const JsonValue& json, std::string* literal = nullptr) {
  try {
    if (const auto text = json.find("String")) {
      if (literal) *literal = text->string();
      return Pattern::literal(text->string());
    }
    return Pattern::regex(json.at("Regex").string());
  } catch (const std::invalid_argument& e) {
    json.fail(std::string("the pattern cannot be used: ") + e.what());
  }
}

NormalizeStep read_normalize_step(const JsonValue& json) {
  const std::string_view type = type_of(json);
  if (type == "NFC") return unicode::Form::nfc;
  if (type == "NFD") return unicode::Form::nfd;
  if (type == "NFKC") return unicode::Form::nfkc;
  if (type == "NFKD") return unicode::Form::nfkd;
  if (type == "Prepend") return normalize::Prepend{std::string(json.at("prepend").string())};
  if (type == "Replace") {
    return normalize::Replace{read_pattern(json.at("pattern")), std::string(json.at("content").string())};
  }
  if (type == "Strip")
    return normalize::Strip{json.at("strip_left").boolean(), json.at("strip_right").boolean()};
  if (type == "Lowercase") return normalize::Lowercase{};
  if (type == "ByteLevel") return normalize::ByteLevel{};
  unsupported(json, "normalizer",
              "Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Lowercase, ByteLevel");
}

SplitBehavior read_behavior(const JsonValue& json) {
  static constexpr std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous},
  };
  for (const auto& [name, behavior] : kBehaviors) {
    if (json.string() == name) return behavior;
  }
  json.fail("unknown behavior '" + std::string(json.string()) + "'");
}

// Files before tokenizers 0.15 say add_prefix_space instead of prepend_scheme.
pretokenize::Metaspace::Prepend read_prepend_scheme(const JsonValue& json) {
  using Prepend = pretokenize::Metaspace::Prepend;
  const std::string_view scheme = json.text("prepend_scheme", "always");
  const bool add_prefix_space = json.flag("add_prefix_space", true);
  Prepend prepend = Prepend::always;
  if (scheme == "first") {
    prepend = Prepend::first;
  } else if (scheme == "never") {
    prepend = Prepend::never;
  } else if (scheme != "always") {
    json.fail("unknown prepend_scheme '" + std::string(scheme) + "'");
  }
  if (add_prefix_space || prepend == Prepend::never) return prepend;
  // The reference refuses a scheme that contradicts; 'always' is its default and does so too.
  json.fail("add_prefix_space is false, but prepend_scheme is '" + std::string(scheme) + "'");
}

PreTokenizeStep read_pre_tokenize_step(const JsonValue& json) {
  const std::string_view type = type_of(json);
  if (type == "Split") {
    return pretokenize::Split{read_pattern(json.at("pattern")), read_behavior(json.at("behavior")),
                              json.at("invert").boolean()};
  }
  if (type == "ByteLevel") {
    return pretokenize::ByteLevel{json.at("add_prefix_space").boolean(), json.flag("use_regex", true),
                                  Pattern::regex(PreTokenizer::kGpt2Pattern)};
  }
  if (type == "Metaspace") {
    return pretokenize::Metaspace{json.at("replacement").character(), read_prepend_scheme(json),
                                  json.flag("split", true)};
  }
  if (type == "Digits") return pretokenize::Digits{json.at("individual_digits").boolean()};
  if (type == "Punctuation") {
    const auto behavior = json.find("behavior");
    return pretokenize::Punctuation{behavior ? read_behavior(*behavior) : SplitBehavior::isolated};
  }
  if (type == "CharDelimiterSplit") return pretokenize::Delimiter{json.at("delimiter").character()};
  if (type == "Whitespace") return pretokenize::Whitespace{};
  if (type == "WhitespaceSplit") return pretokenize::WhitespaceSplit{};
  unsupported(json, "pre-tokenizer",
              "Sequence, Split, ByteLevel, Metaspace, Digits, Punctuation, CharDelimiterSplit, Whitespace, "
              "WhitespaceSplit");
}

DecodeStep read_decode_step(const JsonValue& json) {
  const std::string_view type = type_of(json);
  if (type == "ByteLevel") return decode::ByteLevel{};
  if (type == "ByteFallback") return decode::ByteFallback{};
  if (type == "Fuse") return decode::Fuse{};
  if (type == "Replace") {
    std::string literal;
    Pattern pattern = read_pattern(json.at("pattern"), &literal);
    return decode::Replace{std::move(pattern), std::move(literal), std::string(json.at("content").string())};
  }
  if (type == "Strip") {
    return decode::Strip{json.at("content").character(),
                         static_cast<std::size_t>(json.at("start").integer(0, 1 << 20)),
                         static_cast<std::size_t>(json.at("stop").integer(0, 1 << 20))};
  }
  if (type == "Metaspace") {
    return decode::Metaspace{json.at("replacement").character(),
                             read_prepend_scheme(json) != pretokenize::Metaspace::Prepend::never};
  }
  if (type == "BPEDecoder") return decode::Suffix{std::string(json.at("suffix").string())};
  unsupported(json, "decoder",
              "Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, BPEDecoder");
}

TokenId read_id(const JsonValue& json) {
  return static_cast<TokenId>(json.integer(0, kMaxTokenId));
}

void append_special_token(const JsonValue& json, std::string_view name, std::vector<TokenId>& out) {
  const auto tokens = json.at("special_tokens").find(name);
  if (!tokens) json.fail("the template's token '" + std::string(name) + "' is not among its special_tokens");
  for (const JsonValue& id : tokens->at("ids").items()) out.push_back(read_id(id));
}

// [{"SpecialToken": {"id": "<s>", ...}}, {"Sequence": {"id": "A", ...}}, ...]
void read_template(const JsonValue& json, PostProcessor& result) {
  bool behind = false;
  for (const JsonValue& piece : json.at("single").items()) {
    if (const auto token = piece.find("SpecialToken")) {
      append_special_token(json, token->at("id").string(), behind ? result.after : result.before);
    } else if (piece.at("Sequence").at("id").string() == "A" && !behind) {
      behind = true;
    } else {
      piece.fail("a template for one text must hold the sequence A, once");
    }
  }
  if (!behind) json.fail("the template 'single' leaves the text out");
}

// {"cls": ["<s>", 0], "sep": ["</s>", 2]}
void read_cls_sep(const JsonValue& json, PostProcessor& result) {
  const auto id = [&](const char* key) {
    const std::vector<JsonValue> pair = json.at(key).items();
    if (pair.size() != 2) json.fail(std::string(key) + " is not a pair of token and id");
    return read_id(pair[1]);
  };
  result.before.push_back(id("cls"));
  result.after.push_back(id("sep"));
}

AddedToken read_added_token(const JsonValue& json) {
  AddedToken token;
  token.id = read_id(json.at("id"));
  token.content = json.at("content").string();
  token.single_word = json.at("single_word").boolean();
  token.lstrip = json.at("lstrip").boolean();
  token.rstrip = json.at("rstrip").boolean();
  token.normalized = json.at("normalized").boolean();
  token.special = json.at("special").boolean();
  return token;
}

}  // namespace

Normalizer read_normalizer(const JsonValue& json) {
  return Normalizer(read_steps<NormalizeStep>(json, "normalizers", read_normalize_step));
}

PreTokenizer read_pre_tokenizer(const JsonValue& json) {
  return PreTokenizer(read_steps<PreTokenizeStep>(json, "pretokenizers", read_pre_tokenize_step));
}

std::vector<DecodeStep> read_decoder(const JsonValue& json) {
  return read_steps<DecodeStep>(json, "decoders", read_decode_step);
}

PostProcessor read_post_processor(const JsonValue& json) {
  PostProcessor result;
  bool done = false;
  std::size_t count = 0;
  for_each_step(json, "processors", 0, count, [&](const JsonValue& step) {
    const std::string_view type = type_of(step);
    if (type == "ByteLevel") return;  // moves offsets, which nobody asks for here
    if (done) step.fail("a second post-processor that adds tokens");
    done = true;
    if (type == "TemplateProcessing") {
      read_template(step, result);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      read_cls_sep(step, result);
    } else {
      unsupported(step, "post-processor",
                  "Sequence, TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing");
    }
  });
  return result;
}

std::vector<AddedToken> read_added_tokens(const JsonValue& json, AddedVocabulary& added) {
  std::vector<AddedToken> tokens;
  added.start_batch();
  for (const JsonValue& item : json.items()) {
    tokens.push_back(read_added_token(item));
    try {
      added.add(tokens.back());
    } catch (const std::invalid_argument& e) {
      item.fail(e.what());
    }
  }
  return tokens;
}

}  // namespace baleen
