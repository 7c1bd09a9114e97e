// The rotary embedding's part of config.json. Internal to parse_config.
#pragma once

#include <cstddef>

#include "checkpoint/config.h"
#include "checkpoint/json_fields.h"

namespace baleen {

struct RopeDefaults {
  RopeLayout layout = RopeLayout::half_split;
  double theta = 10000;
  std::size_t max_position_embeddings = 0;
  bool scales_softmax = false;  // MLA: mscale_all_dim changes the softmax scale too
};

// Reads rope_scaling or rope_parameters, and rope_theta, of a config.
RopeConfig parse_rope(const JsonFields& config, const RopeDefaults& defaults);

}  // namespace baleen
