// The "model" part of a tokenizer.json: vocabulary and merges, up to 28 MB of it, so no path is built and no
// string is copied per entry unless something is wrong.
#include <algorithm>
#include <string>
#include <utility>

#include "tokenizer/components.h"

namespace baleen {
namespace {

std::string quoted(std::string_view text) {
  return "'" + std::string(text.substr(0, 80)) + "'";
}

Vocabulary read_vocabulary(const JsonValue& json) {
  simdjson::dom::object object;
  if (json.element().get_object().get(object) != simdjson::SUCCESS) json.fail("is not an object");
  std::size_t count = 0, bytes = 0;
  for (const auto field : object) {
    ++count;
    bytes += field.key.size();
  }
  Vocabulary vocabulary;
  vocabulary.reserve(count, bytes);
  for (const auto field : object) {
    std::int64_t id = 0;
    if (field.value.get_int64().get(id) != simdjson::SUCCESS || id < 0 || id > kMaxTokenId) {
      json.fail("the id of " + quoted(field.key) + " is not an integer from 0 to " +
                std::to_string(kMaxTokenId));
    }
    if (!vocabulary.add(field.key, static_cast<TokenId>(id))) {
      json.fail("the id " + std::to_string(id) + " of " + quoted(field.key) + " is also that of " +
                quoted(vocabulary.spelling(static_cast<TokenId>(id))));
    }
  }
  return vocabulary;
}

// A merge is a pair of strings or, in older files, one string with a space between the two.
class MergeReader {
 public:
  MergeReader(const JsonValue& json, const Vocabulary& vocabulary, std::size_t prefix)
      : json_(json), vocabulary_(vocabulary), prefix_(prefix) {}

  MergeTable read() {
    simdjson::dom::array array;
    if (json_.element().get_array().get(array) != simdjson::SUCCESS) json_.fail("is not an array");
    merges_.reserve(static_cast<std::size_t>(std::distance(array.begin(), array.end())));
    batch_.reserve(kBatch);
    for (const auto item : array) {
      std::string_view left, right;
      if (!pair(item, left, right)) continue;
      batch_.push_back({left, right, hash_bytes(left), hash_bytes(right)});
      if (batch_.size() == kBatch) merge_batch();
    }
    merge_batch();
    return std::move(merges_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    json_.fail("merge " + std::to_string(rank_) + ": " + what);
  }

  // False for a version line.
  bool pair(const simdjson::dom::element item, std::string_view& left, std::string_view& right) const {
    std::string_view line;
    if (item.get_string().get(line) == simdjson::SUCCESS) {
      if (line.starts_with("#version")) return false;
      const std::size_t space = line.find(' ');
      if (space == line.npos || line.find(' ', space + 1) != line.npos)
        fail(quoted(line) + " is not two tokens");
      left = line.substr(0, space);
      right = line.substr(space + 1);
      return true;
    }
    simdjson::dom::array both;
    if (item.get_array().get(both) != simdjson::SUCCESS || both.size() != 2 ||
        both.at(0).get_string().get(left) != simdjson::SUCCESS ||
        both.at(1).get_string().get(right) != simdjson::SUCCESS) {
      fail("is not a pair of tokens");
    }
    return true;
  }

  TokenId known(TokenId id, std::string_view token) const {
    if (id == kNoToken) fail("the token " + quoted(token) + " is not in the vocabulary");
    return id;
  }

  // Merges come in the order of the tokens that they make, mostly: try the last one and the next before
  // searching.
  TokenId merged_id() {
    for (const TokenId guess : {last_, last_ + 1}) {
      if (vocabulary_.has(guess) && vocabulary_.spelling(guess) == merged_) return guess;
    }
    return known(vocabulary_.find(merged_), merged_);
  }

  void merge_batch() {
    for (const Pair& p : batch_) {
      vocabulary_.fetch_slot(p.left_hash);
      vocabulary_.fetch_slot(p.right_hash);
    }
    for (const Pair& p : batch_) {
      vocabulary_.fetch_text(p.left_hash);
      vocabulary_.fetch_text(p.right_hash);
    }
    for (Pair& p : batch_) {
      p.left_id = vocabulary_.find(p.left, p.left_hash);
      p.right_id = vocabulary_.find(p.right, p.right_hash);
      merges_.fetch(p.left_id, p.right_id);
    }
    for (const Pair& p : batch_) {
      if (p.right.size() < prefix_) fail(quoted(p.right) + " lacks the continuing_subword_prefix");
      merged_.assign(p.left);
      merged_ += p.right.substr(prefix_);
      const TokenId left = known(p.left_id, p.left), right = known(p.right_id, p.right);
      last_ = merged_id();
      merges_.add(left, right, {rank_++, last_});
    }
    batch_.clear();
  }

  static constexpr std::size_t kBatch = 32;
  struct Pair {
    std::string_view left, right;
    std::uint64_t left_hash, right_hash;
    TokenId left_id = kNoToken, right_id = kNoToken;
  };

  const JsonValue& json_;
  const Vocabulary& vocabulary_;
  std::size_t prefix_;  // bytes that the right token loses
  MergeTable merges_;
  std::uint32_t rank_ = 0;
  std::vector<Pair> batch_;
  std::string merged_;
  TokenId last_ = 0;  // the token that the last merge made
};

}  // namespace

Bpe read_bpe(const JsonValue& json) {
  const std::string_view type = json.text("type", "BPE");
  if (type != "BPE") json.fail("the model '" + std::string(type) + "' is not supported (supported: BPE)");
  if (const auto dropout = json.find("dropout")) {
    double rate = 0;
    if (dropout->element().get_double().get(rate) != simdjson::SUCCESS || rate != 0)
      dropout->fail("is not null: tokens would be random");
  }
  BpeOptions options;
  if (const auto unk = json.find("unk_token")) options.unk_token = std::string(unk->string());
  options.continuing_subword_prefix = json.text("continuing_subword_prefix", "");
  options.end_of_word_suffix = json.text("end_of_word_suffix", "");
  options.fuse_unk = json.flag("fuse_unk", false);
  options.byte_fallback = json.flag("byte_fallback", false);
  options.ignore_merges = json.flag("ignore_merges", false);
  const JsonValue merges = json.at("merges");
  Vocabulary vocabulary = read_vocabulary(json.at("vocab"));
  MergeTable table = MergeReader(merges, vocabulary, options.continuing_subword_prefix.size()).read();
  return Bpe(std::move(options), std::move(vocabulary), std::move(table));
}

}  // namespace baleen
