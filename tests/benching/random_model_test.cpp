#include "bench/random_model.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "bench/shapes.h"
#include "bench/speed.h"
#include "benching/fixture.h"
#include "error.h"

using namespace baleen;
using namespace baleen::test;

namespace {

constexpr WeightFormat formats[] = {WeightFormat::bf16, WeightFormat::fp8, WeightFormat::int8,
                                    WeightFormat::int4, WeightFormat::mxfp4};

ModelShape preset(std::string_view name, WeightFormat format) {
  for (const ShapePreset& shape : shape_presets())
    if (shape.name == name) return parse_shape(shape.config_json, std::string(name), format);
  throw Error("no such preset");
}

}  // namespace

TEST_CASE("presets have the published sizes") {
  const auto check = [](std::string_view name, double billions, double active_billions) {
    CAPTURE(name);
    const ShapeSize size = shape_size(preset(name, WeightFormat::bf16));
    CHECK(size.parameters / 1e9 == doctest::Approx(billions).epsilon(0.005));
    CHECK(size.active_parameters / 1e9 == doctest::Approx(active_billions).epsilon(0.005));
  };
  // As the model cards say, but active ones without the embedding: DeepSeek's 37 hold it.
  check("deepseek-v3", 671, 36.6);
  check("moonlight", 15.96, 2.58);
  check("qwen3-30b-a3b", 30.5, 3.03);
  check("olmoe", 6.92, 1.18);
}

TEST_CASE("a format's bytes") {
  const ShapeSize bf16 = shape_size(preset("deepseek-v3", WeightFormat::bf16));
  const ShapeSize fp8 = shape_size(preset("deepseek-v3", WeightFormat::fp8));
  const ShapeSize int4 = shape_size(preset("deepseek-v3", WeightFormat::int4));
  CHECK(bf16.bytes / 2.0 == doctest::Approx(bf16.parameters).epsilon(0.001));
  CHECK(fp8.bytes / 1.005 == doctest::Approx(fp8.parameters).epsilon(0.005));
  CHECK(int4.bytes / 0.567 == doctest::Approx(int4.parameters).epsilon(0.005));
  const ShapeSize mxfp4 = shape_size(preset("deepseek-v3", WeightFormat::mxfp4));
  CHECK(mxfp4.bytes / 0.536 == doctest::Approx(mxfp4.parameters).epsilon(0.005));
}

TEST_CASE("inventory and size agree") {
  ThreadPool pool(2);
  for (const WeightFormat format : formats) {
    const Model model = tiny_model(format, pool);
    const ShapeSize size = shape_size(parse_shape(tiny_config, "tiny", format));
    std::uint64_t parameters = 0;
    std::uint64_t active = 0;
    for (const Inventory& row : model.inventory()) {
      parameters += row.parameters;
      active += row.active_parameters;
    }
    CHECK(size.parameters == parameters);
    CHECK(size.active_parameters == active);
    CHECK(size.bytes >= model.checkpoint().bytes());
    CHECK(model.unused_tensors() == 0);
  }
}

TEST_CASE("weights are the same for a seed and any number of threads") {
  ThreadPool one(1);
  ThreadPool three(3);
  const Model a = tiny_model(WeightFormat::int4, one, 7);
  const Model b = tiny_model(WeightFormat::int4, three, 7);
  const Model c = tiny_model(WeightFormat::int4, three, 8);
  bool differs = false;
  for (std::size_t i = 0; i < a.checkpoint().tensors().size(); ++i) {
    const Tensor& x = a.checkpoint().tensors()[i];
    CHECK(std::memcmp(x.data, b.checkpoint().tensors()[i].data, x.bytes) == 0);
    differs |= std::memcmp(x.data, c.checkpoint().tensors()[i].data, x.bytes) != 0;
  }
  CHECK(differs);
}

TEST_CASE("logits are finite, of unit size, and routing is spread") {
  ThreadPool pool(2);
  for (const WeightFormat format : formats) {
    // More experts than the tiny model has: 64 of which 4 are chosen.
    std::string json = tiny_config;
    json.replace(json.find("\"n_routed_experts\": 8"), 21, "\"n_routed_experts\": 64");
    json.replace(json.find("\"num_experts_per_tok\": 2"), 24, "\"num_experts_per_tok\": 4");
    const Model model = random_model(parse_shape(json, "spread", format), 3, pool);
    Forward forward(model, pool, *kernels::find_kernels("scalar"));
    constexpr std::size_t count = 16;
    KvCache cache(KvLayout(model.config(), kernels::KvFormat::f32), 2, count);
    std::vector<TokenInput> tokens;
    for (std::size_t i = 0; i < count; ++i)
      tokens.push_back(
          {static_cast<TokenId>(6 * i), &cache, static_cast<std::uint32_t>(i), kernels::Path::batch, true});
    CAPTURE(static_cast<int>(format));
    std::set<std::uint32_t> experts;
    Observer observer;
    observer.route = [&](std::size_t, std::span<const TokenInput>, std::span<const Choice> choices) {
      for (const Choice& choice : choices) experts.insert(choice.expert);
    };
    double squares = 0;
    forward.run(
        tokens,
        [&](std::size_t, std::span<const float> logits) {
          for (const float logit : logits) squares += logit * logit;
        },
        &observer);
    const double rms = std::sqrt(squares / (count * 100));
    CHECK(rms > 0.3);
    CHECK(rms < 3);
    // Uniform routing touches 64 (1 - (60 / 64)^16) = 41.2 of them.
    CHECK(experts.size() >= 34);
  }
}

TEST_CASE("as many layers as the memory holds, one of each kind at least") {
  const ModelShape v3 = preset("deepseek-v3", WeightFormat::int4);
  const std::uint64_t gibibyte = std::uint64_t{1} << 30;
  const LayerChoice some = choose_layers(v3, 20 * gibibyte, 0);
  std::size_t dense = 0;
  double layers = 0;
  for (std::size_t i = 0; i < some.layers.size(); ++i) {
    dense += v3.config.is_moe_layer[some.layers[i]] ? 0 : 1;
    layers += some.counts[i];
  }
  CHECK(dense >= 1);
  CHECK(some.layers.size() - dense == 2);  // 5.9 GiB each
  CHECK(layers == doctest::Approx(61));
  CHECK(shape_size(with_layers(v3, some.layers)).bytes <= 20 * gibibyte);

  CHECK_THROWS_AS(choose_layers(v3, 9 * gibibyte, 0), Error);
  CHECK(choose_layers(v3, 1000 * gibibyte, 0).layers.size() == 61);
  CHECK(choose_layers(v3, 0, 2).layers == std::vector<std::size_t>{0, 3});
  CHECK(choose_layers(v3, 0, 2).counts == std::vector<double>{3, 58});
  CHECK_THROWS_AS(choose_layers(v3, 0, 1), UsageError);
  CHECK_THROWS_AS(choose_layers(v3, 0, 62), UsageError);
  CHECK(choose_layers(preset("olmoe", WeightFormat::bf16), 0, 1).counts == std::vector<double>{16});
}
