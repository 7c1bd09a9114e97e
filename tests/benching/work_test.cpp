#include "bench/work.h"

#include <doctest/doctest.h>

#include "benching/fixture.h"

using namespace baleen;
using namespace baleen::test;

// The numbers of the tiny model, counted by hand:
//   attention    q_proj 48 x 64, kv_a_proj 40 x 64, kv_b_proj 64 x 32, o_proj 64 x 32, norms 64, 64 and 32
//   dense layer  three matrices of 96 x 64
//   MoE layer    router 8 x 64, its bias 8 (f32), experts and shared expert three matrices of 32 x 64 each
namespace {
constexpr double attention_parameters = 48 * 64 + 40 * 64 + 64 * 32 + 64 * 32 + 64 + 64 + 32;
constexpr double dense_parameters = attention_parameters + 3 * 96 * 64;
constexpr double expert_parameters = 3 * 32 * 64;
constexpr double moe_parameters = attention_parameters + 8 * 64 + 8 + expert_parameters;
constexpr double position_operations = 2 * 2 * (16 + 8 + 16);  // two heads
constexpr double position_bytes = (32 + 8) * 4;                // f32
}  // namespace

TEST_CASE("positions that tokens see") {
  CHECK(visible_positions({.begin = 0, .count = 1}, 0) == 1);
  CHECK(visible_positions({.begin = 0, .count = 4}, 0) == 1 + 2 + 3 + 4);
  CHECK(visible_positions({.begin = 10, .count = 2}, 0) == 11 + 12);
  CHECK(visible_positions({.begin = 0, .count = 0}, 0) == 0);
  for (const std::size_t begin : {0, 1, 2, 3, 4, 7}) {
    std::uint64_t sum = 0;
    for (std::size_t count = 0; count < 8; ++count) {
      CHECK(visible_positions({.begin = begin, .count = count}, 3) == sum);
      sum += std::min<std::size_t>(begin + count + 1, 3);
    }
  }
  CHECK(cached_positions({.begin = 0, .count = 4}, 0) == 4);
  CHECK(cached_positions({.begin = 10, .count = 1}, 0) == 11);
  CHECK(cached_positions({.begin = 10, .count = 1}, 4) == 4);
  CHECK(cached_positions({.begin = 10, .count = 3}, 4) == 6);
  CHECK(cached_positions({.begin = 2, .count = 1}, 4) == 3);
  CHECK(cached_positions({.begin = 9, .count = 0}, 4) == 0);
}

TEST_CASE("bytes of a stored matrix") {
  const std::byte some{};
  kernels::Matrix m{
      .format = kernels::Format::bf16, .rows = 10, .cols = 64, .row_bytes = 128, .values = &some};
  CHECK(stored_bytes(m) == 1280);
  m = {.format = kernels::Format::fp8_e4m3,
       .scale_format = kernels::Format::f32,
       .rows = 200,
       .cols = 130,
       .row_bytes = 130,
       .values = &some,
       .scales = &some,
       .scale_cols = 2,
       .block_rows = 128,
       .block_cols = 128};
  CHECK(stored_bytes(m) == 200 * 130 + 2 * 2 * 4);
  m = {.format = kernels::Format::int4,
       .scale_format = kernels::Format::bf16,
       .rows = 10,
       .cols = 64,
       .row_bytes = 32,
       .values = &some,
       .scales = &some,
       .scale_cols = 2,
       .block_rows = 1,
       .block_cols = 32};
  CHECK(stored_bytes(m) == 10 * 32 + 10 * 2 * 2);
  m.zeros = &some;
  m.group_index = &some;
  CHECK(stored_bytes(m) == 10 * 32 + 10 * 2 * 2 + 2 * 2 * 4 + 64 * 4);
  m.format = kernels::Format::mxfp4;
  m.scale_format = kernels::Format::e8m0;
  m.zeros = m.group_index = nullptr;
  CHECK(stored_bytes(m) == 10 * 32 + 10 * 2);
}

TEST_CASE("work of the tiny model") {
  ThreadPool pool(1);
  const Model model = tiny_model(WeightFormat::bf16, pool);
  const KvLayout kv(model.config(), kernels::KvFormat::f32);
  const Stretch fifth{.begin = 4, .count = 1};

  const Work dense = layer_work(model.config(), model.layers()[0], kv, {&fifth, 1}, {});
  CHECK(dense.weight_bytes == 2 * dense_parameters);
  CHECK(dense.kv_bytes == 5 * position_bytes);
  CHECK(dense.operations == 2 * dense_parameters + 5 * position_operations);

  std::vector<bool> touched(8);
  touched[3] = touched[6] = true;
  const Work moe = layer_work(model.config(), model.layers()[1], kv, {&fifth, 1}, touched);
  CHECK(moe.weight_bytes == 2 * (moe_parameters + 2 * expert_parameters) + 2 * 8);  // the bias is f32
  CHECK(moe.operations == 2 * (moe_parameters + 2 * expert_parameters) + 5 * position_operations);

  // Two sequences share the weights, not the caches; and the experts are those that were touched.
  const std::vector<Stretch> two = {fifth, {.begin = 0, .count = 3}};
  touched[0] = true;
  const Work batch = layer_work(model.config(), model.layers()[1], kv, two, touched);
  CHECK(batch.weight_bytes == moe.weight_bytes + 2 * expert_parameters);
  CHECK(batch.kv_bytes == (5 + 3) * position_bytes);
  CHECK(batch.operations ==
        4 * 2 * (moe_parameters + 2 * expert_parameters) + (5 + 1 + 2 + 3) * position_operations);

  CHECK(outer_work(model, 5, 0).weight_bytes == 5 * 64 * 2);
  CHECK(outer_work(model, 5, 0).operations == 0);
  CHECK(outer_work(model, 5, 2).weight_bytes == 5 * 64 * 2 + (64 + 100 * 64) * 2);
  CHECK(outer_work(model, 5, 2).operations == 2 * 2 * (64 + 100 * 64));
}

TEST_CASE("the roofline is the slower of reading and computing") {
  const Roofline machine{.bandwidth = 10, .peak = 100};
  const Work reading{.weight_bytes = 30, .kv_bytes = 10, .operations = 200};
  CHECK(machine.seconds(reading) == 4);
  CHECK(machine.memory_bound(reading));
  const Work computing = reading + Work{.operations = 800};
  CHECK(machine.seconds(computing) == 10);
  CHECK_FALSE(machine.memory_bound(computing));
  CHECK(machine.seconds(0.5 * computing) == 5);
}
