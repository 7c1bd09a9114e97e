#include "bench/quality.h"

#include <doctest/doctest.h>

#include <cmath>

#include "benching/fixture.h"
#include "runtime/session.h"

using namespace baleen;
using namespace baleen::test;

TEST_CASE("a prediction, by hand") {
  // Probabilities 1/2, 1/4, 1/4, and of the reference 1/4, 1/2, 1/4; logits have any offset.
  const std::vector<float> model = {std::log(2.0f) + 5, 5, 5};
  const std::vector<float> reference = {-3, std::log(2.0f) - 3, -3};
  const Prediction alone = predict(model, {}, 1);
  CHECK(alone.nats == doctest::Approx(std::log(4.0)));
  const Prediction both = predict(model, reference, 1);
  CHECK(both.reference_nats == doctest::Approx(std::log(2.0)));
  CHECK(both.kl == doctest::Approx(0.25 * std::log(0.5) + 0.5 * std::log(2.0)));
  CHECK_FALSE(both.same_top);
  CHECK(predict(model, model, 2).kl == 0);
  CHECK(predict(model, model, 2).same_top);
}

TEST_CASE("divergence of a group") {
  std::vector<Prediction> predictions(4);
  for (std::size_t i = 0; i < 4; ++i) predictions[i].kl = static_cast<double>(i);
  predictions[2].same_top = true;
  const Divergence d = divergence(predictions);
  CHECK(d.positions == 4);
  CHECK(d.mean_kl == 1.5);
  CHECK(d.median_kl == 1.5);
  CHECK(d.max_kl == 3);
  CHECK(d.top1_agreement == 0.25);
  CHECK(divergence({}).positions == 0);
}

TEST_CASE("every token but the first of each window is predicted, from its window alone") {
  ThreadPool pool(2);
  const Model model = tiny_model(WeightFormat::bf16, pool);
  const Model other = tiny_model(WeightFormat::bf16, pool, 2);
  std::vector<TokenId> ids;
  for (int i = 0; i < 23; ++i) ids.push_back(i * 37 % 100);
  const QualityOptions options{.kernels = kernels::find_kernels("scalar"), .window = 11};
  std::size_t done = 0;
  const auto predictions =
      predict_text(model, &model, ids, pool, options, [&](std::size_t tokens) { done = tokens; });
  REQUIRE(predictions.size() == 10 + 10);  // the last window is one token
  CHECK(done == 21);

  Session session(model, pool,
                  {.context = 11, .kv_format = kernels::KvFormat::f32, .kernels = options.kernels});
  session.feed(std::span(ids).subspan(11, 11), kernels::Path::batch, Session::Want::all,
               [&](std::size_t i, std::span<const float> logits) {
                 if (i < 10) CHECK(predict(logits, {}, ids[11 + i + 1]).nats == predictions[10 + i].nats);
               });
  for (const Prediction& prediction : predictions) {
    CHECK(prediction.kl == 0);
    CHECK(prediction.same_top);
    CHECK_FALSE(prediction.rerouted);
  }
  std::size_t rerouted = 0;
  for (const Prediction& prediction : predict_text(model, &other, ids, pool, options, [](std::size_t) {})) {
    CHECK(prediction.kl > 0);
    rerouted += prediction.rerouted ? 1 : 0;
  }
  CHECK(rerouted > 10);
  CHECK(perplexity(std::log(7.0)) == doctest::Approx(7));
}
