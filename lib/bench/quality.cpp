#include "bench/quality.h"

#include <algorithm>
#include <cmath>

#include "bench/statistics.h"
#include "runtime/session.h"

namespace baleen {
namespace {

// Logits of one model that are held at a time: floats.
constexpr std::size_t logits_at_a_time = std::size_t{16} << 20;
constexpr std::size_t most_tokens_at_a_time = 512;

std::size_t top(std::span<const float> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// log of the sum of exp(logits): what turns a logit into a log-probability.
double log_sum(std::span<const float> logits) {
  const double maximum = logits[top(logits)];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - maximum);
  return maximum + std::log(sum);
}

// A model that reads a window chunk by chunk and keeps the chunk's logits and routes.
class Reader {
 public:
  Reader(const Model& model, ThreadPool& pool, const QualityOptions& options, ExpertCache* experts)
      : model_(model),
        session_(model, pool,
                 {.context = options.window,
                  .kv_format = options.kv_format,
                  .kernels = options.kernels,
                  .cancel = options.cancel,
                  .experts = experts}) {
    observer_.route = [this](std::size_t, std::span<const TokenInput> tokens,
                             std::span<const Choice> choices) {
      const std::size_t top_k = choices.size() / tokens.size();
      routes_.resize(std::max(routes_.size(), tokens.size()));
      for (std::size_t i = 0; i < choices.size(); ++i) routes_[i / top_k].push_back(choices[i].expert);
    };
  }

  Reader(const Reader&) = delete;  // the observer refers to it
  Reader& operator=(const Reader&) = delete;

  void read(std::span<const TokenId> ids) {
    const std::size_t vocab = model_.config().vocab_size;
    logits_.resize(ids.size() * vocab);
    routes_.assign(ids.size(), {});
    session_.feed(
        ids, kernels::Path::batch, Session::Want::all,
        [&](std::size_t i, std::span<const float> row) {
          std::copy(row.begin(), row.end(), logits_.begin() + static_cast<std::ptrdiff_t>(i * vocab));
        },
        &observer_);
  }

  std::span<const float> logits(std::size_t i) const {
    const std::size_t vocab = model_.config().vocab_size;
    return std::span(logits_).subspan(i * vocab, vocab);
  }
  // The experts of a token, layer after layer.
  const std::vector<std::uint32_t>& route(std::size_t i) const { return routes_[i]; }

 private:
  const Model& model_;
  Session session_;
  Observer observer_;
  std::vector<float> logits_;
  std::vector<std::vector<std::uint32_t>> routes_;
};

}  // namespace

Prediction predict(std::span<const float> logits, std::span<const float> reference, TokenId next) {
  const auto token = static_cast<std::size_t>(next);
  const double sum = log_sum(logits);
  Prediction result{.nats = sum - logits[token]};
  if (reference.empty()) return result;
  const double reference_sum = log_sum(reference);
  result.reference_nats = reference_sum - reference[token];
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double log_p = reference[i] - reference_sum;
    result.kl += std::exp(log_p) * (log_p - (logits[i] - sum));
  }
  result.kl = std::max(result.kl, 0.0);  // rounding can leave a little less
  result.same_top = top(logits) == top(reference);
  return result;
}

Divergence divergence(std::span<const Prediction> predictions) {
  Divergence result{.positions = predictions.size()};
  if (predictions.empty()) return result;
  std::vector<double> kl;
  std::size_t same = 0;
  for (const Prediction& prediction : predictions) {
    kl.push_back(prediction.kl);
    result.mean_kl += prediction.kl;
    same += prediction.same_top ? 1 : 0;
  }
  const auto count = static_cast<double>(predictions.size());
  result.mean_kl /= count;
  result.median_kl = quantile(kl, 0.5);
  result.kl_99 = quantile(kl, 0.99);
  result.max_kl = quantile(kl, 1);
  result.top1_agreement = static_cast<double>(same) / count;
  return result;
}

std::vector<Prediction> predict_text(const Model& model, const Model* reference, std::span<const TokenId> ids,
                                     ThreadPool& pool, const QualityOptions& options,
                                     const std::function<void(std::size_t)>& on_progress) {
  const std::size_t chunk =
      std::clamp<std::size_t>(logits_at_a_time / model.config().vocab_size, 1, most_tokens_at_a_time);
  std::vector<Prediction> predictions;
  for (std::size_t window = 0; window < ids.size(); window += options.window) {
    const std::size_t end = std::min(ids.size(), window + options.window);
    if (end - window < 2) break;  // a token alone predicts nothing
    Reader reader(model, pool, options, options.experts);
    std::optional<Reader> other;
    if (reference) other.emplace(*reference, pool, options, options.reference_experts);
    // The last token of a window is predicted and predicts nothing.
    for (std::size_t begin = window; begin + 1 < end; begin += chunk) {
      const std::size_t count = std::min(chunk, end - 1 - begin);
      reader.read(ids.subspan(begin, count));
      if (other) other->read(ids.subspan(begin, count));
      const std::size_t done = predictions.size();
      predictions.resize(done + count);
      pool.parallel_for(count, [&](std::size_t i, std::size_t) {
        Prediction& prediction = predictions[done + i];
        prediction = predict(reader.logits(i), other ? other->logits(i) : std::span<const float>(),
                             ids[begin + i + 1]);
        prediction.rerouted = other && reader.route(i) != other->route(i);
      });
      on_progress(begin + count);
    }
  }
  return predictions;
}

double perplexity(double mean_nats) {
  return std::exp(mean_nats);
}

}  // namespace baleen
