// The first line is a header, the second a token's or counts' line behind it, all of it loads as JSON. Each
// is refused or read; what is read obeys the header, and comes back the same when it is written and read
// again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "error.h"
#include "routing/route_line.h"
#include "routing/route_reader.h"

using namespace baleen;

namespace {

// A usual header where the input's own is refused, so that lines are reached.
RouteHeader header_of(std::string_view line) {
  try {
    const RouteHeader header = parse_header(line);
    std::string again;
    append_header(again, header);
    const RouteHeader back = parse_header(again);
    if (back.layers != header.layers || back.bias != header.bias || back.experts != header.experts)
      std::abort();
    return header;
  } catch (const Error&) {
    return {.model = "m", .layers = {1, 2}, .experts = 4, .top_k = 2};
  }
}

void read_token(std::string_view line, const RouteHeader& header) {
  RouteToken token;
  parse_token(line, header, {.weights = true, .scores = true}, token);
  if (token.experts.size() != header.layers.size() * header.top_k) std::abort();
  for (const std::uint32_t expert : token.experts)
    if (expert >= header.experts) std::abort();
  std::string again;
  append_token(again, token, header);
  RouteToken back;
  parse_token(std::string_view(again).substr(0, again.size() - 1), header, {}, back);
  if (back.experts != token.experts || back.label != token.label || back.pass != token.pass) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t newline = input.find('\n');
  const std::string_view line = newline == input.npos ? input : input.substr(newline + 1);
  const RouteHeader header = header_of(input.substr(0, newline));
  try {
    (void)route_line_kind(line);
  } catch (const Error&) {
  }
  try {
    read_token(line, header);
  } catch (const Error&) {
  }
  try {
    RouteCounts counts;
    parse_counts(line, header, counts);
    if (counts.load.size() != header.layers.size() * header.experts) std::abort();
  } catch (const Error&) {
  }
  try {
    for (const LayerLoad& load : parse_loads(input, "fuzz"))
      if (load.load.empty()) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
