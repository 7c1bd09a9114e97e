// Expert load as pictures: which experts of which layers do more or less than their share.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "routing/expert_load.h"
#include "routing/svg.h"

namespace baleen {

// The color of a utilization on a scale from 1 / `end` to `end` that is logarithmic and as light as can be at
// 1: blue for less, red for more, and the further from 1 the darker, by equal steps to the eye. What lies
// beyond the ends looks like the ends.
Rgb utilization_color(double utilization, double end);
// Experts that no token went to, and layers without any load.
inline constexpr Rgb dead_color = {0x14, 0x14, 0x18};
inline constexpr Rgb idle_color = {0xD8, 0xD8, 0xD8};

// Where the scale for these loads ends: the power of two that reaches their highest utilization, 2 at least
// and 16 at most.
double scale_end(std::span<const LayerLoad>);

// The heat map of layers x experts as an SVG document: a row a layer in the order given, a column an expert,
// the layers' MaxVio beside them and a legend below. Small tables have the numbers in their cells; every cell
// has a tooltip. Throws UsageError if there are no experts or more than a million.
std::string heat_map_svg(std::span<const LayerLoad>, std::string_view title);

// One layer's utilization as bars, sorted and by index of the expert. Throws UsageError if there are no
// experts.
std::string histogram_svg(const LayerLoad&, std::string_view title);

}  // namespace baleen
