// What the tokenizer's parts say to each other about token ids, beyond TokenId itself.
#pragma once

#include "tokenizer/token_id.h"

namespace baleen {

inline constexpr TokenId kNoToken = -1;

// Ids beyond this are refused: tables are indexed by them, and no published vocabulary has a tenth of it.
inline constexpr TokenId kMaxTokenId = (1 << 24) - 1;

}  // namespace baleen
