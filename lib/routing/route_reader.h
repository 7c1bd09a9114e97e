// Reading route logs, baleen-routes(5), line by line in bounded memory, and loads that somebody wrote down as
// JSON. Several files together are one log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "routing/expert_load.h"
#include "routing/route_line.h"

namespace baleen {

// Loads out of JSON: {"layer":3,"load":[...]}, with "tokens" and "top_k" if they are known; a list of such
// objects; an object with such a list as "layers"; or a line for each. `file` names it in errors. Throws
// FormatError.
std::vector<LayerLoad> parse_loads(std::string_view json, const std::string& file);

struct RouteEvents {
  std::function<void(const RouteHeader&)> header;  // before the lines that it is about
  std::function<void(const RouteToken&)> token;
  std::function<void(const RouteCounts&)> counts;
  std::function<void(const LayerLoad&)> load;  // out of a file that is no log
};

class RouteReader {
 public:
  // keep_going: wrong lines are put on the list of problems and left out; otherwise the first one throws.
  RouteReader(RouteEvents events, RouteWants wants, bool keep_going)
      : events_(std::move(events)), wants_(wants), keep_going_(keep_going) {}

  // Reads a log or loads; "-" is standard input. Throws FormatError "FILE: line N: what was found, what was
  // expected" and Error for what the system refuses.
  void read(const std::string& file);

  std::uint64_t bytes() const { return bytes_; }        // read so far
  std::uint64_t problems() const { return problems_; }  // lines left out
  // What to say about the files: the first of the problems, and last lines that a crash cut off.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Source;
  void read_log(Source&, std::string_view first_line);
  void read_line(std::string_view line);
  void line(std::string_view line, const std::string& name, std::uint64_t number);
  void problem(const std::string& what);

  RouteEvents events_;
  RouteWants wants_;
  bool keep_going_;
  std::optional<RouteHeader> header_;  // of the first log
  bool in_log_ = false;                // behind a header that agrees with it
  RouteToken token_;
  RouteCounts counts_;
  std::uint64_t bytes_ = 0;
  std::uint64_t problems_ = 0;
  std::vector<std::string> notes_;
};

}  // namespace baleen
