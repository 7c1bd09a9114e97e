#include "bench/work.h"

#include <algorithm>

namespace baleen {
namespace {

using kernels::Format;
using kernels::Matrix;

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}

std::uint64_t number_bytes(Format format) {
  if (format == Format::e8m0) return 1;
  return format == Format::f32 ? 4 : 2;
}

double weights(const Matrix& matrix) {
  return static_cast<double>(matrix.rows) * static_cast<double>(matrix.cols);
}

// A matrix that `tokens` tokens go through.
Work product(const Matrix& matrix, double tokens) {
  return {.weight_bytes = static_cast<double>(stored_bytes(matrix)),
          .operations = 2 * weights(matrix) * tokens};
}

Work product(const Mlp& mlp, double tokens) {
  return product(mlp.gate_proj, tokens) + product(mlp.up_proj, tokens) + product(mlp.down_proj, tokens);
}

Work attention_work(const Config& config, const KvLayout& kv, std::size_t window,
                    std::span<const Stretch> stretches) {
  const std::size_t value_dim = config.attention == AttentionKind::mla ? config.v_head_dim : config.head_dim;
  const auto position =
      static_cast<double>(2 * config.num_attention_heads * (config.qk_head_dim() + value_dim));
  Work work;
  for (const Stretch& stretch : stretches) {
    work.kv_bytes += static_cast<double>(cached_positions(stretch, window) * kv.position_bytes);
    work.operations += static_cast<double>(visible_positions(stretch, window)) * position;
  }
  return work;
}

}  // namespace

Work operator+(const Work& a, const Work& b) {
  return {.weight_bytes = a.weight_bytes + b.weight_bytes,
          .kv_bytes = a.kv_bytes + b.kv_bytes,
          .operations = a.operations + b.operations};
}

Work operator*(double factor, const Work& work) {
  return {.weight_bytes = factor * work.weight_bytes,
          .kv_bytes = factor * work.kv_bytes,
          .operations = factor * work.operations};
}

std::uint64_t stored_bytes(const Matrix& m) {
  std::uint64_t bytes = m.rows * m.row_bytes;
  if (m.scales) bytes += ceil_div(m.rows, m.block_rows) * m.scale_cols * number_bytes(m.scale_format);
  const std::uint64_t per_word = m.format == Format::int4 ? 8 : 4;
  if (m.zeros) bytes += ceil_div(m.rows, per_word) * m.scale_cols * sizeof(std::int32_t);
  if (m.group_index) bytes += m.cols * sizeof(std::int32_t);
  return bytes;
}

std::uint64_t visible_positions(const Stretch& stretch, std::size_t window) {
  const auto sum_to = [](std::uint64_t n) { return n * (n + 1) / 2; };
  // The token at position p sees p + 1 positions, or the window.
  const std::uint64_t end = stretch.begin + stretch.count;
  if (window == 0 || end <= window) return sum_to(end) - sum_to(stretch.begin);
  const std::uint64_t growing = std::max<std::uint64_t>(stretch.begin, window);
  return sum_to(growing) - sum_to(stretch.begin) + (end - growing) * window;
}

std::uint64_t cached_positions(const Stretch& stretch, std::size_t window) {
  if (stretch.count == 0) return 0;
  const std::size_t first = window > 0 && stretch.begin + 1 > window ? stretch.begin + 1 - window : 0;
  return stretch.begin + stretch.count - first;
}

Work layer_work(const Config& config, const Layer& layer, const KvLayout& kv,
                std::span<const Stretch> stretches, const std::vector<bool>& touched) {
  double tokens = 0;
  for (const Stretch& stretch : stretches) tokens += static_cast<double>(stretch.count);
  Work work = attention_work(config, kv, layer.sliding_window, stretches);
  for (std::size_t role = 0; role < role_count; ++role) {
    const Matrix& matrix = layer.weights[static_cast<Role>(role)];
    if (matrix.values) work = work + product(matrix, tokens);
  }
  for (std::size_t e = 0; e < touched.size(); ++e)
    if (touched[e]) work.weight_bytes += product(layer.experts[e], 0).weight_bytes;
  // Experts of a layer are of one shape, so it does not matter which of them a token goes to.
  if (!layer.experts.empty())
    work.operations +=
        product(layer.experts[0], tokens * static_cast<double>(config.num_experts_per_tok)).operations;
  return work;
}

Work outer_work(const Model& model, std::size_t tokens, std::size_t wanted) {
  const Matrix& embedding = model.global()[Role::embed_tokens];
  Work work{.weight_bytes = static_cast<double>(stored_bytes(embedding)) /
                            static_cast<double>(embedding.rows) * static_cast<double>(tokens)};
  if (wanted == 0) return work;
  const auto rows = static_cast<double>(wanted);
  return work + product(model.global()[Role::norm], rows) + product(model.global()[Role::lm_head], rows);
}

double Roofline::seconds(const Work& work) const {
  return std::max(read_seconds(work), compute_seconds(work));
}

}  // namespace baleen
