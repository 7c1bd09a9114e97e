#include "model/forward.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "model/products.h"
#include "model/rope.h"
#include "runtime/expert_cache.h"

namespace baleen {
namespace {

using kernels::Matrix;
using kernels::Path;

// Logits handed out at a time are bounded, whatever the vocabulary: floats.
constexpr std::size_t logits_at_a_time = std::size_t{16} << 20;

// Memory of this size or more asks for huge pages: the first touch of a small page costs more than the work
// on it.
constexpr std::size_t huge_page = std::size_t{2} << 20;

}  // namespace

void* allocate_scratch(std::size_t bytes) {
  const std::size_t alignment = bytes >= huge_page ? huge_page : kernels::pack_align;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!memory && bytes) throw std::bad_alloc();
  if (bytes >= huge_page) madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

std::vector<float> widen_vector(const kernels::Kernels& kernels, const Matrix* vector) {
  std::vector<float> values;
  if (!vector || !vector->values) return values;
  values.resize(vector->cols);
  kernels.widen_row[static_cast<std::size_t>(vector->format)](*vector, 0, values.data());
  return values;
}

void rms_norm(const Pass& pass, const Matrix& gain, double eps, const float* x, float* normed) {
  const std::size_t width = gain.cols;
  pass.pool.parallel_for(pass.count(), [&](std::size_t t, std::size_t) {
    pass.kernels.rms_norm(x + t * width, gain.values, gain.format, width, static_cast<float>(eps),
                          normed + t * width);
  });
}

void embed(const Pass& pass, float* residual) {
  const Matrix& embedding = pass.model.global()[Role::embed_tokens];
  const auto widen = pass.kernels.widen_row[static_cast<std::size_t>(embedding.format)];
  const auto widen_rows = [&](std::size_t begin, std::size_t end) {
    pass.pool.parallel_for(end - begin, [&](std::size_t i, std::size_t) {
      const std::size_t t = begin + i;
      widen(embedding, static_cast<std::size_t>(pass.tokens[t].id), residual + t * embedding.cols);
    });
  };
  BoundedRows* const bounded = pass.model.embedding_rows();
  if (!bounded) return widen_rows(0, pass.count());
  std::vector<std::span<const std::byte>> rows;
  for (const TokenInput& token : pass.tokens)
    rows.emplace_back(embedding.values + static_cast<std::size_t>(token.id) * embedding.row_bytes,
                      embedding.row_bytes);
  for (std::size_t begin = 0; begin < rows.size();) {
    const std::size_t end = begin + bounded->bring(std::span(rows).subspan(begin));
    widen_rows(begin, end);
    begin = end;
  }
}

std::vector<float> rope_frequencies(const Config& config) {
  const std::size_t width = config.attention == AttentionKind::mla ? config.qk_rope_head_dim : config.head_dim;
  return inverse_frequencies(config.rope, width);
}

void rotations(const Pass& pass, std::span<const float> frequencies, float* cos, float* sin) {
  const std::size_t pairs = frequencies.size();
  pass.pool.parallel_for(pass.count(), [&](std::size_t t, std::size_t) {
    rotation(pass.config.rope, frequencies, pass.tokens[t].position, cos + t * pairs, sin + t * pairs);
  });
}

struct Forward::State {
  const Model& model;
  ThreadPool& pool;
  const kernels::Kernels& kernels;
  const std::atomic<bool>* cancel;
  ExpertCache* experts;
  std::vector<float> frequencies;
  Workspace workspace;

  void decoder_layer(const Pass& pass, std::size_t layer_index, float* residual);
  void output_head(const Pass& pass, const float* residual, const OnLogits& on_logits);
};

Forward::Forward(const Model& model, ThreadPool& pool, const kernels::Kernels& kernels,
                 const std::atomic<bool>* cancel, ExpertCache* experts)
    : state_(new State{model, pool, kernels, cancel, experts, {}, {}}) {
  state_->frequencies = rope_frequencies(model.config());
  state_->workspace.thread_scratch.resize(pool.size());
  state_->workspace.thread_packed.resize(pool.size());
}

Forward::~Forward() = default;
Forward::Forward(Forward&&) noexcept = default;

// x += attention(norm(x)); x += feed_forward(norm(x)).
void Forward::State::decoder_layer(const Pass& pass, std::size_t layer_index, float* residual) {
  const Layer& layer = model.layers()[layer_index];
  const std::size_t width = pass.config.hidden_size;
  float* normed = workspace.normed.get(pass.count() * width);

  rms_norm(pass, layer.weights[Role::input_layernorm], pass.config.rms_norm_eps, residual, normed);
  attention(pass, layer, layer_index, normed, residual);

  rms_norm(pass, layer.weights[Role::post_attention_layernorm], pass.config.rms_norm_eps, residual, normed);
  feed_forward(pass, layer, layer_index, normed, residual);
}

// Only rows somebody asked for are normed and multiplied, a bounded number of logits at a time.
void Forward::State::output_head(const Pass& pass, const float* residual, const OnLogits& on_logits) {
  const Matrix& gain = model.global()[Role::norm];
  const Matrix& head = model.global()[Role::lm_head];
  const std::size_t width = gain.cols;
  std::vector<std::size_t> wanted;
  for (std::size_t t = 0; t < pass.count(); ++t)
    if (pass.tokens[t].wants_logits) wanted.push_back(t);

  const std::size_t most = std::max<std::size_t>(1, logits_at_a_time / head.rows);
  for (std::size_t begin = 0; begin < wanted.size(); begin += most) {
    const std::size_t count = std::min(most, wanted.size() - begin);
    const auto batch = std::span(wanted).subspan(begin, count);
    std::vector<TokenInput> tokens;
    for (const std::size_t t : batch) tokens.push_back(pass.tokens[t]);
    Pass rows = pass;
    rows.tokens = tokens;
    rows.prefill = static_cast<std::size_t>(
        std::count_if(tokens.begin(), tokens.end(), [](const TokenInput& t) { return t.path == Path::batch; }));

    float* normed = workspace.wanted.get(count * width);
    float* logits = workspace.logits.get(count * head.rows);
    for (std::size_t i = 0; i < count; ++i)
      kernels.rms_norm(residual + batch[i] * width, gain.values, gain.format, width,
                       static_cast<float>(pass.config.rms_norm_eps), normed + i * width);
    if (pass.observer && pass.observer->hidden)
      pass.observer->hidden(pass.config.num_hidden_layers, {normed, count * width});
    const Product product{&head, normed, logits};
    multiply(rows, {&product, 1});
    for (std::size_t i = 0; i < count; ++i) on_logits(batch[i], {logits + i * head.rows, head.rows});
  }
}

void Forward::run(std::span<const TokenInput> tokens, const OnLogits& on_logits, const Observer* observer) {
  State& s = *state_;
  const Config& config = s.model.config();
  const auto first_streamed =
      std::find_if(tokens.begin(), tokens.end(), [](const TokenInput& t) { return t.path != Path::batch; });
  Pass pass{s.model, config, s.kernels, s.pool, s.workspace, tokens,
            static_cast<std::size_t>(first_streamed - tokens.begin()), observer, 0, nullptr, nullptr};

  float* residual = s.workspace.residual.get(pass.count() * config.hidden_size);
  embed(pass, residual);
  pass.rope_pairs = s.frequencies.size();
  float* cos = s.workspace.cos.get(pass.count() * pass.rope_pairs);
  float* sin = s.workspace.sin.get(pass.count() * pass.rope_pairs);
  rotations(pass, s.frequencies, cos, sin);
  pass.cos = cos;
  pass.sin = sin;
  pass.experts = s.experts;
  pass.cancel = s.cancel;
  if (s.experts) s.experts->begin_pass();
  for (std::size_t l = 0; l < s.model.layers().size(); ++l) {
    check_cancelled(s.cancel);
    if (observer && observer->hidden) observer->hidden(l, {residual, pass.count() * config.hidden_size});
    s.decoder_layer(pass, l, residual);
  }
  for (const TokenInput& token : tokens)
    token.cache->set_length(std::max<std::size_t>(token.cache->length(), token.position + 1));
  s.output_head(pass, residual, on_logits);
}

}  // namespace baleen
