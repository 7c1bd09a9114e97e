#include "tokenizer/configured_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "checkpoint/json_fields.h"
#include "error.h"

namespace baleen {
namespace {

using Json = nlohmann::json;

// The names that every tokenizer of transformers has, in its order; all others are a model's own.
constexpr std::array<std::string_view, 7> kStandardNames = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

bool is_standard(std::string_view name) {
  return std::find(kStandardNames.begin(), kStandardNames.end(), name) != kStandardNames.end();
}

// transformers' AddedToken, or the string that stands for one until it is added.
struct Token {
  AddedToken token;
  bool is_string = false;
  bool has_normalized = true;  // else a token is normalized if it is not special, also if it becomes so later

  const std::string& content() const { return token.content; }

  void set_special() {
    token.special = true;
    if (!has_normalized) token.normalized = false;
  }

  // What tells it from others in a list of both kinds.
  std::string identity() const {
    std::string flags;
    for (const bool flag :
         {is_string, token.single_word, token.lstrip, token.rstrip, token.normalized, token.special})
      flags.push_back(flag ? '1' : '0');
    return flags + token.content;
  }
};

Token string_token(const Json& text) {
  Token result;
  result.token.content = text.get<std::string>();
  result.token.special = true;
  result.is_string = true;
  return result;
}

// {"content": "<s>", "lstrip": false, ...}; flags may be missing.
Token object_token(const Json& object, const std::string& file, const std::string& place) {
  const auto content = object.find("content");
  if (content == object.end() || !content->is_string())
    throw FormatError(file, place + ": " + shown(object) + ", expected a token with a string 'content'");
  const auto flag = [&](const char* key, bool otherwise) {
    const auto value = object.find(key);
    if (value == object.end() || value->is_null()) return otherwise;
    if (!value->is_boolean())
      throw FormatError(file, place + "." + key + ": " + shown(*value) + ", expected true or false");
    return value->get<bool>();
  };
  Token result;
  result.token.content = content->get<std::string>();
  result.token.single_word = flag("single_word", false);
  result.token.lstrip = flag("lstrip", false);
  result.token.rstrip = flag("rstrip", false);
  result.token.special = flag("special", false);
  result.token.normalized = flag("normalized", !result.token.special);
  result.has_normalized = object.contains("normalized") && !object["normalized"].is_null();
  return result;
}

Token read_token(const Json& value, const std::string& file, const std::string& place) {
  if (value.is_string()) return string_token(value);
  if (value.is_object()) return object_token(value, file, place);
  throw FormatError(file, place + ": " + shown(value) + ", expected a token: a string or an object");
}

// transformers marks what it saved; another object by a name of its own is no token to it.
bool is_marked(const Json& value) {
  const auto type = value.is_object() ? value.find("__type") : value.end();
  return value.is_object() && type != value.end() && *type == "AddedToken";
}

// A dict of Python: a name that is there already keeps its place.
class NamedTokens {
 public:
  void set(const std::string& name, std::optional<Token> token) {
    const auto [place, is_new] = places_.try_emplace(name, list_.size());
    if (is_new) list_.emplace_back(name, std::nullopt);
    list_[place->second].second = std::move(token);
  }
  void set_all(const NamedTokens& others) {
    for (const auto& [name, token] : others.list_) set(name, token);
  }
  bool empty() const { return list_.empty(); }
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }

 private:
  std::vector<std::pair<std::string, std::optional<Token>>> list_;
  std::unordered_map<std::string, std::size_t> places_;
};

// Reads the three files as from_pretrained does; what it calls init_kwargs is taken apart by kind.
class Reader {
 public:
  Reader(const TokenFiles& files, const Json& config) : files_(files), config_(config) {}

  ConfiguredTokens read(const std::vector<AddedToken>& own) {
    read_config();
    const auto decoder = config_.find("added_tokens_decoder");
    if (decoder != config_.end() && !decoder->is_null()) {
      read_added_tokens_decoder(*decoder);
    } else {
      if (!files_.special_tokens_map.bytes.empty()) read_special_tokens_map();
      if (!files_.added_tokens.bytes.empty()) read_added_tokens();
      for (const AddedToken& token : own) added_.insert_or_assign(token.id, Token{token, false, true});
    }
    if (!has_extra_ && additional_) read_extra(*additional_, additional_file_, "additional_special_tokens");
    return result(own);
  }

 private:
  // The names that a top object gives to tokens; objects without their mark do not count in the config.
  void read_config() {
    const std::string& file = files_.config.name;
    for (const std::string_view name : kStandardNames) {
      const auto value = config_.find(name);
      const bool is_set = value != config_.end() && !value->is_null();
      named_.set(std::string(name),
                 is_set ? std::optional(read_token(*value, file, std::string(name))) : std::nullopt);
    }
    for (const std::string& name : own_names(files_.config, config_)) {
      const Json& value = config_[name];
      if (value.is_string()) first_.set(name, string_token(value));
      if (is_marked(value)) later_.set(name, object_token(value, file, name));
    }
    const Json* extra = member(config_, "extra_special_tokens");
    additional_ = member(config_, "additional_special_tokens");
    has_extra_ = extra != nullptr;
    const char* name = "extra_special_tokens";
    if (additional_ && (!extra || extra->is_null() || extra->empty())) {
      extra = std::exchange(additional_, nullptr);
      has_extra_ = true;
      name = "additional_special_tokens";
    }
    if (extra) read_extra(*extra, files_.config, name);
    if (const Json* saved = member(config_, "model_specific_special_tokens"); saved && first_.empty())
      read_names(*saved, files_.config, "model_specific_special_tokens");
  }

  static const Json* member(const Json& object, const std::string& name) {
    const auto value = object.find(name);
    return value == object.end() ? nullptr : &*value;
  }

  // In the order of the file, which is looked up only where it matters.
  static std::vector<std::string> own_names(const TokenFile& file, const Json& object) {
    std::vector<std::string> names;
    const auto is_own = [&](const std::string& name) {
      return name.ends_with("_token") && !is_standard(name) &&
             (object[name].is_string() || object[name].is_object() || object[name].is_null());
    };
    for (const auto& [name, value] : object.items()) {
      if (is_own(name)) names.push_back(name);
    }
    if (names.size() < 2) return names;
    names = keys_in_order(file.bytes, {});
    std::erase_if(names, [&](const std::string& name) { return !is_own(name); });
    return names;
  }

  // A list of tokens, or an object that names them.
  void read_extra(const Json& value, const TokenFile& file, const std::string& place) {
    if (value.is_object()) {
      has_extra_ = false;
      extra_.clear();
      return read_names(value, file, place);
    }
    if (value.is_null()) return extra_.clear();
    if (!value.is_array())
      throw FormatError(file.name, place + ": " + shown(value) + ", expected a list of tokens or an object");
    for (std::size_t i = 0; i < value.size(); ++i) {
      Token token = read_token(value[i], file.name, place + "[" + std::to_string(i) + "]");
      // transformers refuses objects without their mark here; in its special_tokens_map.json they are
      // special.
      if (value[i].is_object() && !is_marked(value[i])) token.set_special();
      extra_.push_back(std::move(token));
    }
  }

  void read_names(const Json& names, const TokenFile& file, const std::string& place) {
    if (!names.is_object())
      throw FormatError(file.name, place + ": " + shown(names) + ", expected an object");
    for (const std::string& name : keys_in_order(file.bytes, {place}))
      first_.set(name, read_token(names.at(name), file.name, place + "." + name));
  }

  void read_added_tokens_decoder(const Json& decoder) {
    const std::string& file = files_.config.name;
    if (!decoder.is_object())
      throw FormatError(file, "added_tokens_decoder: " + shown(decoder) + ", expected an object");
    for (const auto& [key, value] : decoder.items()) {
      std::int64_t id = 0;
      const auto [behind, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc{} || behind != key.data() + key.size())
        throw FormatError(file, "added_tokens_decoder: " + shown(key) + ", expected an id");
      if (!value.is_object())
        throw FormatError(file, "added_tokens_decoder." + key + ": " + shown(value) + ", expected an object");
      added_.insert_or_assign(id, object_token(value, file, "added_tokens_decoder." + key));
    }
  }

  // Its values win over those of the config, except for a model's own names.
  void read_special_tokens_map() {
    const TokenFile& file = files_.special_tokens_map;
    special_tokens_map_ = parse_json_object(file.bytes, file.name);
    const auto token = [&](const std::string& name, const Json& value) {
      Token result = read_token(value, file.name, name);
      if (value.is_object()) result.set_special();
      return result;
    };
    for (const std::string_view standard : kStandardNames) {
      const std::string name(standard);
      if (const Json* value = member(special_tokens_map_, name))
        named_.set(name, value->is_null() ? std::nullopt : std::optional(token(name, *value)));
    }
    for (const std::string& name : own_names(file, special_tokens_map_)) {
      const Json& value = special_tokens_map_[name];
      later_.set(name, value.is_null() ? std::nullopt : std::optional(token(name, value)));
    }
    if (const Json* extra = member(special_tokens_map_, "extra_special_tokens")) {
      has_extra_ = true;
      read_extra(*extra, file, "extra_special_tokens");
    }
    if (const Json* additional = member(special_tokens_map_, "additional_special_tokens")) {
      additional_ = additional;
      additional_file_ = file;
    }
  }

  // {"<token>": id}
  void read_added_tokens() {
    const TokenFile& file = files_.added_tokens;
    std::unordered_set<std::string> special;
    for (const auto& [name, token] : named_) {
      if (token) special.insert(token->content());
    }
    for (const Token& token : extra_) special.insert(token.content());
    const Json ids = parse_json_object(file.bytes, file.name);
    for (const auto& [content, id] : ids.items()) {
      if (!id.is_number_integer())
        throw FormatError(file.name, shown(content) + ": " + shown(id) + ", expected an id");
      Token token;
      token.token.content = content;
      token.token.special = special.contains(content);
      token.token.normalized = !token.token.special;
      added_.insert_or_assign(id.get<std::int64_t>(), std::move(token));
    }
  }

  // added_tokens_decoder, then the named tokens and the extra ones that are no added tokens yet.
  ConfiguredTokens result(const std::vector<AddedToken>& own) {
    later_.set_all(first_);
    named_.set_all(later_);
    ConfiguredTokens tokens;
    std::unordered_set<std::string> named, known;
    for (const auto& [name, token] : named_) {
      if (!token) continue;
      tokens.named[name] = token->content();
      named.insert(token->content());
    }
    for (const AddedToken& token : own) known.insert(token.content);
    const auto add = [&](Token token) {
      if (named.contains(token.content())) token.set_special();
      tokens.added.push_back(std::move(token.token));
    };
    for (const auto& [id, token] : added_) {
      known.insert(token.content());
      add(token);
    }
    std::unordered_set<std::string> seen;
    const auto add_new = [&](const Token& token) {
      if (!known.contains(token.content()) && seen.insert(token.identity()).second) add(token);
    };
    for (const auto& [name, token] : named_) {
      if (token) add_new(*token);
    }
    for (const Token& token : extra_) add_new(token);
    return tokens;
  }

  const TokenFiles& files_;
  const Json& config_;
  Json special_tokens_map_;
  NamedTokens named_;          // standard names, in the end all of them
  NamedTokens first_, later_;  // a model's own, and those that first_ wins over
  std::vector<Token> extra_;
  const Json* additional_ = nullptr;  // additional_special_tokens, for want of extra ones
  TokenFile additional_file_ = files_.config;
  bool has_extra_ = false;
  std::map<std::int64_t, Token> added_;
};

}  // namespace

ConfiguredTokens read_configured_tokens(const TokenFiles& files, const Json& config,
                                        const std::vector<AddedToken>& own) {
  return Reader(files, config).read(own);
}

}  // namespace baleen
