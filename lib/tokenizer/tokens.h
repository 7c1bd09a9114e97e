// The number of a token, in a header of its own for those who need no more.
#pragma once

#include <cstdint>

namespace baleen {

using TokenId = std::int32_t;
inline constexpr TokenId kNoToken = -1;

// Ids beyond this are refused: tables are indexed by them, and no published vocabulary has a tenth of it.
inline constexpr TokenId kMaxTokenId = (1 << 24) - 1;

}  // namespace baleen
