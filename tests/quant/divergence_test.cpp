// What each method buys on the bundled model at int4: divergence from the original on text that neither
// training nor calibration saw.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "bench/quality.h"
#include "checkpoint/files.h"
#include "golden.h"
#include "kernels/dispatch.h"
#include "quant/in_memory.h"
#include "tokenizer/tokenizer.h"

using namespace baleen;
using namespace baleen::testing;

TEST_CASE("calibrated methods at int4: error feedback is worth more than the choice of the text") {
  constexpr std::size_t most_tokens = 4096;
  const auto dir = std::filesystem::path(BALEEN_SOURCE_DIR) / "examples" / "model";
  const Model original = Model::open(dir);
  const Tokenizer tokenizer = Tokenizer::open(dir);
  const auto read = [&](const std::string& name) {
    auto ids = tokenizer.encode(read_small_file(golden_dir() / "calibration" / (name + ".txt"), 1 << 20),
                                Tokenizer::SpecialTokens::add);
    ids.resize(std::min(ids.size(), most_tokens));
    return ids;
  };
  ThreadPool pool(2);
  const Blas blas;
  CalibrationOptions options;
  options.kernels = kernels::find_kernels("auto");
  options.window = original.config().max_position_embeddings;
  QualityOptions quality;
  quality.kernels = options.kernels;
  quality.window = options.window;
  const auto held_out = read("held-out");
  const auto divergence_of = [&](Method method, const std::string& text) {
    options.blas = method == Method::gptq ? &blas : nullptr;
    // Methods without calibration take no notice of the text.
    const auto ids = text.empty() ? std::vector<TokenId>{0, 1} : read(text);
    Model model = Model::open(dir);
    const InMemory quantized = quantize_in_memory(original, ids, pool, {Encoding::int4, 32}, options, method);
    put_into(model, quantized);
    const double kl =
        divergence(predict_text(model, &original, held_out, pool, quality, [](std::size_t) {})).mean_kl;
    MESSAGE(std::string(method == Method::minmax ? "minmax"
                        : method == Method::mse  ? "mse"
                        : method == Method::gptq ? "gptq"
                                                 : "calibrated mse")
            << " " << text << ": KL " << kl << ", " << quantized.unguided << " of "
            << quantized.modules.size() << " modules without a guide");
    return kl;
  };
  const double minmax = divergence_of(Method::minmax, "");
  const double mse = divergence_of(Method::mse, "");
  const double calibrated = divergence_of(Method::calibrated_mse, "a");
  std::vector<double> gptq;
  for (const char* text : {"a", "b", "c"}) gptq.push_back(divergence_of(Method::gptq, text));
  const auto [least, most] = std::minmax_element(gptq.begin(), gptq.end());
  CHECK(mse < minmax);
  CHECK(calibrated < minmax);
  CHECK(mse - *most > *most - *least);
}
