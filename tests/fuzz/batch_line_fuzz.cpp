// The input is a line of a batch. It is read or refused, never thrown about; what comes back can be written
// as JSON, options are in the ranges that a sampler expects, and the line reads the same from its own JSON.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "runtime/batch_line.h"
#include "tokenizer/unicode.h"

using namespace baleen;

namespace {

void check(bool good) {
  if (!good) std::abort();
}

void check_options(const RequestOptions& options) {
  check(options.n.value_or(0) >= -1);
  check(!contradicts_itself(options));
  for (const std::string& text : options.stop.value_or(std::vector<std::string>()))
    check(!text.empty() && unicode::is_valid(text));
  const SamplingOptions sampling = choose_sampling(options, {}, 0);
  check(sampling.temperature >= 0 && sampling.temperature <= 1e308);
  check(sampling.top_p >= 0 && sampling.top_p <= 1);
  check(sampling.min_p >= 0 && sampling.min_p <= 1);
  check(sampling.repetition_penalty >= 1e-6 && sampling.repetition_penalty <= 1e308);
}

void check_input(const BatchLine& line) {
  if (const auto* prompt = std::get_if<BatchLine::Prompt>(&line.input)) check(unicode::is_valid(*prompt));
  if (const auto* ids = std::get_if<BatchLine::Ids>(&line.input))
    for (const TokenId id : *ids) check(id >= 0);
  if (const auto* chat = std::get_if<Conversation>(&line.input)) {
    check(chat->messages.is_array() && chat->template_vars.is_object());
    for (const auto& message : chat->messages) check(message.at("role").is_string());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BatchLine line = parse_batch_line({reinterpret_cast<const char*>(data), size});
  // What a result is made of, and how an error names its line.
  nlohmann::ordered_json written = line.extra;
  written["id"] = line.id;
  if (line.label) written["label"] = *line.label;
  check(unicode::is_valid(line.error) && line.error.size() < 1000);
  check(line.error.find('\n') == std::string::npos);
  if (line.error.empty()) {
    check_options(line.options);
    check_input(line);
    written["prompt"] = "x";
  }
  const BatchLine again = parse_batch_line(written.dump());
  check(again.id == line.id && again.label == line.label && again.extra == line.extra);
  check(again.error.empty() == line.error.empty());
  return 0;
}
