// Weights that every token needs, copied out of the checkpoint's files: what stays in memory when a model
// does not fit.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "model/model.h"
#include "model/weight_files.h"
#include "runtime/direct_reader.h"

namespace baleen {

struct ResidentOptions {
  DirectReaderOptions reader;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // bytes read; called now and then
  const std::atomic<bool>* cancel = nullptr;                              // looked at about as often
};

// What was loaded, and how.
struct ResidentWeights {
  std::uint64_t bytes = 0;
  double seconds = 0;
  ReadEngine engine = ReadEngine::automatic;
  bool direct = false;  // past the page cache
};

// Copies the model's attention, routers, shared experts, dense layers, norms and output head (with a tied
// embedding) into memory that the model keeps, and lets it read them there; what lies in no file, such as a
// rounded head, stays. Then gives up all pages of the checkpoint that the page cache has, and bounds what the
// rows of an embedding that stayed in its file take there. Routed experts are not touched: who reads them
// where they are mapped brings them in again. Results of passes are the same bits as before.
//
// Throws Error naming file, tensor and offset of what cannot be read, and Cancelled; the model is as it was
// then. std::invalid_argument for a checkpoint that lies in memory, std::logic_error at a second call.
ResidentWeights hold_resident(Model&, const WeightFiles&, const ResidentOptions& = {});

}  // namespace baleen
