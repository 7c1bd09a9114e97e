// The output head rounded to int8: the logits move by no more than half a step of each group allows.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "golden.h"
#include "kernels/dispatch.h"
#include "model/model.h"

namespace baleen {
namespace {

using kernels::Matrix;

std::vector<float> row_of(const Matrix& m, std::size_t row) {
  std::vector<float> values(m.cols);
  kernels::find_kernels("scalar")->widen_row[static_cast<std::size_t>(m.format)](m, row, values.data());
  return values;
}

TEST_CASE("round_head: every weight within half a step of its group, and the error is what it says") {
  ThreadPool pool(2);
  for (const auto& dir : testing::golden_cases("models")) {
    Model model = Model::open(dir);
    const Matrix before = model.global()[Role::lm_head];
    const RoundedHead rounded = model.round_head(pool, *kernels::find_kernels("scalar"));
    const Matrix& after = model.global()[Role::lm_head];
    INFO(dir.string());
    if (rounded.bytes == 0) {
      CHECK(after.values == before.values);
      continue;
    }
    REQUIRE(after.format == kernels::Format::int8);
    CHECK(model.global()[Role::embed_tokens].format != kernels::Format::int8);
    double errors = 0;
    double weights = 0;
    std::size_t far = 0;
    for (std::size_t r = 0; r < before.rows; ++r) {
      const auto w = row_of(before, r);
      const auto q = row_of(after, r);
      for (std::size_t c = 0; c < before.cols; ++c) {
        float maximum = 0;
        for (std::size_t i = c / 32 * 32; i < std::min(before.cols, c / 32 * 32 + 32); ++i)
          maximum = std::max(maximum, std::fabs(w[i]));
        // The scale is rounded up to bf16: by 2^-7 at most.
        far += !(std::fabs(q[c] - w[c]) <= maximum / 127 * (1 + 0x1p-7f) * 0.5f * (1 + 0x1p-20f));
        errors += std::pow(static_cast<double>(q[c]) - w[c], 2);
        weights += std::pow(static_cast<double>(w[c]), 2);
      }
    }
    CHECK(far == 0);
    CHECK(rounded.relative_rms_error == doctest::Approx(std::sqrt(errors / weights)).epsilon(1e-6));
  }
}

}  // namespace
}  // namespace baleen
