// Writing a route log, baleen-routes(5), while a model runs: gathers what the router of every MoE layer chose
// in a pass and appends whole lines once the last of them has. Owns the file; the lines are route_line.h's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "checkpoint/files.h"
#include "model/forward.h"
#include "model/model.h"
#include "routing/route_line.h"

namespace baleen {

// What a log of this model begins with; `name` stands for the model in messages and to tell logs apart.
RouteHeader route_header(const Model&, std::string name, RouteDetail);

// Puts together, token by token, what an Observer sees layer by layer. A pass that is cancelled on its way
// leaves nothing.
class RouteCollector {
 public:
  // Called for every token of a pass, in the pass's order, once its last MoE layer has chosen; the token's
  // label is empty. It may be changed.
  using OnToken = std::function<void(RouteToken&)>;

  RouteCollector(const RouteHeader&, OnToken on_token, std::function<void()> on_pass_done = {});
  RouteCollector(const RouteCollector&) = delete;  // observers refer to it
  RouteCollector& operator=(const RouteCollector&) = delete;

  // Sets what the observer calls for routes, after what it called before, and for scores.
  void attach(Observer&);

 private:
  void route(std::size_t layer, std::span<const TokenInput> tokens, std::span<const Choice> choices);
  void scores(std::size_t layer, std::span<const TokenInput> tokens, std::span<const float> scores);
  std::size_t index_of(std::size_t layer) const;
  void hand_on(std::span<const TokenInput> tokens);

  std::size_t top_k_, experts_;
  RouteDetail detail_;
  std::vector<std::size_t> layers_;
  OnToken on_token_;
  std::function<void()> on_pass_done_;
  std::vector<Choice> choices_;  // [L, T, k] of the pass that runs
  std::vector<float> scores_;    // [L, T, E]
  RouteToken token_;
};

// A log that grows. Behind a file that is a log of the same model already it goes on, less a last line that a
// crash cut off; any other file is refused.
class RouteLog {
 public:
  // Throws Error if the file cannot be opened, is no route log, or belongs to another model or to another
  // process that writes it now. "-" is standard output.
  RouteLog(const RouteHeader&, const std::filesystem::path& file);
  // Writes counts that are still held back, as well as it can: finish() says whether they were.
  ~RouteLog();

  // Of tokens with this TokenInput::request from now on: their label (empty: none), at most longest_label
  // bytes of UTF-8, and the user's name for the request as JSON (empty: none).
  void name_request(std::uint64_t request, std::string label, std::string_view id_json);
  // The request has ended: its name is needed no more.
  void forget_request(std::uint64_t request) { labels_.erase(request); }
  // The log must outlive what the observer sees. Observers throw Error if the file cannot be written.
  void attach(Observer& observer) { collector_.attach(observer); }
  // Writes what is held back. Throws Error.
  void finish();

 private:
  void open();
  void begin_behind(std::size_t size);
  void add(RouteToken&);
  void count(const RouteToken&);
  void pass_done();
  void write();

  RouteHeader header_;
  std::filesystem::path file_;
  FileDescriptor fd_;
  bool regular_ = false;
  std::unordered_map<std::uint64_t, std::string> labels_;
  std::string lines_;                                           // whole ones, not yet written
  std::map<std::pair<std::string, bool>, RouteCounts> counts_;  // by label and phase, not yet written
  std::uint64_t counted_ = 0;                                   // tokens in them
  RouteCollector collector_;
};

}  // namespace baleen
