// Adding up what a route log holds: loads in all, by label or request, in the first and the second half, and
// pairs of experts. Memory is bounded by the model's size, not by the log's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "routing/expert_load.h"
#include "routing/route_line.h"

namespace baleen {

// Loads of layers, ascending by their numbers. Throws Error for layers of which two logs tell different
// numbers of experts, or of experts for a token.
class Tally {
 public:
  Tally() = default;
  explicit Tally(const RouteHeader& header);

  void add(const RouteToken& token);    // of a log with that header
  void add(const RouteCounts& counts);  // likewise
  void add(const LayerLoad& load);

  const std::vector<LayerLoad>& layers() const { return layers_; }
  std::uint64_t tokens() const;  // the most that any layer saw

 private:
  std::vector<LayerLoad> layers_;
};

// A tally for each key: as many keys as memory allows, those that come first; all others are one more.
class KeyedTally {
 public:
  // At most so many bytes of counts.
  explicit KeyedTally(const RouteHeader& header, std::size_t most_bytes = std::size_t{64} << 20U);

  // The tally of a key.
  Tally& operator[](const std::string& key);
  struct Entry {
    std::string key;
    Tally tally;
  };
  const std::vector<Entry>& entries() const { return entries_; }  // in the order in which they came
  std::uint64_t left_out() const { return left_out_; }            // times that a key found no room

 private:
  RouteHeader header_;
  std::size_t most_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::vector<Entry> entries_;
  Tally others_;
  std::uint64_t left_out_ = 0;
};

// The loads of the first and the second half of the tokens, although nobody knows how many will come: sums of
// equally long stretches, which become twice as long whenever there are too many of them.
class HalvesTally {
 public:
  explicit HalvesTally(const RouteHeader& header) : header_(header), stretches_{Tally(header)} {}

  void add(const RouteToken& token);
  // The halves part at the end of a stretch: within 1/64 of the tokens of the middle.
  std::vector<LayerLoad> first() const;
  std::vector<LayerLoad> second() const;

 private:
  std::vector<LayerLoad> sum(std::size_t begin, std::size_t end) const;
  std::size_t middle() const;

  static constexpr std::size_t most_stretches = 64;
  RouteHeader header_;
  std::uint64_t length_ = 1;      // tokens of a stretch
  std::vector<Tally> stretches_;  // the last one may be unfinished
};

// Two experts of a layer that a token goes to together.
struct Pair {
  std::size_t layer = 0;
  std::uint32_t a = 0, b = 0;  // a < b
  std::uint64_t tokens = 0;    // that went to both
  // Tokens that would, if the choice of one expert said nothing about the others: in proportion to the
  // product of both loads, and in all as many pairs as there are.
  double expected = 0;
  double z = 0;  // the difference in standard deviations
  double lift() const { return expected > 0 ? static_cast<double>(tokens) / expected : 0; }
};

class PairTally {
 public:
  // Of one layer, or of all (SIZE_MAX). Throws Error if the tables would take more than half a gigabyte.
  PairTally(const RouteHeader& header, std::size_t layer);

  void add(const RouteToken& token);
  // Pairs above chance, z at least `least_z`, largest lift first; those of whom fewer than 5 tokens are
  // expected are left out.
  std::vector<Pair> above_chance(double least_z) const;

 private:
  std::size_t cell(std::size_t a, std::size_t b) const;

  std::vector<std::size_t> layers_;   // the model's numbers
  std::vector<std::size_t> indices_;  // of the log's layers
  std::size_t experts_, top_k_;
  std::uint64_t tokens_ = 0;
  std::vector<std::vector<std::uint64_t>> pairs_;  // [layers][experts (experts - 1) / 2]
};

}  // namespace baleen
