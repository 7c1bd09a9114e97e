// What the linear layers of a model read when it reads a text: layer after layer, every module's inputs, and
// from them what guides its quantization. A routed expert sees the tokens that go to it, and no others.
//
//   Calibration calibration(model, ids, pool, options);
//   while (calibration.next())                                  // the next modules that can be encoded
//     calibration.for_each_site([&](const Site& site, std::size_t lane) {
//       const Guide guide = calibration.guide(site, lane);     // or not, if all of them are done already
//       ... encode the site's modules ...
//       calibration.replace(module, stored_matrix(...));        // what comes later reads what this one makes
//       now
//     });
//
// Every layer gives three stages: the attention's projections, whose inputs are those of the layer as it was;
// what the MLPs or experts read; and, once those are encoded, the inputs of their down projections. So the
// errors of all before are in what a module is guided by, but for those of the same attention.
//
// The results are the same bits for any number of threads and whatever the memory, given the same
// replacements. They depend on the kernels and the processor, as those of the forward pass do.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "model/model.h"
#include "quant/blas.h"
#include "runtime/thread_pool.h"
#include "tokenizer/token_id.h"

namespace baleen {

struct CalibrationOptions {
  const kernels::Kernels* kernels = nullptr;
  std::size_t window = 512;           // tokens; the text is cut into windows that know nothing of each other
  const Blas* blas = nullptr;         // for GPTQ's factors; null: guides have second moments only
  std::size_t least_tokens = 16;      // a module that fewer tokens reach gets no guide
  std::uint64_t memory = 0;           // bytes for all of it; 0: as much as it likes
  std::filesystem::path folder = {};  // where activations go that memory does not hold
  const std::atomic<bool>* cancel = nullptr;  // when set, next() and guide() throw Cancelled
  // Told the tokens that next() has taken through the layer at hand.
  std::function<void(std::size_t layer, std::size_t tokens)> on_progress = {};
};

// Modules that read the same inputs.
struct Site {
  struct Module {
    std::string name;  // as in lib/checkpoint/quantized.h: "model.layers.3.mlp.experts.7.up_proj"
    Role role;
  };
  std::vector<Module> modules = {};
  std::size_t layer = 0;
  std::optional<std::size_t> expert = {};  // of the routed ones
  std::size_t cols = 0;                    // width of the inputs
  std::size_t tokens = 0;                  // that reach it
};

struct Guide {
  std::span<const float> importance;  // [cols] mean square of each input; empty: too few tokens
  const float* factor = nullptr;  // [cols, cols] of feedback_factor; null: none was asked for, or it failed
  double damping = 0;             // that the factor took
};

class Calibration {
 public:
  // Throws as check does.
  Calibration(const Model&, std::span<const TokenId> ids, ThreadPool&, const CalibrationOptions&);
  ~Calibration();

  // The least memory that works for one thread, and what is needed to keep all in memory with all threads.
  struct Memory {
    std::uint64_t least = 0;
    std::uint64_t comfortable = 0;
  };
  static Memory memory(const Model&, std::size_t tokens, std::size_t threads, const CalibrationOptions&);

  // Throws Error if options.memory is less than the least that works, naming both, if there are fewer than
  // two tokens, or if one is outside the vocabulary.
  static void check(const Model&, std::span<const TokenId> ids, const CalibrationOptions&);

  // Goes on to the next stage, the first one at first; false behind the last. Every stage of every layer
  // comes.
  bool next();
  std::size_t layer() const;
  // Of the stage, in the order of the architecture's table; experts ascend.
  std::span<const Site> sites() const;

  // Calls body(site, lane) for every site of the stage, on all threads as far as memory allows.
  void for_each_site(const std::function<void(const Site&, std::size_t lane)>& body);

  // What guides the site's modules; within for_each_site's body. Valid until the lane asks again.
  Guide guide(const Site&, std::size_t lane);

  // Lets a module of this stage be this matrix from now on; its values are read until the layer is done.
  // Different modules may be replaced side by side.
  void replace(const Site&, Role, const kernels::Matrix&);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baleen
