// The lines of a route log, baleen-routes(5): what they hold, how they are written and how they are read.
// Owns the format alone; files are route_log.h's and route_reader.h's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/config.h"

namespace baleen {

// How much a log tells of a token; each tells what those before it do, too.
enum class RouteDetail : std::uint8_t {
  counts,   // nothing: totals alone
  experts,  // the experts it was sent to
  weights,  // with their combine weights
  scores,   // and every expert's score
};
std::string_view route_detail_name(RouteDetail);

// The first line: the model and what the lines behind it hold.
struct RouteHeader {
  std::string model = {};                // its folder's name
  std::vector<std::size_t> layers = {};  // the model's numbers of its MoE layers, ascending; L of them
  std::size_t experts = 0;               // E, routed, of each layer
  std::size_t top_k = 0;                 // k, of them chosen for a token
  ScoringFunc scoring = ScoringFunc::softmax;
  TopkMethod method = TopkMethod::greedy;
  std::size_t groups = 1;      // of experts
  std::size_t top_groups = 1;  // of them looked at for a token
  RouteDetail detail = RouteDetail::weights;
  std::vector<std::vector<float>> bias =
      {};  // [L][E] e_score_correction_bias; with scores, and if there is one
};

// One token that went through the model.
struct RouteToken {
  std::uint64_t pass = 0;                   // through the model that it was in, numbered from 0
  std::uint64_t request = 0;                // the run's number for the sequence
  std::uint64_t position = 0;               // in the sequence, from 0
  std::uint64_t id = 0;                     // token id
  bool generated = false;                   // else of the prompt
  std::string label = {};                   // of the request; empty: none
  std::vector<std::uint32_t> experts = {};  // [L, k] ascending in each layer; empty: counts alone are logged
  std::vector<float> weights = {};  // [L, k] combine weights of those; empty: not logged, or not asked for
  std::vector<float> scores = {};   // [L, E] before the correction bias; likewise
};

// The load that a number of tokens made: one phase of the requests with one label.
struct RouteCounts {
  bool generated = false;
  std::string label = {};
  std::uint64_t tokens = 0;
  std::vector<std::uint64_t> load = {};  // [L, E]
};

// Each appends one line with its newline. Numbers that are no numbers (NaN, infinities) become null.
void append_header(std::string& out, const RouteHeader&);
void append_token(std::string& out, const RouteToken&, const RouteHeader&);
void append_counts(std::string& out, const RouteCounts&, const RouteHeader&);
// The user's name for a request, JSON text: "7" or "\"a name\"".
void append_request(std::string& out, std::uint64_t request, std::string_view id_json);

enum class RouteLineKind : std::uint8_t { header, request, token, counts };

// What a line is, by its first key; nothing else of it is looked at. Throws Error.
RouteLineKind route_line_kind(std::string_view line);

// Each reads a line without its newline, keys in any order, unknown ones ignored. Throws Error saying what
// was found and what was expected, without file and line number; `token` and `counts` are undefined then.
RouteHeader parse_header(std::string_view line);
struct RouteWants {
  bool weights = false;
  bool scores = false;
};
void parse_token(std::string_view line, const RouteHeader&, RouteWants, RouteToken& token);
void parse_counts(std::string_view line, const RouteHeader&, RouteCounts& counts);

// Throws Error naming what differs unless logs with these headers can be taken together: detail and bias may
// differ.
void check_same_model(const RouteHeader& first, const RouteHeader& other);

// How long labels may be, in bytes.
inline constexpr std::size_t longest_label = 200;

}  // namespace baleen
