// Text to token ids and back, as the Hugging Face tokenizers library 0.23 does it from the same
// tokenizer.json, for byte-pair models; or as the tiktoken library does it from a tiktoken.model, driven as
// the models that have one drive it. Owns the vocabulary and everything that these files and
// those beside them say about text; chat templates are only handed out, not interpreted.
//
// Not followed: `truncation` and `padding` in tokenizer.json, which transformers switches off for a plain
// call too.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/token_id.h"

namespace baleen {

// Immutable, cheap to copy (copies share their tables), and safe to use from several threads.
class Tokenizer {
 public:
  // special_tokens_map.json and added_tokens.json, as bytes, empty if missing: older versions of transformers
  // wrote them, and they count where tokenizer_config.json has no added_tokens_decoder.
  struct OlderFiles {
    std::string_view special_tokens_map, added_tokens;
  };

  // Reads a tokenizer.json and, if not empty, a tokenizer_config.json, both given as bytes; `file` names the
  // former in errors. Tokens that only the files beside tokenizer.json name are added as transformers adds
  // them: where they are in the vocabulary with their ids, else behind it. Throws FormatError.
  static Tokenizer parse(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                         const std::string& file, const OlderFiles& older = {{}, {}});

  // The same from a tiktoken.model and the tokenizer_config.json that must come with it: it has the special
  // tokens, and names how texts are split. `file` names the former.
  static Tokenizer parse_tiktoken(std::string_view ranks, std::string_view tokenizer_config_json,
                                  const std::string& file);

  // The file that a folder's tokenizer is read from: tokenizer.json, else tiktoken.model; none without both.
  static std::optional<std::filesystem::path> file_in(const std::filesystem::path& dir);

  // Reads that file and, if they are there, tokenizer_config.json and the older files beside it. Throws Error
  // or FormatError.
  static Tokenizer open(const std::filesystem::path& dir);

  // `add` puts before and behind the text what the post_processor's template asks for and, where it lacks
  // them, the BOS and EOS tokens that add_bos_token and add_eos_token of tokenizer_config.json ask for. The
  // latter is what transformers 4 did for Llama-kind tokenizers (DeepSeek-V3's among them); transformers 5.23
  // ignores the two keys when there is a tokenizer.json, and so gives such a model no BOS. add_bos_token:
  // false takes nothing away from a template, in neither.
  enum class SpecialTokens { none, add };

  // Special and other added tokens that are written in the text are found in both cases, as the reference
  // does (that of tiktoken.model: encode with allow_special_tokens, which is its default). Bytes that are not
  // UTF-8 are replaced by U+FFFD first, as Python's errors="replace" would.
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special_tokens) const;

  // Ids that no token has are left out.
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens = false) const;

  std::size_t vocab_size() const;                              // highest id + 1
  std::optional<TokenId> id_of(std::string_view token) const;  // by the vocabulary's spelling
  std::string_view token(TokenId id) const;  // the vocabulary's spelling; empty if there is none
  bool is_special(TokenId id) const;

  // The token's own text, as in the middle of a longer one: U+FFFD stands for bytes that are only part of a
  // character.
  std::string token_text(TokenId id) const;

  struct NamedToken {
    std::string text;
    std::optional<TokenId> id;  // none if the vocabulary lacks it
  };

  // From tokenizer_config.json and special_tokens_map.json.
  const std::optional<NamedToken>& bos_token() const;
  const std::optional<NamedToken>& eos_token() const;
  bool add_bos_token() const;
  bool add_eos_token() const;
  const std::map<std::string, std::string>& named_tokens()
      const;  // "bos_token", "pad_token", ... to their text
  const std::map<std::string, std::string>& chat_templates()
      const;  // by name; a single one is called "default"

 private:
  friend class StreamDecoder;
  struct Data;
  static Tokenizer read_json(std::string_view json, bool padded, std::string_view config_json,
                             const std::string& file, const OlderFiles& older);
  explicit Tokenizer(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  std::shared_ptr<const Data> data_;
};

// Turns ids into text as they come. Every piece is whole characters, nothing that is printed is ever taken
// back, and the pieces and finish() together are what decode() gives for all the ids. Bytes of a character
// wait for the rest of it; with a ByteFallback decoder a run of byte tokens waits for its end, since one
// wrong byte spoils all of it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = false);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;

  std::string push(TokenId id);
  std::string finish();  // what waited for more; the decoder is used up then

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baleen
