#include "quant/job.h"

#include <doctest/doctest.h>

#include <cmath>

#include "error.h"
#include "kernels/dispatch.h"
#include "quant/fixture.h"
#include "quant/sample.h"

using namespace baleen;
using namespace baleen::test;

namespace {

const char* const model = "deepseek_v3-moonlight";
constexpr std::initializer_list<Target> targets = {{Encoding::int8, 32},
                                                   {Encoding::int4, 64},
                                                   {Encoding::int4, whole_row},
                                                   {Encoding::fp8},
                                                   {Encoding::mxfp4}};

}  // namespace

TEST_CASE("the same files by any number of threads and any instruction set") {
  for (const Target& target : targets) {
    CAPTURE(target_name(target));
    TempDir dir;
    Run run{.shard_size = 400'000};
    run.choose.to = target;
    run(golden_model(model), dir.path() / "scalar");
    const auto files = files_of(dir.path() / "scalar");
    CHECK(check_problems(dir.path() / "scalar").empty());
    for (const std::size_t threads : {2, 3}) {
      run.threads = threads;
      const fs::path out = dir.path() / std::to_string(threads);
      run(golden_model(model), out);
      CHECK(files_of(out) == files);
    }
    for (const kernels::IsaInfo& isa : kernels::instruction_sets()) {
      if (!isa.available || isa.name == "scalar") continue;
      CAPTURE(isa.name);
      run.isa = isa.name;
      const fs::path out = dir.path() / run.isa;
      run(golden_model(model), out);
      CHECK(files_of(out) == files);
    }
  }
}

TEST_CASE("weights in every form can be read, and every tensor arrives") {
  for (const char* const golden : {"deepseek_v3-moonlight", "deepseek_v3-fp8", "deepseek_v3-int4",
                                   "deepseek_v3-int8", "qwen3_moe", "mixtral"}) {
    for (const Target& target : {Target{Encoding::int8, 32}, Target{Encoding::fp8}}) {
      CAPTURE(golden);
      CAPTURE(target_name(target));
      TempDir dir;
      Run run;
      run.choose.to = target;
      const Source source = Source::open(golden_model(golden));
      if (source.modules().empty()) continue;
      run(golden_model(golden), dir.path() / "out");
      CHECK(check_problems(dir.path() / "out").empty());
      const Source written = Source::open(dir.path() / "out");
      REQUIRE(written.modules().size() == source.modules().size());
      const Plan plan = run.plan(source);
      ThreadPool pool(2);
      const auto& kernels = *kernels::find_kernels("scalar");
      const std::vector<EncodeError> errors = read_back(source, plan, written, kernels, pool, nullptr, {});
      std::vector<std::optional<Target>> sampled;
      for (const PlannedModule& m : plan.modules)
        sampled.push_back(m.work == Work::encode ? m.decision.target : std::nullopt);
      const std::vector<EncodeError> samples =
          sample_errors(source, sampled, pool, {.kernels = &kernels, .rule = run.rule});
      for (std::size_t m = 0; m < plan.modules.size(); ++m) {
        CAPTURE(source.modules()[m].name);
        if (plan.modules[m].work != Work::encode) {
          CHECK(errors[m].norm == 0);
          continue;
        }
        CHECK(errors[m].norm > 0);
        CHECK(std::sqrt(errors[m].error / errors[m].norm) < 0.04);  // fp8's: half of 2^-3, less on average
        // All rows of a model this small are in the sample, and what is read back is what was measured.
        CHECK(samples[m].norm == doctest::Approx(errors[m].norm).epsilon(1e-5));
        CHECK(samples[m].error == doctest::Approx(errors[m].error).epsilon(1e-3));
      }
    }
  }
}

TEST_CASE("what is not quantized keeps its bytes") {
  TempDir dir;
  Run{}(golden_model(model), dir.path() / "out");
  const Checkpoint before = Checkpoint::open(golden_model(model));
  const Checkpoint after = Checkpoint::open(dir.path() / "out");
  for (const char* const name :
       {"lm_head.weight", "model.norm.weight", "model.layers.1.mlp.gate.e_score_correction_bias"}) {
    const Tensor* const a = before.find(name);
    const Tensor* const b = after.find(name);
    REQUIRE(a != nullptr);
    REQUIRE(b != nullptr);
    CHECK(a->dtype == b->dtype);
    CHECK(std::string(reinterpret_cast<const char*>(a->data), a->bytes) ==
          std::string(reinterpret_cast<const char*>(b->data), b->bytes));
  }
}

TEST_CASE("a weight that is not finite is named") {
  TempDir dir;
  TestModel bad(model);
  StoredTensor& tensor = bad["model.layers.2.mlp.experts.7.up_proj.weight"];  // [64, 128] of bf16
  const std::size_t row = 40;
  tensor.bytes.replace((row * 128 + 5) * 2, 2, "\xc0\x7f");
  const fs::path in = bad.write(dir.path() / "in");
  for (const Target& target : targets) {
    CAPTURE(target_name(target));
    Run run;
    run.choose.to = target;
    run.output.force = true;
    const std::string error = error_of([&] { run(in, dir.path() / "out"); });
    CHECK(
        error.starts_with("model.safetensors: model.layers.2.mlp.experts.7.up_proj.weight: a weight that is "
                          "not finite in rows "));
    CHECK(!fs::exists(dir.path() / "out"));
  }
  Run kept;
  kept.choose.keep = {"layers.2.mlp.experts.7.up"};
  kept.output.force = true;
  kept(in, dir.path() / "out");
  CHECK(check_problems(dir.path() / "out").empty());
}
