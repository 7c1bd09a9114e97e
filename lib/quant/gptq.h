// Quantization with error feedback: GPTQ (Frantar et al. 2022, arXiv:2210.17323). A row of weights is rounded
// column by column, and what a column's rounding did to the module's outputs is made good, as far as it can
// be, by the columns that still come.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "quant/blas.h"
#include "quant/encode.h"

namespace baleen {

// The diagonal is raised by this share of its mean before the factorization, as in the paper.
inline constexpr double gptq_damping = 0.01;

// Turns the Hessian of a module's inputs, the upper triangle of H = sum of x x^T over tokens, into what
// carries the errors: the upper triangle U with U^T U = (H + damping I)^-1, in its place; the lower triangle
// becomes 0. Damping starts at gptq_damping and doubles until the factorization succeeds; returned is what it
// took, as a share of the mean diagonal. nullopt: no damping helps, H is zero or not finite.
//
// A column that no token excites ("dead" in the paper, which sets its weights to zero) has the damping alone
// on its diagonal: it takes no errors and gives none, and its weights are rounded as they are.
std::optional<double> feedback_factor(const Blas&, std::size_t cols, float* hessian);

// As encode(), with error feedback by `factor` [cols, cols] of feedback_factor. A group's scale is found when
// its first column comes, from what the weights have become by then; the error is that of the stored weights,
// like encode()'s, and larger than without feedback: what gets smaller is the error of the module's outputs.
// `room` holds feedback_room(target, cols) floats. Rows are worked on in panels of feedback_panel, which do
// not depend on each other; the same panels give the same bits.
EncodeError encode_with_feedback(const EncodeArgs&, const Blas&, const float* factor, std::span<float> room);

inline constexpr std::size_t feedback_panel = 128;  // rows; those of an fp8 block
std::size_t feedback_room(const Target&, std::size_t cols);

}  // namespace baleen
