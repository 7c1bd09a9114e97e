// run --route-stats: how much each expert was asked for by a run, as a file that the next one can begin with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "model/forward.h"
#include "model/model.h"
#include "routing/route_log.h"
#include "routing/tally.h"

namespace baleen::cmd {

class LoadFile {
 public:
  // Throws Error if the file could not be written, or exists and may not be overwritten. `name` stands for
  // the model in it.
  LoadFile(std::filesystem::path path, bool overwrite, const Model&, std::string name);

  // Counts what goes through the model, beside what the observer does already.
  void attach(Observer& observer) { collector_.attach(observer); }
  // The file appears whole or not at all.
  void write() const;

 private:
  void add(const RouteToken&);

  std::filesystem::path path_;
  bool overwrite_;
  RouteHeader header_;
  Tally loads_;
  std::uint64_t prompt_tokens_ = 0;
  std::uint64_t generated_tokens_ = 0;
  RouteCollector collector_;
};

}  // namespace baleen::cmd
