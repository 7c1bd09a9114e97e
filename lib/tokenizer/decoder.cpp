#include "tokenizer/decoder.h"

#include <optional>
#include <utility>

#include "tokenizer/byte_level.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

class Sink : public DecodeStage {
 public:
  explicit Sink(std::string& out) : out_(out) {}
  void fragment(std::string_view text) override { out_ += text; }
  void end_token() override {}
  void finish() override {}

 private:
  std::string& out_;
};

class Stage : public DecodeStage {
 public:
  explicit Stage(DecodeStage& next) : next_(next) {}
  void fragment(std::string_view text) override { next_.fragment(text); }
  void end_token() override { next_.end_token(); }
  void finish() override { next_.finish(); }

 protected:
  void emit(std::string_view token) {
    next_.fragment(token);
    next_.end_token();
  }
  DecodeStage& next_;
};

// A stage that has to see a token whole. Behind a Fuse that is the whole text.
class WholeTokenStage : public Stage {
 public:
  using Stage::Stage;
  void fragment(std::string_view text) override { token_ += text; }
  void end_token() override {
    token(token_);
    token_.clear();
  }

 protected:
  virtual void token(std::string_view text) = 0;

 private:
  std::string token_;
};

class FuseStage : public Stage {
 public:
  using Stage::Stage;
  void end_token() override {}
  void finish() override {
    next_.end_token();
    next_.finish();
  }
};

class ByteLevelStage : public WholeTokenStage {
 public:
  using WholeTokenStage::WholeTokenStage;
  void finish() override {
    std::string text;
    lossy_.finish(text);
    next_.fragment(text);
    next_.end_token();
    next_.finish();
  }

 protected:
  // A token with a character that stands for no byte is text itself, as added tokens are.
  void token(std::string_view spelling) override {
    const std::optional<std::string> bytes = from_byte_level(spelling);
    std::string text;
    lossy_.push(bytes ? std::string_view(*bytes) : spelling, text);
    next_.fragment(text);
  }

 private:
  unicode::LossyDecoder lossy_;
};

// A run of byte tokens counts as a whole: one wrong byte and none of it is text. So nothing of a run is
// certain before its end, unless it is wrong already.
class ByteFallbackStage : public WholeTokenStage {
 public:
  using WholeTokenStage::WholeTokenStage;
  void finish() override {
    flush();
    next_.finish();
  }

 protected:
  void token(std::string_view text) override {
    const std::optional<char> byte = byte_token(text);
    if (!byte) {
      flush();
      emit(text);
      return;
    }
    bytes_.push_back(*byte);
    std::string decoded;
    check_.push(std::string_view(&*byte, 1), decoded);
    if (check_.errors() > 0) emit_wrong();
  }

 private:
  static std::optional<char> byte_token(std::string_view text) {
    if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
    int value = 0;
    const bool plus = text[3] == '+';  // Rust's number parser takes a sign
    for (const char c : text.substr(plus ? 4 : 3, plus ? 1 : 2)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return std::nullopt;
      value = value * 16 + digit;
    }
    return static_cast<char>(value);
  }

  void emit_wrong() {
    for (; !bytes_.empty(); bytes_.pop_back()) emit(kReplacement);
  }

  void flush() {
    if (!bytes_.empty() && check_.errors() == 0 && check_.is_whole()) {
      emit(bytes_);
      bytes_.clear();
    }
    emit_wrong();
    check_ = {};
  }

  std::string bytes_;            // of the run so far
  unicode::LossyDecoder check_;  // whether they are UTF-8
};

class ReplaceStage : public WholeTokenStage {
 public:
  ReplaceStage(DecodeStage& next, const decode::Replace& step, Growth& growth)
      : WholeTokenStage(next), matcher_(step.pattern), content_(step.content), growth_(growth) {}

 protected:
  void token(std::string_view text) override { emit(replace_all(text, matcher_, content_, growth_)); }

 private:
  Matcher matcher_;
  std::string content_;
  Growth& growth_;
};

// A plain string is replaced as the text goes by; what may be the beginning of a match waits.
class ReplaceLiteralStage : public Stage {
 public:
  ReplaceLiteralStage(DecodeStage& next, const decode::Replace& step, Growth& growth)
      : Stage(next), literal_(step.literal), content_(step.content), growth_(growth) {}

  void fragment(std::string_view text) override {
    held_ += text;
    std::size_t done = 0;
    for (std::size_t at = held_.find(literal_); at != std::string::npos; at = held_.find(literal_, done)) {
      next_.fragment(std::string_view(held_).substr(done, at - done));
      growth_.change(literal_.size(), content_.size());
      next_.fragment(content_);
      done = at + literal_.size();
    }
    const std::size_t waiting = waiting_size(std::string_view(held_).substr(done));
    next_.fragment(std::string_view(held_).substr(done, held_.size() - done - waiting));
    held_.erase(0, held_.size() - waiting);
  }

  void end_token() override {
    next_.fragment(held_);
    held_.clear();
    next_.end_token();
  }

 private:
  // The longest end of the text that the literal begins with.
  std::size_t waiting_size(std::string_view text) const {
    std::size_t size = std::min(text.size(), literal_.size() - 1);
    while (size > 0 && !literal_.starts_with(text.substr(text.size() - size))) --size;
    return size;
  }

  std::string literal_, content_, held_;
  Growth& growth_;
};

class StripStage : public Stage {
 public:
  StripStage(DecodeStage& next, const decode::Strip& step, bool begun)
      : Stage(next), step_(step), left_(begun ? 0 : step.start) {}

  void fragment(std::string_view text) override {
    while (left_ > 0 && !text.empty()) {
      if (!text.starts_with(step_.content)) {
        left_ = 0;
      } else {
        text.remove_prefix(step_.content.size());
        --left_;
      }
    }
    if (step_.stop == 0) return next_.fragment(text);
    held_ += text;
    const std::size_t certain = held_.size() - trailing();
    next_.fragment(std::string_view(held_).substr(0, certain));
    held_.erase(0, certain);
  }

  void end_token() override {
    held_.clear();
    left_ = step_.start;
    next_.end_token();
  }

 private:
  // The bytes at the end that may be stripped: at most `stop` characters.
  std::size_t trailing() const {
    std::size_t size = 0;
    const std::string_view text = held_;
    for (std::size_t i = 0; i < step_.stop && text.substr(0, text.size() - size).ends_with(step_.content);
         ++i) {
      size += step_.content.size();
    }
    return size;
  }

  decode::Strip step_;
  std::size_t left_;  // characters that may still be stripped from the front
  std::string held_;
};

class MetaspaceStage : public Stage {
 public:
  MetaspaceStage(DecodeStage& next, const decode::Metaspace& step, bool begun)
      : Stage(next), mark_(step.replacement), drop_(step.drop_first && !begun) {}

  void fragment(std::string_view text) override {
    while (true) {
      const std::size_t at = text.find(mark_);
      next_.fragment(text.substr(0, at));
      if (at == text.npos) return;
      if (!drop_) next_.fragment(" ");
      text.remove_prefix(at + mark_.size());
    }
  }

  void end_token() override {
    drop_ = false;
    next_.end_token();
  }

 private:
  std::string mark_;
  bool drop_;
};

class SuffixStage : public WholeTokenStage {
 public:
  SuffixStage(DecodeStage& next, const decode::Suffix& step, bool mid_text)
      : WholeTokenStage(next), suffix_(step.suffix), mid_text_(mid_text) {}

  void finish() override {
    if (last_) emit(replaced(*last_, mid_text_ ? " " : ""));
    next_.finish();
  }

 protected:
  void token(std::string_view text) override {
    if (last_) emit(replaced(*last_, " "));
    last_ = std::string(text);
  }

 private:
  std::string replaced(std::string_view text, std::string_view content) const {
    std::string out;
    for (std::size_t at = text.find(suffix_); !suffix_.empty() && at != text.npos; at = text.find(suffix_)) {
      out += text.substr(0, at);
      out += content;
      text.remove_prefix(at + suffix_.size());
    }
    return out += text;
  }

  std::string suffix_;
  std::optional<std::string> last_;  // waits, because the last token of all is different
  bool mid_text_;
};

class JoinStage : public Stage {
 public:
  using Stage::Stage;
  void fragment(std::string_view text) override {
    if (between_) next_.fragment(" ");
    between_ = false;
    next_.fragment(text);
  }
  void end_token() override { between_ = true; }

 private:
  bool between_ = false;
};

struct MakeStage {
  DecodeStage& next;
  Growth& growth;
  bool mid_text;
  bool fused;  // the stage sees one token that has begun already

  using Made = std::unique_ptr<DecodeStage>;
  Made operator()(decode::ByteLevel) const { return std::make_unique<ByteLevelStage>(next); }
  Made operator()(decode::ByteFallback) const { return std::make_unique<ByteFallbackStage>(next); }
  Made operator()(decode::Fuse) const { return std::make_unique<FuseStage>(next); }
  Made operator()(decode::JoinWithSpaces) const { return std::make_unique<JoinStage>(next); }
  Made operator()(const decode::Replace& step) const {
    if (step.literal.empty()) return std::make_unique<ReplaceStage>(next, step, growth);
    return std::make_unique<ReplaceLiteralStage>(next, step, growth);
  }
  Made operator()(const decode::Strip& step) const {
    return std::make_unique<StripStage>(next, step, mid_text && fused);
  }
  Made operator()(const decode::Metaspace& step) const {
    return std::make_unique<MetaspaceStage>(next, step, mid_text);
  }
  Made operator()(const decode::Suffix& step) const {
    return std::make_unique<SuffixStage>(next, step, mid_text);
  }
};

bool fuses(const DecodeStep& step) {
  return std::holds_alternative<decode::Fuse>(step) || std::holds_alternative<decode::ByteLevel>(step);
}

}  // namespace

DecodeChain::DecodeChain(const std::vector<DecodeStep>& steps, bool mid_text)
    : out_(std::make_unique<std::string>()), growth_(std::make_unique<Growth>("decoder", 0)) {
  stages_.push_back(std::make_unique<Sink>(*out_));
  for (std::size_t i = steps.size(); i-- > 0;) {
    bool fused = false;
    for (std::size_t before = 0; before < i; ++before) fused = fused || fuses(steps[before]);
    stages_.push_back(std::visit(MakeStage{*stages_.back(), *growth_, mid_text, fused}, steps[i]));
  }
}

std::string DecodeChain::push(std::string_view token) {
  size_ += token.size();
  *growth_ = Growth("decoder", token.size());
  stages_.back()->fragment(token);
  stages_.back()->end_token();
  return std::exchange(*out_, {});
}

std::string DecodeChain::finish() {
  *growth_ = Growth("decoder", size_);  // a Fuse may have kept all of it
  stages_.back()->finish();
  return std::exchange(*out_, {});
}

}  // namespace baleen
