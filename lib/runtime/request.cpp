#include "runtime/request.h"

namespace baleen {
namespace {

template <typename T>
void replace(std::optional<T>& value, const std::optional<T>& by) {
  if (by) value = by;
}

}  // namespace

bool contradicts_itself(const RequestOptions& options) {
  return options.greedy == true && options.temp.value_or(0) != 0;
}

RequestOptions over(const RequestOptions& base, const RequestOptions& line) {
  RequestOptions result = base;
  const bool keeps_temp = !line.greedy || (line.greedy == false && base.temp != 0.0);
  if (!keeps_temp) result.temp.reset();
  if (line.temp) result.greedy.reset();
  replace(result.temp, line.temp);
  replace(result.greedy, line.greedy);
  replace(result.n, line.n);
  replace(result.stop, line.stop);
  replace(result.ignore_eos, line.ignore_eos);
  replace(result.top_k, line.top_k);
  replace(result.top_p, line.top_p);
  replace(result.min_p, line.min_p);
  replace(result.repeat_penalty, line.repeat_penalty);
  replace(result.seed, line.seed);
  replace(result.think_budget, line.think_budget);
  replace(result.logprobs, line.logprobs);
  return result;
}

SamplingOptions choose_sampling(const RequestOptions& options, const GenerationConfig& defaults,
                                std::uint64_t fresh_seed) {
  const bool asks_to_sample = options.temp || options.top_k || options.top_p || options.min_p;
  const bool greedy = options.greedy.value_or(defaults.do_sample == false && !asks_to_sample);
  double temperature = defaults.temperature.value_or(0.7);
  // Greedy by another name, which greedy false denies as it denies do_sample.
  if (temperature == 0 && options.greedy == false) temperature = 0.7;
  SamplingOptions sampling;
  sampling.temperature = greedy ? 0 : options.temp.value_or(temperature);
  sampling.top_k = options.top_k.value_or(static_cast<std::size_t>(defaults.top_k.value_or(0)));
  sampling.top_p = options.top_p.value_or(defaults.top_p.value_or(0.95));
  sampling.min_p = options.min_p.value_or(defaults.min_p.value_or(0));
  sampling.repetition_penalty = options.repeat_penalty.value_or(defaults.repetition_penalty.value_or(1));
  sampling.seed = options.seed.value_or(fresh_seed);
  return sampling;
}

GenerateOptions generate_options(const RequestOptions& options, const GenerationConfig& defaults,
                                 const std::vector<TokenId>& end_tokens, std::uint64_t fresh_seed) {
  GenerateOptions generate;
  const std::int64_t n = options.n.value_or(default_new_tokens);
  if (n >= 0) generate.max_new_tokens = static_cast<std::size_t>(n);
  if (!options.ignore_eos.value_or(false)) generate.end_tokens = end_tokens;
  generate.stop = options.stop.value_or(std::vector<std::string>());
  generate.think_budget = options.think_budget;
  generate.logprobs = options.logprobs;
  generate.sampling = choose_sampling(options, defaults, fresh_seed);
  return generate;
}

}  // namespace baleen
