// One stored value at a time, for those who cannot encode whole groups: what bits stand for a number, and
// what they read back as.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/target.h"

namespace baleen {

// The code of the stored number nearest to x = weight / scale, ties to even; the largest there is for numbers
// beyond. Not a number becomes 0. int4 and int8: the number + 8 or 128. fp8: e4m3's bits. mxfp4: e2m1's.
std::uint8_t code_of(Encoding, float x);
float code_value(Encoding, std::uint8_t code);

// Puts the codes of a row where stored_parts' values lie; padding becomes 0.
void pack_codes(Encoding, const std::uint8_t* codes, std::size_t cols, std::byte* row);

// The scale at `index` of stored_parts' scales.
float stored_scale(const Target&, DType plain, const std::byte* scales, std::size_t index);

}  // namespace baleen
