// Rotary position embedding (RoFormer, arXiv:2104.09864) and the ways of stretching it to long contexts.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "checkpoint/config.h"

namespace baleen {

// Radians a position turns each of the width / 2 pairs by; width is qk_rope_head_dim or head_dim.
std::vector<float> inverse_frequencies(const RopeConfig&, std::size_t width);

// cos and sin [frequencies.size()] of one position, both times attention_factor.
void rotation(const RopeConfig&, std::span<const float> frequencies, std::size_t position, float* cos, float* sin);

// Turns one head's vector of 2 * pairs numbers in place.
void rotate(RopeLayout, float* x, std::size_t pairs, const float* cos, const float* sin);

}  // namespace baleen
