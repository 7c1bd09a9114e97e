// The number of a vocabulary entry.
#pragma once

#include <cstdint>

namespace baleen {

using TokenId = std::int32_t;

}  // namespace baleen
