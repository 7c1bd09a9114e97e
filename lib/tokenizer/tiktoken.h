// Reads tiktoken.model, which the Moonlight and Kimi models have in place of a tokenizer.json: the rank file
// of the tiktoken library, and beside it what tokenizer_config.json says of special tokens. How a text is
// split into words stands in neither but in the Python file that tokenizer_config.json names; so that file is
// recognised by name, and what it does is written down here.
//
// Where the facts come from: tokenization_moonshot.py of moonshotai/Moonlight-16B-A3B, tokenization_kimi.py
// of moonshotai/Kimi-K2-Instruct (the pattern is the same in both), and load.py and lib.rs of tiktoken 0.14.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pre_tokenizer.h"

namespace baleen {

// The model of a rank file. A line is the base64 of a token's bytes, a space, and its rank, which is its id:
// ranks go from 0 on without gaps, and each of the 256 bytes is a token. Lines end in LF or CR LF, the last
// one may lack it, and empty ones are skipped, as tiktoken does. Tokens are spelled in byte-level characters.
// Throws FormatError "FILE: line N: ...".
Bpe read_ranks(std::string_view text, const std::string& file);

// How the Python file named in a tokenizer_config.json splits a text. Throws FormatError naming that Python
// file if it is not one of those above; `file` names the configuration.
PreTokenizer tiktoken_pre_tokenizer(const nlohmann::json& config, const std::string& file);

// The 256 tokens behind the `ranks` ordinary ones: by the names that added_tokens_decoder gives them, else
// <|reserved_token_ID|>. Throws FormatError for an entry of added_tokens_decoder that is none of them.
std::vector<AddedToken> tiktoken_special_tokens(const nlohmann::json& config, const std::string& file,
                                                std::size_t ranks);

}  // namespace baleen
