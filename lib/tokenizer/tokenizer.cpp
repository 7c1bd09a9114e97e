#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "checkpoint/files.h"
#include "checkpoint/json_fields.h"
#include "error.h"
#include "tokenizer/components.h"
#include "tokenizer/configured_tokens.h"
#include "tokenizer/json_reader.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/unicode.h"

namespace baleen {
namespace {

constexpr std::size_t kMaxFile = std::size_t{1} << 30;
constexpr std::size_t kMaxText = std::size_t{1} << 30;
constexpr std::size_t kMaxJsonDepth = 128;

// simdjson reads a little behind the end: with `padded` that memory is there, else it makes a copy.
simdjson::dom::element parse_json(simdjson::dom::parser& parser, std::string_view json, bool padded,
                                  const std::string& file) {
  if (json.size() > kMaxFile) throw FormatError(file, "is larger than 1 GiB");
  simdjson::dom::element root;
  const auto error = parser.allocate(json.size() + 1, kMaxJsonDepth);
  if (error != simdjson::SUCCESS) throw FormatError(file, simdjson::error_message(error));
  const auto parsed = parser.parse(json.data(), json.size(), !padded).get(root);
  if (parsed != simdjson::SUCCESS) {
    throw FormatError(file, std::string("is not valid JSON: ") + simdjson::error_message(parsed));
  }
  if (!root.is_object()) throw FormatError(file, "is not a JSON object");
  return root;
}

std::string read_file(const std::filesystem::path& path) {
  (void)open_regular_file(path);  // a FIFO would keep us waiting for ever
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  if (!stream) throw Error(path.string() + ": cannot be opened");
  const std::streamoff size = stream.tellg();
  if (size < 0 || static_cast<std::size_t>(size) > kMaxFile)
    throw FormatError(path.string(), "is larger than 1 GiB");
  std::string bytes;
  bytes.reserve(static_cast<std::size_t>(size) + simdjson::SIMDJSON_PADDING);
  bytes.resize(static_cast<std::size_t>(size));
  stream.seekg(0);
  stream.read(bytes.data(), size);
  if (stream.gcount() != size) throw Error(path.string() + ": cannot be read whole");
  return bytes;
}

// What tokenizer_config.json says beside the tokens' names.
struct TextConfig {
  std::map<std::string, std::string> chat_templates;
  bool add_bos_token = false, add_eos_token = false;
};

// One template, or [{"name": ..., "template": ...}].
std::map<std::string, std::string> read_chat_templates(const nlohmann::json& chat, const std::string& file) {
  std::map<std::string, std::string> templates;
  if (chat.is_string()) templates["default"] = chat.get<std::string>();
  if (!chat.is_array()) return templates;
  for (const nlohmann::json& item : chat) {
    const auto text = [&](const char* key) {
      if (!item.is_object() || !item.contains(key) || !item[key].is_string())
        throw FormatError(file, std::string("chat_template: an entry without a string '") + key + "'");
      return item[key].get<std::string>();
    };
    templates[text("name")] = text("template");
  }
  return templates;
}

std::string beside(const std::string& file, const char* name) {
  return (std::filesystem::path(file).parent_path() / name).string();
}

// `root` is not simdjson's: the file's model_max_length may have 31 digits.
TextConfig read_config(const nlohmann::json& root, const std::string& file) {
  TextConfig config;
  const auto flag = [&](const char* key) {
    const auto value = root.find(key);
    if (value == root.end() || value->is_null()) return false;
    if (!value->is_boolean())
      throw FormatError(file, std::string(key) + ": " + shown(*value) + ", expected true or false");
    return value->get<bool>();
  };
  config.add_bos_token = flag("add_bos_token");
  config.add_eos_token = flag("add_eos_token");
  if (const auto chat = root.find("chat_template"); chat != root.end())
    config.chat_templates = read_chat_templates(*chat, file);
  return config;
}

}  // namespace

struct Tokenizer::Data {
  Bpe bpe;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::vector<DecodeStep> decoder{decode::JoinWithSpaces{}};
  PostProcessor post_processor;
  TokenMatcher raw_tokens, normalized_tokens;  // looked for before and behind the normalizer
  std::unordered_map<TokenId, AddedToken> added;
  std::unordered_map<std::string, TokenId> added_ids;
  std::size_t vocab_size = 0;
  TextConfig config;
  std::map<std::string, std::string> named_tokens;
  std::optional<NamedToken> bos, eos;

  void read(const JsonValue& json, const TokenFiles& files, const nlohmann::json& config_json);
  void read_tiktoken(std::string_view ranks, const std::string& file, const nlohmann::json& config_json,
                     const std::string& config_file);
  bool add_token(AddedToken token);  // false if another one looks alike in a text
  void apply_config();
  TokenId find(const std::string& token) const;
  std::optional<NamedToken> named(const std::string& key) const;
  void encode_words(Words& words, std::vector<TokenId>& out) const;
  void encode_text(const Segment& text, std::vector<TokenId>& out) const;

  // What the decoder gets for an id; nothing for one that is left out.
  std::optional<std::string_view> spelling(TokenId id, bool skip_special_tokens) const;
};

void Tokenizer::Data::read(const JsonValue& json, const TokenFiles& files,
                           const nlohmann::json& config_json) {
  if (const auto version = json.find("version"); version && version->string() != "1.0") {
    version->fail("'" + std::string(version->string()) + "', expected '1.0'");
  }
  if (const auto part = json.find("normalizer")) normalizer = read_normalizer(*part);
  if (const auto part = json.find("pre_tokenizer")) pre_tokenizer = read_pre_tokenizer(*part);
  if (const auto part = json.find("post_processor")) post_processor = read_post_processor(*part);
  if (const auto part = json.find("decoder")) decoder = read_decoder(*part);
  bpe = read_bpe(json.at("model"));
  vocab_size = bpe.vocabulary().id_bound();
  AddedVocabulary vocabulary(bpe.vocabulary(), normalizer);
  std::vector<AddedToken> own;
  if (const auto tokens = json.find("added_tokens")) own = read_added_tokens(*tokens, vocabulary);
  ConfiguredTokens configured = read_configured_tokens(files, config_json, own);
  named_tokens = std::move(configured.named);
  vocabulary.start_batch();
  for (AddedToken& token : configured.added) {
    try {
      vocabulary.add(std::move(token));
    } catch (const std::invalid_argument& e) {
      json.fail(std::string(e.what()) + "; a file beside this one names it");
    }
  }
  for (const AddedToken& token : vocabulary.tokens()) {
    if (!add_token(token))
      json.fail("added_tokens: two added tokens look like '" + token.matched + "' in a text");
  }
}

// Special tokens are found before long texts are cut. tokenization_kimi.py does it in this order for the
// named ones when transformers calls it, and in the other when it is called itself; ids differ only where the
// cut falls.
void Tokenizer::Data::read_tiktoken(std::string_view ranks, const std::string& file,
                                    const nlohmann::json& config_json, const std::string& config_file) {
  pre_tokenizer = tiktoken_pre_tokenizer(config_json, config_file);
  decoder = {decode::ByteLevel{}};
  bpe = read_ranks(ranks, file);
  for (AddedToken& token : tiktoken_special_tokens(config_json, config_file, bpe.vocabulary().id_bound())) {
    const std::string content = token.content;
    if (!add_token(std::move(token)))
      throw FormatError(config_file, "added_tokens_decoder: two ids are named '" + content + "'");
  }
}

bool Tokenizer::Data::add_token(AddedToken token) {
  TokenMatcher& matcher = token.normalized ? normalized_tokens : raw_tokens;
  if (!matcher.add(token)) return false;
  vocab_size = std::max(vocab_size, static_cast<std::size_t>(token.id) + 1);
  added_ids.emplace(token.content, token.id);
  added.emplace(token.id, std::move(token));
  return true;
}

TokenId Tokenizer::Data::find(const std::string& token) const {
  const auto found = added_ids.find(token);
  return found != added_ids.end() ? found->second : bpe.vocabulary().find(token);
}

std::optional<Tokenizer::NamedToken> Tokenizer::Data::named(const std::string& key) const {
  const auto text = named_tokens.find(key);
  if (text == named_tokens.end()) return std::nullopt;
  const TokenId id = find(text->second);
  return NamedToken{text->second, id == kNoToken ? std::nullopt : std::optional(id)};
}

// BOS and EOS that only tokenizer_config.json asks for join those of the template.
void Tokenizer::Data::apply_config() {
  bos = named("bos_token");
  eos = named("eos_token");
  std::vector<TokenId>& before = post_processor.before;
  std::vector<TokenId>& after = post_processor.after;
  if (config.add_bos_token && bos && bos->id && (before.empty() || before.front() != *bos->id)) {
    before.insert(before.begin(), *bos->id);
  }
  if (config.add_eos_token && eos && eos->id && (after.empty() || after.back() != *eos->id)) {
    after.push_back(*eos->id);
  }
}

Tokenizer Tokenizer::read_json(std::string_view json, bool padded, std::string_view config_json,
                               const std::string& file, const OlderFiles& older) {
  auto data = std::make_shared<Data>();
  const TokenFiles files{{config_json, beside(file, "tokenizer_config.json")},
                         {older.special_tokens_map, beside(file, "special_tokens_map.json")},
                         {older.added_tokens, beside(file, "added_tokens.json")}};
  nlohmann::json config = nlohmann::json::object();
  if (!config_json.empty()) config = parse_json_object(config_json, files.config.name);
  simdjson::dom::parser parser;
  data->read(JsonValue(parse_json(parser, json, padded, file), file, ""), files, config);
  data->config = read_config(config, files.config.name);
  data->apply_config();
  return Tokenizer(std::move(data));
}

Tokenizer Tokenizer::parse(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                           const std::string& file, const OlderFiles& older) {
  return read_json(tokenizer_json, false, tokenizer_config_json, file, older);
}

Tokenizer Tokenizer::parse_tiktoken(std::string_view ranks, std::string_view tokenizer_config_json,
                                    const std::string& file) {
  const std::string config = beside(file, "tokenizer_config.json");
  if (tokenizer_config_json.empty())
    throw FormatError(config, "missing or empty; a tiktoken.model alone does not tell how texts are split");
  const nlohmann::json root = parse_json_object(tokenizer_config_json, config);
  auto data = std::make_shared<Data>();
  data->read_tiktoken(ranks, file, root, config);
  data->named_tokens = read_configured_tokens({{tokenizer_config_json, config}, {}, {}}, root, {}).named;
  data->config = read_config(root, config);
  data->apply_config();
  return Tokenizer(std::move(data));
}

std::optional<std::filesystem::path> Tokenizer::file_in(const std::filesystem::path& dir) {
  for (const char* name : {"tokenizer.json", "tiktoken.model"}) {
    if (path_exists(dir / name)) return dir / name;
  }
  return std::nullopt;
}

Tokenizer Tokenizer::open(const std::filesystem::path& dir) {
  const auto if_there = [&](const char* name) {
    return path_exists(dir / name) ? read_file(dir / name) : std::string();
  };
  const std::filesystem::path file = file_in(dir).value_or(dir / "tokenizer.json");
  const std::string bytes = read_file(file);
  const std::string config = if_there("tokenizer_config.json");
  if (file.filename() == "tiktoken.model") return parse_tiktoken(bytes, config, file.string());
  const std::string special_tokens_map = if_there("special_tokens_map.json");
  const std::string added_tokens = if_there("added_tokens.json");
  return read_json(bytes, true, config, file.string(), {special_tokens_map, added_tokens});
}

void Tokenizer::Data::encode_words(Words& words, std::vector<TokenId>& out) const {
  pre_tokenizer(words);
  Bpe::Scratch scratch;
  for (const Segment& word : words.list) {
    if (word.token != kNoToken) {
      out.push_back(word.token);
    } else {
      bpe.encode(word.text, scratch, out);
    }
  }
}

// A text between tokens that were found in it as written.
void Tokenizer::Data::encode_text(const Segment& text, std::vector<TokenId>& out) const {
  const std::string normalized = normalizer.empty() ? std::string() : normalizer(text.text);
  Words words;
  normalized_tokens.split(normalizer.empty() ? text.text : normalized, text.at_start, words.list);
  encode_words(words, out);
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special_tokens) const {
  if (text.size() > kMaxText) throw Error("a text of more than 1 GiB cannot be tokenized");
  const bool add = special_tokens == SpecialTokens::add;
  std::string repaired;
  if (!unicode::is_valid(text)) text = repaired = unicode::repair(text);
  std::vector<Segment> segments;
  data_->raw_tokens.split(text, true, segments);
  std::vector<TokenId> ids;
  if (add) ids = data_->post_processor.before;
  for (const Segment& segment : segments) {
    if (segment.token != kNoToken) {
      ids.push_back(segment.token);
    } else {
      data_->encode_text(segment, ids);
    }
  }
  if (add) ids.insert(ids.end(), data_->post_processor.after.begin(), data_->post_processor.after.end());
  return ids;
}

// An added token that is looked for in normalized text is spelled normalized, for the decoder to undo; it is
// special if what it is spelled then is the content of a special token. Both as in the reference.
std::optional<std::string_view> Tokenizer::Data::spelling(TokenId id, bool skip_special_tokens) const {
  std::string_view text;
  if (const auto token = added.find(id); token != added.end()) {
    text = token->second.matched;
  } else if (bpe.vocabulary().has(id)) {
    text = bpe.vocabulary().spelling(id);
  } else {
    return std::nullopt;
  }
  if (!skip_special_tokens) return text;
  const auto same = added_ids.find(std::string(text));
  if (same != added_ids.end() && added.at(same->second).special) return std::nullopt;
  return text;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  DecodeChain chain(data_->decoder, false);
  std::string text;
  for (const TokenId id : ids) {
    if (const auto spelling = data_->spelling(id, skip_special_tokens)) text += chain.push(*spelling);
  }
  return text += chain.finish();
}

std::size_t Tokenizer::vocab_size() const {
  return data_->vocab_size;
}

std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  const TokenId id = data_->find(std::string(token));
  return id == kNoToken ? std::nullopt : std::optional(id);
}

std::string_view Tokenizer::token(TokenId id) const {
  const auto added = data_->added.find(id);
  return added != data_->added.end() ? std::string_view(added->second.content)
                                     : data_->bpe.vocabulary().spelling(id);
}

bool Tokenizer::is_special(TokenId id) const {
  const auto added = data_->added.find(id);
  return added != data_->added.end() && added->second.special;
}

std::string Tokenizer::token_text(TokenId id) const {
  const auto spelling = data_->spelling(id, false);
  if (!spelling) return {};
  DecodeChain chain(data_->decoder, true);
  std::string text = chain.push(*spelling);
  return text += chain.finish();
}

const std::optional<Tokenizer::NamedToken>& Tokenizer::bos_token() const {
  return data_->bos;
}
const std::optional<Tokenizer::NamedToken>& Tokenizer::eos_token() const {
  return data_->eos;
}
bool Tokenizer::add_bos_token() const {
  return data_->config.add_bos_token;
}
bool Tokenizer::add_eos_token() const {
  return data_->config.add_eos_token;
}
const std::map<std::string, std::string>& Tokenizer::named_tokens() const {
  return data_->named_tokens;
}
const std::map<std::string, std::string>& Tokenizer::chat_templates() const {
  return data_->config.chat_templates;
}

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer::Data> data;
  bool skip_special_tokens;
  DecodeChain chain;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : state_(new State{tokenizer.data_, skip_special_tokens, DecodeChain(tokenizer.data_->decoder, false)}) {}
StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::push(TokenId id) {
  const auto spelling = state_->data->spelling(id, state_->skip_special_tokens);
  return spelling ? state_->chain.push(*spelling) : std::string();
}

std::string StreamDecoder::finish() {
  return state_->chain.finish();
}

}  // namespace baleen
