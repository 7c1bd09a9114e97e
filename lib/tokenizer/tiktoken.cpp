#include "tokenizer/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <utility>

#include "checkpoint/json_fields.h"
#include "error.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

// Published tokens have 256 bytes at most. The bound is for hostile files: finding the merges of a token
// takes time with the square of its length.
constexpr std::size_t kMaxTokenBytes = 1024;
constexpr std::size_t kMaxRanksFile = std::size_t{32} << 20;  // Kimi's has 2.8 MB

// num_reserved_special_tokens. tokenization_moonshot.py reserves two more, whose ids would lie behind the
// last row of the model's embedding: such a name in a text is text here.
constexpr std::size_t kSpecialTokens = 256;

constexpr std::array<std::int8_t, 256> kBase64 = [] {
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < digits.size(); ++i) {
    values[static_cast<unsigned char>(digits[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}();

// RFC 4648, section 4, with padding. False for anything else.
bool decode_base64(std::string_view text, std::string& bytes) {
  bytes.clear();
  if (text.size() % 4 != 0) return false;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::uint32_t pending = 0;
  int bits = 0;  // of them
  for (const char c : text) {
    const int value = kBase64[static_cast<unsigned char>(c)];
    if (value < 0) return false;
    pending = (pending << 6 | static_cast<std::uint32_t>(value)) & 0xFFFFFF;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<char>(pending >> bits & 0xFF));
  }
  return (pending & ((1U << bits) - 1)) == 0;  // what is left over carries nothing
}

// Table look-ups wait for memory, so a slot is asked for this many entries before it is needed.
constexpr std::size_t kAhead = 16;

class RankReader {
 public:
  RankReader(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Vocabulary read() {
    if (text_.size() > kMaxRanksFile) throw FormatError(file_, "is larger than 32 MiB");
    lines_ = static_cast<std::size_t>(std::count(text_.begin(), text_.end(), '\n'));
    if (!text_.ends_with('\n')) ++lines_;
    tokens_.reserve(lines_);
    spellings_.reserve(text_.size());
    std::size_t number = 0;
    for (std::size_t at = 0; at < text_.size();) {
      const std::size_t end = std::min(text_.find('\n', at), text_.size());
      read_line(text_.substr(at, end - at), ++number);
      at = end + 1;
    }
    Vocabulary vocabulary = make_vocabulary();
    check_complete(vocabulary);
    return vocabulary;
  }

 private:
  struct Token {
    std::size_t line;  // from 1
    TokenId rank;
    std::size_t begin, size;  // in spellings_
    std::uint64_t hash;
  };

  [[noreturn]] void fail(std::size_t line, const std::string& what) const {
    throw FormatError(file_, "line " + std::to_string(line) + ": " + what);
  }

  std::string_view spelling(const Token& token) const {
    return std::string_view(spellings_).substr(token.begin, token.size);
  }

  void read_line(std::string_view line, std::size_t number) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) return;
    const std::size_t space = line.find(' ');
    if (space == line.npos) fail(number, "no space, expected the base64 of a token, a space and its rank");
    Token token{number, read_rank(line.substr(space + 1), number), spellings_.size(), 0, 0};
    if (!decode_base64(line.substr(0, space), bytes_)) fail(number, "the token is not base64 (with padding)");
    if (bytes_.empty()) fail(number, "an empty token");
    if (bytes_.size() > kMaxTokenBytes) fail(number, "a token of more than 1024 bytes");
    to_byte_level(bytes_, spellings_);
    token.size = spellings_.size() - token.begin;
    token.hash = hash_bytes(spelling(token));
    tokens_.push_back(token);
  }

  TokenId read_rank(std::string_view digits, std::size_t line) const {
    std::uint32_t rank = 0;
    const char* const end = digits.data() + digits.size();
    const auto [behind, error] = std::from_chars(digits.data(), end, rank);
    if (error == std::errc::invalid_argument || behind != end) fail(line, "the rank is not a whole number");
    // Without gaps no rank reaches the number of lines: tables are not to grow by what a file claims.
    if (error == std::errc::result_out_of_range || rank >= lines_ || rank > kMaxTokenId) {
      fail(line, "rank " + std::string(digits.substr(0, 20)) + " in a file of " + std::to_string(lines_) +
                     " lines, expected ranks from 0 on without gaps");
    }
    return static_cast<TokenId>(rank);
  }

  Vocabulary make_vocabulary() const {
    Vocabulary vocabulary;
    vocabulary.reserve(tokens_.size(), spellings_.size());
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const Token& token = tokens_[i];
      vocabulary.fetch_slot(tokens_[std::min(i + kAhead, tokens_.size() - 1)].hash);
      const TokenId same = vocabulary.find(spelling(token), token.hash);
      if (same != kNoToken) fail(token.line, "the same token as that of rank " + std::to_string(same));
      if (!vocabulary.add(spelling(token), token.rank))
        fail(token.line, "a second token of rank " + std::to_string(token.rank));
    }
    return vocabulary;
  }

  void check_complete(const Vocabulary& vocabulary) const {
    if (vocabulary.size() == 0) throw FormatError(file_, "holds no tokens");
    for (TokenId rank = 0; static_cast<std::size_t>(rank) < vocabulary.id_bound(); ++rank) {
      if (vocabulary.has(rank)) continue;
      throw FormatError(file_, "no token has rank " + std::to_string(rank) + ", though one has rank " +
                                   std::to_string(vocabulary.id_bound() - 1));
    }
    for (int byte = 0; byte < 256; ++byte) {
      std::string character;
      to_byte_level(std::string(1, static_cast<char>(byte)), character);
      if (vocabulary.find(character) != kNoToken) continue;
      throw FormatError(file_, "the byte " + std::to_string(byte) + " is not a token, expected all 256");
    }
  }

  std::string_view text_;
  const std::string& file_;
  std::size_t lines_ = 0;
  std::vector<Token> tokens_;
  std::string bytes_, spellings_;
};

// A token that another one begins with, or ends with.
struct Part {
  TokenId id = kNoToken;
  std::uint32_t size = 0;  // of its spelling
};

// For each token its longest part at one end, which `shorten` leads to by taking a character from the other.
// As the part has one as well, a chain goes through all tokens at that end. Bytes are tokens, so nothing else
// has no part. In batches: see Vocabulary::fetch_slot.
template <typename Shorten>
std::vector<Part> longest_parts(const Vocabulary& vocabulary, Shorten shorten) {
  constexpr std::size_t kBatch = 64;
  struct Search {
    std::size_t token;
    std::string_view part;
    std::uint64_t hash;
  };
  std::vector<Part> longest(vocabulary.id_bound());
  std::vector<Search> batch;
  const auto found = [&](const Search& search) {
    longest[search.token] = {vocabulary.find(search.part, search.hash),
                             static_cast<std::uint32_t>(search.part.size())};
    return longest[search.token].id != kNoToken;
  };
  for (std::size_t token = 0; token < longest.size(); ++token) {
    const std::string_view spelling = vocabulary.spelling(static_cast<TokenId>(token));
    if (spelling.size() > unicode::length(spelling[0])) batch.push_back({token, spelling, 0});
    if (batch.size() < kBatch && token + 1 < longest.size()) continue;
    while (!batch.empty()) {
      for (Search& search : batch) {
        shorten(search.part);
        search.hash = hash_bytes(search.part);
        vocabulary.fetch_slot(search.hash);
      }
      for (const Search& search : batch) vocabulary.fetch_text(search.hash);
      std::erase_if(batch, found);
    }
  }
  return longest;
}

// tiktoken merges two neighbours if their bytes together are a token, by its rank. So every way to cut a
// token into two tokens is a merge, and all of them have its rank.
MergeTable find_merges(const Vocabulary& vocabulary) {
  const std::vector<Part> beginnings = longest_parts(vocabulary, [](std::string_view& part) {
    while ((static_cast<unsigned char>(part.back()) & 0xC0) == 0x80) part.remove_suffix(1);
    part.remove_suffix(1);
  });
  const std::vector<Part> ends =
      longest_parts(vocabulary, [](std::string_view& part) { part.remove_prefix(unicode::length(part[0])); });
  const auto for_each_part = [](const std::vector<Part>& longest, std::size_t token, auto visit) {
    for (Part part = longest[token]; part.id != kNoToken; part = longest[static_cast<std::size_t>(part.id)]) {
      visit(part);
    }
  };
  struct Cut {
    TokenId left, right, whole;
  };
  std::vector<Cut> cuts;
  cuts.reserve(2 * beginnings.size());
  std::vector<TokenId> end_of_size(2 * kMaxTokenBytes + 1, kNoToken);
  for (std::size_t token = 0; token < beginnings.size(); ++token) {
    const std::size_t size = vocabulary.spelling(static_cast<TokenId>(token)).size();
    for_each_part(ends, token, [&](const Part& end) { end_of_size[end.size] = end.id; });
    for_each_part(beginnings, token, [&](const Part& beginning) {
      const TokenId end = end_of_size[size - beginning.size];
      if (end != kNoToken) cuts.push_back({beginning.id, end, static_cast<TokenId>(token)});
    });
    for_each_part(ends, token, [&](const Part& end) { end_of_size[end.size] = kNoToken; });
  }
  MergeTable merges;
  merges.reserve(cuts.size());
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    const Cut &cut = cuts[i], &later = cuts[std::min(i + kAhead, cuts.size() - 1)];
    merges.fetch(later.left, later.right);
    merges.add(cut.left, cut.right, {static_cast<std::uint32_t>(cut.whole), cut.whole});
  }
  return merges;
}

// The string at auto_map.AutoTokenizer, which may also be the first of two: ["MODULE.CLASS", null]. In front
// of it may stand the repository that has the file: "moonshotai/Kimi-K2-Instruct--".
std::string tokenizer_code(const nlohmann::json& config) {
  const auto map = config.find("auto_map");
  if (map == config.end() || !map->is_object() || !map->contains("AutoTokenizer")) return {};
  const nlohmann::json& entry = (*map)["AutoTokenizer"];
  const nlohmann::json& name = entry.is_array() && !entry.empty() ? entry[0] : entry;
  if (!name.is_string()) return {};
  const std::string text = name.get<std::string>();
  const std::size_t repository = text.rfind("--");
  return repository == text.npos ? text : text.substr(repository + 2);
}

// pat_str of both Python files: runs of Han, words with one capital part and their contractions, groups of up
// to three digits, punctuation, line ends, white space.
constexpr std::string_view kKimiPattern =
    R"([\p{Han}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// TIKTOKEN_MAX_ENCODE_CHARS and MAX_NO_WHITESPACES_CHARS: both Python files cut what is longer before they
// hand it to tiktoken, which changes ids at the cuts.
constexpr pretokenize::Cut kKimiCut{400'000, 25'000};

AddedToken read_special_token(const std::string& key, const nlohmann::json& entry, const std::string& file) {
  const auto fail = [&](const std::string& what) {
    throw FormatError(file, "added_tokens_decoder: " + key + ": " + what);
  };
  const auto flag = [&](const char* name) {
    const auto value = entry.find(name);
    if (value == entry.end()) return false;
    if (!value->is_boolean()) fail(std::string(name) + ": " + shown(*value) + ", expected true or false");
    return value->get<bool>();
  };
  if (!entry.is_object() || !entry.contains("content") || !entry["content"].is_string())
    fail(shown(entry) + ", expected an object with a string 'content'");
  AddedToken token;
  token.content = entry["content"];
  if (token.content.empty() || token.content.size() > TokenMatcher::kMaxLength)
    fail("a name of " + std::to_string(token.content.size()) + " bytes, expected 1 to 1024");
  token.single_word = flag("single_word");
  token.lstrip = flag("lstrip");
  token.rstrip = flag("rstrip");
  token.special = flag("special");
  return token;
}

}  // namespace

Bpe read_ranks(std::string_view text, const std::string& file) {
  Vocabulary vocabulary = RankReader(text, file).read();
  MergeTable merges = find_merges(vocabulary);
  BpeOptions options;
  options.ignore_merges = true;  // tiktoken looks for the whole word first
  return Bpe(std::move(options), std::move(vocabulary), std::move(merges));
}

// The class's name alone does not tell: another model family's TikTokenTokenizer has another pattern.
PreTokenizer tiktoken_pre_tokenizer(const nlohmann::json& config, const std::string& file) {
  const std::string code = tokenizer_code(config);
  if (code != "tokenization_moonshot.TikTokenTokenizer" && code != "tokenization_kimi.TikTokenTokenizer") {
    const auto named = config.find("tokenizer_class");
    const std::string found = !code.empty() ? "auto_map.AutoTokenizer: " + code
                              : named != config.end()
                                  ? "no auto_map.AutoTokenizer (tokenizer_class: " + shown(*named) + ")"
                                  : "no auto_map.AutoTokenizer";
    throw FormatError(file, found +
                                "\nit names the code that splits texts for a tiktoken.model; known are "
                                "TikTokenTokenizer of\ntokenization_moonshot (Moonlight) and of "
                                "tokenization_kimi (Kimi)");
  }
  std::vector<PreTokenizeStep> steps;
  steps.emplace_back(kKimiCut);
  steps.emplace_back(pretokenize::Split{Pattern::regex(kKimiPattern), SplitBehavior::isolated, false});
  steps.emplace_back(pretokenize::ByteLevel{false, false, Pattern::literal(" ")});
  return PreTokenizer(std::move(steps));
}

std::vector<AddedToken> tiktoken_special_tokens(const nlohmann::json& config, const std::string& file,
                                                std::size_t ranks) {
  std::vector<AddedToken> tokens(kSpecialTokens);
  if (const auto named = config.find("added_tokens_decoder"); named != config.end()) {
    if (!named->is_object())
      throw FormatError(file, "added_tokens_decoder: " + shown(*named) + ", expected an object");
    for (const auto& [key, entry] : named->items()) {
      std::size_t id = 0;
      const auto [behind, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      const bool is_id = error == std::errc{} && behind == key.data() + key.size();
      if (!is_id || id < ranks || id - ranks >= kSpecialTokens) {
        throw FormatError(file, "added_tokens_decoder: " + shown(key) + ", expected an id from " +
                                    std::to_string(ranks) + " to " +
                                    std::to_string(ranks + kSpecialTokens - 1) + ", behind the " +
                                    std::to_string(ranks) + " of tiktoken.model");
      }
      tokens[id - ranks] = read_special_token(key, entry, file);
    }
  }
  for (std::size_t i = 0; i < kSpecialTokens; ++i) {
    AddedToken& token = tokens[i];
    token.id = static_cast<TokenId>(ranks + i);
    if (token.content.empty()) token.content = "<|reserved_token_" + std::to_string(token.id) + "|>";
    token.matched = token.content;
  }
  return tokens;
}

}  // namespace baleen
