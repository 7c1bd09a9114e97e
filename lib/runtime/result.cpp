#include "runtime/result.h"

#include <cmath>
#include <utility>

#include "runtime/thinking.h"

namespace baleen {
namespace {

using Json = nlohmann::ordered_json;

// No more than six digits behind the point mean anything.
Json rounded(double value) {
  return std::round(value * 1e6) / 1e6;
}

Json rate(std::size_t tokens, double seconds) {
  return tokens > 0 && seconds > 0 ? rounded(static_cast<double>(tokens) / seconds) : Json();
}

}  // namespace

std::string json_line(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void ResultWriter::token(const Step& step) {
  if (!step.logprobs) return;
  Json top = Json::array();
  for (const auto& [id, value] : step.logprobs->top) top.push_back(Json::array({id, rounded(value)}));
  const auto& logprob = step.logprobs->logprob;
  logprobs_.push_back(Json{{"id", step.id},
                           {"token", tokenizer_.token_text(step.id)},
                           {"logprob", logprob ? rounded(*logprob) : Json()},
                           {"top", std::move(top)}});
}

Json ResultWriter::result(const Json& names, const Generation& generation, const GenerateTimes& times) const {
  const Answer answer = split_thinking(generation.text(), prompt_.inside_thinking);
  Json result{{"schema", 1}};
  result.update(names);
  result["text"] = (echo_ ? prompt_.text : "") + answer.text;
  result["ids"] = generation.ids();
  result["prompt_tokens"] = generation.prompt().size();
  result["completion_tokens"] = generation.ids().size();
  result["finish_reason"] = finish_reason_name(generation.finish_reason());
  result["reasoning"] = answer.reasoning;
  result["timings"] = {{"prefill_tps", rate(times.prefilled_tokens, times.prefill_seconds)},
                       {"decode_tps", rate(times.decoded_tokens, times.decode_seconds)}};
  if (generation.options().logprobs) result["logprobs"] = logprobs_.is_null() ? Json::array() : logprobs_;
  return result;
}

}  // namespace baleen
