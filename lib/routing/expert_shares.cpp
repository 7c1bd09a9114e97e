#include "routing/expert_shares.h"

#include <algorithm>
#include <numeric>

#include "error.h"
#include "routing/route_reader.h"
#include "routing/tally.h"

namespace baleen {
namespace {

void check_layer(const LayerLoad& load, const Config& config, std::string_view file) {
  const std::string layer = "layer " + std::to_string(load.layer) + ": ";
  if (load.layer >= config.num_hidden_layers || !config.is_moe_layer[load.layer])
    throw FormatError(file, layer + "loads of experts, the model has none there");
  if (load.load.size() != config.n_routed_experts)
    throw FormatError(file, layer + std::to_string(load.load.size()) + " experts, the model has " +
                                std::to_string(config.n_routed_experts));
  // Loads that were written by hand know no top_k; 1 stands for that.
  if (load.top_k != config.num_experts_per_tok && load.top_k != 1)
    throw FormatError(file, layer + std::to_string(load.top_k) + " experts for a token, the model has " +
                                std::to_string(config.num_experts_per_tok));
}

}  // namespace

ExpertShares expert_shares(std::span<const LayerLoad> loads, const Config& config, std::string_view file) {
  ExpertShares shares;
  shares.layers.resize(config.num_hidden_layers);
  shares.tokens = UINT64_MAX;
  for (const LayerLoad& load : loads) {
    check_layer(load, config, file);
    const std::uint64_t sum = std::accumulate(load.load.begin(), load.load.end(), std::uint64_t{0});
    if (sum == 0) continue;
    const double tokens = static_cast<double>(sum) / static_cast<double>(config.num_experts_per_tok);
    std::vector<double>& layer = shares.layers[load.layer];
    layer.resize(load.load.size());
    std::transform(load.load.begin(), load.load.end(), layer.begin(),
                   [&](std::uint64_t count) { return static_cast<double>(count) / tokens; });
    shares.tokens = std::min(shares.tokens, sum / config.num_experts_per_tok);
  }
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer)
    if (config.is_moe_layer[layer] && shares.layers[layer].empty())
      throw FormatError(
          file, "no load of layer " + std::to_string(layer) + ", expected one of every layer with experts");
  return shares;
}

ExpertShares read_expert_shares(const std::string& file, const Config& config,
                                std::vector<std::string>& notes) {
  Tally tally;
  bool begun = false;  // a log may go on behind a second header
  RouteReader reader({.header =
                          [&](const RouteHeader& header) {
                            if (!begun) tally = Tally(header);
                            begun = true;
                          },
                      .token = [&](const RouteToken& token) { tally.add(token); },
                      .counts = [&](const RouteCounts& counts) { tally.add(counts); },
                      .load = [&](const LayerLoad& load) { tally.add(load); }},
                     {}, /*keep_going=*/false);
  reader.read(file);
  notes.insert(notes.end(), reader.notes().begin(), reader.notes().end());
  return expert_shares(tally.layers(), config, file == "-" ? "standard input" : file);
}

}  // namespace baleen
