#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace baleen {
namespace {

// The dimension whose wave turns `rotations` times within the original context (YaRN, arXiv:2309.00071,
// section 3.2).
double correction_dim(const RopeConfig& rope, std::size_t width, double rotations) {
  const double context = static_cast<double>(rope.original_max_position_embeddings);
  return static_cast<double>(width) * std::log(context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

// YaRN: pairs that turn often keep their frequency, slow ones are divided by the factor, a ramp between.
void stretch_yarn(const RopeConfig& rope, std::size_t width, std::span<float> frequencies) {
  double low = correction_dim(rope, width, rope.beta_fast);
  double high = correction_dim(rope, width, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(width - 1));
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const auto ramp = static_cast<float>(std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
    const float interpolated = frequencies[i] / static_cast<float>(rope.factor);
    frequencies[i] = interpolated * ramp + frequencies[i] * (1 - ramp);
  }
}

// Llama 3.1: long waves are divided by the factor, short ones kept, those between blended.
void stretch_llama3(const RopeConfig& rope, std::span<float> frequencies) {
  const auto context = static_cast<float>(rope.original_max_position_embeddings);
  const auto low = static_cast<float>(rope.low_freq_factor);
  const auto high = static_cast<float>(rope.high_freq_factor);
  const auto factor = static_cast<float>(rope.factor);
  for (float& f : frequencies) {
    const float wave = 2 * std::numbers::pi_v<float> / f;
    if (wave < context / high) continue;
    if (wave > context / low) {
      f /= factor;
      continue;
    }
    const float smooth = (context / wave - low) / (high - low);
    f = (1 - smooth) * f / factor + smooth * f;
  }
}

}  // namespace

std::vector<float> inverse_frequencies(const RopeConfig& rope, std::size_t width) {
  std::vector<float> frequencies(width / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(width);
    frequencies[i] = 1 / std::pow(static_cast<float>(rope.theta), exponent);
  }
  switch (rope.type) {
    case RopeType::standard: break;
    case RopeType::linear:
      for (float& f : frequencies) f /= static_cast<float>(rope.factor);
      break;
    case RopeType::yarn: stretch_yarn(rope, width, frequencies); break;
    case RopeType::llama3: stretch_llama3(rope, frequencies); break;
  }
  return frequencies;
}

void rotation(const RopeConfig& rope, std::span<const float> frequencies, std::size_t position, float* cos,
              float* sin) {
  const auto scale = static_cast<float>(rope.attention_factor);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * frequencies[i];
    cos[i] = std::cos(angle) * scale;
    sin[i] = std::sin(angle) * scale;
  }
}

void rotate(RopeLayout layout, float* x, std::size_t pairs, const float* cos, const float* sin) {
  const std::size_t step = layout == RopeLayout::interleaved ? 2 : 1;
  const std::size_t apart = layout == RopeLayout::interleaved ? 1 : pairs;
  for (std::size_t i = 0; i < pairs; ++i) {
    float& a = x[i * step];
    float& b = x[i * step + apart];
    const float turned = a * cos[i] - b * sin[i];
    b = b * cos[i] + a * sin[i];
    a = turned;
  }
}

}  // namespace baleen
