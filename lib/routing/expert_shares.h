// How much each expert of a model is asked for, out of a route log.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/config.h"
#include "routing/expert_load.h"

namespace baleen {

struct ExpertShares {
  // [num_hidden_layers][n_routed_experts] the share of a layer's tokens that go to the expert: they sum to
  // num_experts_per_tok. Dense layers: none.
  std::vector<std::vector<double>> layers;
  std::uint64_t tokens = 0;  // the fewest that a layer's shares are made from
};

// The loads of every MoE layer of the model, in any order. `file` names them in errors. Throws FormatError
// for a layer that is missing or saw no token, and for loads of another model.
ExpertShares expert_shares(std::span<const LayerLoad> loads, const Config&, std::string_view file);

// Those of a route log, or of loads as JSON (RouteReader). What is to be said about the file is appended to
// `notes`. Throws Error.
ExpertShares read_expert_shares(const std::string& file, const Config&, std::vector<std::string>& notes);

}  // namespace baleen
