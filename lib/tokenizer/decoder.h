// From token spellings back to text: the decoders of tokenizer.json as a chain of stages that work on a
// stream, so that decoding a token costs the same however many came before, and text comes out as soon as it
// is certain.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/growth.h"
#include "tokenizer/pattern.h"

namespace baleen {

namespace decode {
struct ByteLevel {};     // bytes of all tokens, as UTF-8; what is none becomes U+FFFD
struct ByteFallback {};  // runs of <0xNN>: their bytes if they are UTF-8, else one U+FFFD for each
struct Fuse {};          // all tokens into one
struct Replace {
  Pattern pattern;
  std::string literal;  // the pattern if it is a plain string, which may span pieces of a fused text
  std::string content;
};
struct Strip {
  std::string content;  // one character
  std::size_t start, stop;
};
struct Metaspace {
  std::string replacement;
  bool drop_first;  // the first token loses its marks instead of turning them into spaces
};
struct Suffix {
  std::string suffix;  // end_of_word_suffix: a space, but in the last token
};
struct JoinWithSpaces {};  // what happens without any decoder
}  // namespace decode

using DecodeStep = std::variant<decode::ByteLevel, decode::ByteFallback, decode::Fuse, decode::Replace,
                                decode::Strip, decode::Metaspace, decode::Suffix, decode::JoinWithSpaces>;

// Takes tokens, each as one or more fragments of valid UTF-8, and passes tokens on to the next stage.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  virtual void fragment(std::string_view text) = 0;
  virtual void end_token() = 0;
  virtual void finish() = 0;  // after the last token
};

// The state of one decoding.
class DecodeChain {
 public:
  // `mid_text`: as if other tokens had come before, so that nothing is stripped from the beginning.
  DecodeChain(const std::vector<DecodeStep>& steps, bool mid_text);

  // Adds a token, or ends the text; returns what is now certain. Throws Error for a text that grows too much.
  std::string push(std::string_view token);
  std::string finish();

 private:
  std::unique_ptr<std::string> out_;
  std::unique_ptr<Growth> growth_;
  std::size_t size_ = 0;                              // of the tokens so far
  std::vector<std::unique_ptr<DecodeStage>> stages_;  // from the last to the first
};

}  // namespace baleen
