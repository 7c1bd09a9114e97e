// Reads the parts of a tokenizer.json: normalizer, pre_tokenizer, post_processor, decoder, added_tokens and
// model. What one of them asks for and this library does not do is a FormatError that names it.
#pragma once

#include <vector>

#include "tokenizer/added_vocabulary.h"
#include "tokenizer/bpe.h"
#include "tokenizer/decoder.h"
#include "tokenizer/json_reader.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"

namespace baleen {

// What special tokens go before and behind a text.
struct PostProcessor {
  std::vector<TokenId> before, after;
};

Normalizer read_normalizer(const JsonValue& json);
PreTokenizer read_pre_tokenizer(const JsonValue& json);
std::vector<DecodeStep> read_decoder(const JsonValue& json);
PostProcessor read_post_processor(const JsonValue& json);
Bpe read_bpe(const JsonValue& json);

// Adds the tokens, and gives them back as they stand in the file.
std::vector<AddedToken> read_added_tokens(const JsonValue& json, AddedVocabulary& added);

}  // namespace baleen
