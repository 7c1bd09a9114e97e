// What a forward pass has to do, whoever does it: the bytes it must read and the operations it must make.
// The formulas of the roofline (Williams, Waterman and Patterson, CACM 52 (4), 2009) as baleen(1) counts
// them:
//   bytes       every weight that the tokens' routing touches, once a pass, as stored with its scales; of the
//               embedding a row a token; the output head if logits are wanted; the KV cache once a sequence
//   operations  two for every weight and token that goes through it, and for every query head, token and
//               position it sees two for each number of key and value; what an implementation adds to that
//               (absorption, widening, computing again) does not count
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/model.h"
#include "runtime/kv_cache.h"

namespace baleen {

// Sums of many passes and extrapolations are fractions, and exact up to 2^53.
struct Work {
  double weight_bytes = 0;
  double kv_bytes = 0;
  double operations = 0;

  double bytes() const { return weight_bytes + kv_bytes; }
};
Work operator+(const Work&, const Work&);
Work operator*(double factor, const Work&);

// Bytes that a matrix takes in its file: values, scales, zero points and group indices.
std::uint64_t stored_bytes(const kernels::Matrix&);

// Tokens of one sequence in one pass: `count` positions from `begin` on.
struct Stretch {
  std::size_t begin = 0;
  std::size_t count = 0;
};

// Positions that the tokens of a stretch see, summed; a token sees itself and, with a window, so many
// positions at most. window 0: all before.
std::uint64_t visible_positions(const Stretch&, std::size_t window);
// Positions that at least one token of the stretch sees.
std::uint64_t cached_positions(const Stretch&, std::size_t window);

// One layer. `touched` tells of each routed expert whether a token goes there; empty in a dense layer.
Work layer_work(const Config&, const Layer&, const KvLayout&, std::span<const Stretch>,
                const std::vector<bool>& touched);

// Embedding, final norm and output head, where `wanted` of the tokens want logits.
Work outer_work(const Model&, std::size_t tokens, std::size_t wanted);

// Seconds that a machine needs at least.
struct Roofline {
  double bandwidth = 0;  // bytes a second
  double peak = 0;       // operations a second

  double read_seconds(const Work& work) const { return work.bytes() / bandwidth; }
  double compute_seconds(const Work& work) const { return work.operations / peak; }
  double seconds(const Work& work) const;
  bool memory_bound(const Work& work) const { return read_seconds(work) >= compute_seconds(work); }
};

}  // namespace baleen
