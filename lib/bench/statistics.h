// What a few measurements of one thing say.
#pragma once

#include <span>

namespace baleen {

struct Summary {
  double median = 0;
  double low = 0;   // the lower quartile
  double high = 0;  // the upper quartile
  // The interquartile range as a share of the median: one disturbed run among many does not move it.
  double spread() const { return median > 0 ? (high - low) / median : 0; }
};

// The value below which a share of the samples lies, interpolated between neighbours; 0 of none.
double quantile(std::span<const double> samples, double share);

Summary summarize(std::span<const double> samples);

}  // namespace baleen
