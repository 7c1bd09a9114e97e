// The tokens that the files beside a tokenizer.json name: tokenizer_config.json and, where that has no
// added_tokens_decoder, special_tokens_map.json and added_tokens.json, which older versions of transformers
// wrote. What is read in which order is that of from_pretrained and TokenizersBackend in transformers 5.23.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"

namespace baleen {

// A file's bytes, empty if there is none, and its name in errors.
struct TokenFile {
  std::string_view bytes;
  std::string name;
};

struct TokenFiles {
  TokenFile config, special_tokens_map, added_tokens;
};

struct ConfiguredTokens {
  std::map<std::string, std::string> named;  // "bos_token", "image_token", ... to their text
  std::vector<AddedToken> added;             // in the order in which those that are new get their ids
};

// `config` is that file, parsed; `own` are the tokens that tokenizer.json adds, with the ids written there.
// Throws FormatError.
ConfiguredTokens read_configured_tokens(const TokenFiles& files, const nlohmann::json& config,
                                        const std::vector<AddedToken>& own);

}  // namespace baleen
