// The "model" part of a tokenizer.json: vocabulary and merges, up to 28 MB of it, so no path is built and no string
// is copied per entry unless something is wrong.
#include <algorithm>
#include <string>
#include <utility>

#include "tokenizer/components.h"

namespace baleen {
namespace {

std::string quoted(std::string_view text) { return "'" + std::string(text.substr(0, 80)) + "'"; }

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
      json.fail("the id of " + quoted(field.key) + " is not an integer from 0 to " + std::to_string(kMaxTokenId));
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
    for (const auto item : array) {
      std::string_view left, right;
      if (!pair(item, left, right)) continue;
      merge(left, right);
      ++rank_;
    }
    return std::move(merges_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { json_.fail("merge " + std::to_string(rank_) + ": " + what); }

  // False for a version line.
  bool pair(const simdjson::dom::element item, std::string_view& left, std::string_view& right) const {
    std::string_view line;
    if (item.get_string().get(line) == simdjson::SUCCESS) {
      if (line.starts_with("#version")) return false;
      const std::size_t space = line.find(' ');
      if (space == line.npos || line.find(' ', space + 1) != line.npos) fail(quoted(line) + " is not two tokens");
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

  TokenId id(std::string_view token) const {
    const TokenId found = vocabulary_.find(token);
    if (found == kNoToken) fail("the token " + quoted(token) + " is not in the vocabulary");
    return found;
  }

  void merge(std::string_view left, std::string_view right) {
    if (right.size() < prefix_) fail(quoted(right) + " lacks the continuing_subword_prefix");
    merged_.assign(left);
    merged_ += right.substr(prefix_);
    merges_.add(id(left), id(right), {rank_, id(merged_)});
  }

  const JsonValue& json_;
  const Vocabulary& vocabulary_;
  std::size_t prefix_;  // bytes that the right token loses
  MergeTable merges_;
  std::uint32_t rank_ = 0;
  std::string merged_;
};

}  // namespace

Bpe read_bpe(const JsonValue& json) {
  const std::string_view type = json.text("type", "BPE");
  if (type != "BPE") json.fail("the model '" + std::string(type) + "' is not supported (supported: BPE)");
  if (const auto dropout = json.find("dropout")) {
    double rate = 0;
    if (dropout->element().get_double().get(rate) != simdjson::SUCCESS || rate != 0) dropout->fail("is not null: tokens would be random");
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
